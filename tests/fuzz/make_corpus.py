#!/usr/bin/env python3
"""Writes the seed corpora, corpus/<target>/<what it is>: run it after a change here and commit what it wrote.

Inputs that a fuzzing run found (named by their hash) are left alone.
"""
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"

PEER_MAC = bytes.fromhex("02000000000b")
OUR_MAC = bytes.fromhex("02000000000a")
PEER = bytes([192, 0, 2, 1])
OURS = bytes([192, 0, 2, 2])


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(payload: bytes = b"", protocol: int = 6, options: bytes = b"", fragment: int = 0x4000) -> bytes:
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH4s4s", 0x40 | length // 4, 0, length + len(payload), 1, fragment, 64, protocol, 0,
                         PEER, OURS) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


PEER6 = bytes.fromhex("20010db8000000000000000000000001")
OURS6 = bytes.fromhex("20010db8000000000000000000000002")


def ipv6(payload: bytes = b"", next_header: int = 6, length: int | None = None) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, next_header, 64) + PEER6 + OURS6 \
        + payload


def nd(kind: int, target: bytes, flags: int = 0) -> bytes:
    return bytes([kind, 0, 0, 0, flags, 0, 0, 0]) + target + bytes([1 if kind == 135 else 2, 1]) + PEER_MAC


def arp(operation: int) -> bytes:
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, PEER_MAC, PEER, OUR_MAC, OURS)


def ethernet(payload: bytes, ether_type: int) -> bytes:
    return OUR_MAC + PEER_MAC + struct.pack("!H", ether_type) + payload


def tcp(options: bytes = b"", flags: int = 0x10, payload: bytes = b"") -> bytes:
    options += b"\0" * (-len(options) % 4)
    return struct.pack("!HHIIBBHHH", 40000, 7, 1000, 2000, (20 + len(options)) // 4 << 4, flags, 65535, 0,
                       0) + options + payload


def udp(payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("!HHHH", 40000, 7, 8 + len(payload) if length is None else length, 0) + payload


MSS = bytes([2, 4, 5, 0xB4])
SCALE = bytes([1, 3, 3, 7])
SACK_PERMITTED = bytes([4, 2])
STAMP = bytes([8, 10]) + struct.pack("!II", 1, 2)


def sack(blocks: int) -> bytes:
    return bytes([5, 2 + 8 * blocks]) + b"".join(struct.pack("!II", 100 * i, 100 * i + 50) for i in range(blocks))


def header_corpora() -> dict[str, dict[str, bytes]]:
    quoted = ipv4(b"\x12\x34\x00\x07\x00\x00\x03\xe8")
    return {
        "fuzz_ethernet_arp": {
            "arp_request": ethernet(arp(1), 0x0806),
            "arp_reply_padded": ethernet(arp(2) + bytes(18), 0x0806),
            "vlan": ethernet(b"\x00\x05\x08\x00" + ipv4(), 0x8100),
            "short": b"\x02\x00\x00",
        },
        # One octet in front: see fuzz_ipv4.cc.
        "fuzz_ipv4": {
            "plain": b"\x00" + ipv4(b"payload!"),
            "checked_by_nic": b"\x01" + ipv4(),
            "payload_in_later_pieces": b"\xa0" + ipv4(bytes(40))[:20],
            "options": b"\x02" + ipv4(options=bytes([1, 148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0])),
            "source_route": b"\x02" + ipv4(options=bytes([131, 7, 4, 192, 0, 2, 9, 0])),
            "forty_octets_of_options": b"\x02" + ipv4(options=bytes([1] * 40)),
            "bad_option": b"\x02" + ipv4(options=bytes([7, 0, 0, 0])),
            "first_fragment": b"\x00" + ipv4(bytes(8), fragment=0x2000),
            "last_fragment": b"\x00" + ipv4(bytes(8), fragment=0x0001),
        },
        "fuzz_icmp": {
            "echo": bytes([8, 0, 0, 0, 0x12, 0x34, 0, 1]) + b"abcdefgh",
            "port_unreachable": bytes([3, 3, 0, 0, 0, 0, 0, 0]) + quoted,
            "fragmentation_needed": bytes([3, 4, 0, 0, 0, 0, 5, 0x78]) + quoted,
            "quote_with_options": bytes([11, 0, 0, 0, 0, 0, 0, 0]) + ipv4(bytes(8), options=bytes([1] * 8)),
            "quote_cut_short": bytes([3, 1, 0, 0, 0, 0, 0, 0]) + quoted[:-1],
            "quote_of_a_fragment": bytes([3, 1, 0, 0, 0, 0, 0, 0]) + ipv4(bytes(8), fragment=0x0002),
        },
        # One octet in front: see fuzz_ipv6.cc.
        "fuzz_ipv6": {
            "plain": b"\x00" + ipv6(bytes(8)),
            "in_later_pieces": b"\xe0" + ipv6(bytes(80)),
            "padded": b"\x00" + ipv6(bytes(8)) + bytes(6),
            "chain": b"\x00" + ipv6(bytes([60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 6, 0, 4, 0, 0, 0, 0, 0])
                                    + bytes(20), 0),
            "unknown_option": b"\x00" + ipv6(bytes([6, 0, 0x81, 4, 0, 0, 0, 0]) + bytes(20), 60),
            "fragment": b"\x00" + ipv6(bytes([17, 0, 5, 0xA9, 0, 0, 0, 1]) + bytes(20), 44),
            "atomic_fragment": b"\x00" + ipv6(bytes([60, 0, 0, 0, 0, 0, 0, 1, 17, 0, 1, 4, 0, 0, 0, 0]) + bytes(8), 44),
            "many": b"\x00" + ipv6(bytes([60, 0, 1, 4, 0, 0, 0, 0]) * 9, 60),
            "lying": b"\x00" + ipv6(bytes(8), length=65535),
        },
        "fuzz_icmpv6": {
            "echo": bytes([128, 0, 0, 0, 0x12, 0x34, 0, 1]) + b"abcdefgh",
            "packet_too_big": bytes([2, 0, 0, 0, 0, 0, 5, 0]) + ipv6(bytes(20)),
            "quote_behind_options": bytes([1, 4, 0, 0, 0, 0, 0, 0]) + ipv6(bytes([17, 0, 1, 4, 0, 0, 0, 0]) + bytes(8), 60),
            "quote_cut_short": bytes([1, 4, 0, 0, 0, 0, 0, 0]) + ipv6(bytes(7), length=100),
            "solicitation": nd(135, OURS6),
            "advertisement": nd(136, PEER6, 0x60),
            "option_without_length": nd(136, PEER6)[:25] + bytes(7),
            "router": bytes([134, 0, 0, 0, 64, 0, 7, 8]) + bytes(8) + bytes([1, 1]) + PEER_MAC
            + bytes([3, 4, 64, 0xC0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0]) + PEER6 + bytes([5, 1, 0, 0, 0, 0, 5, 0xDC]),
        },
        "fuzz_tcp": {
            "bare_ack": tcp(),
            "syn": tcp(MSS + SACK_PERMITTED + STAMP + SCALE, flags=0x02),
            "data": tcp(b"\1\1" + STAMP, flags=0x18, payload=b"hello"),
            "sack": tcp(b"\1\1" + STAMP + b"\1\1" + sack(3)),
            "four_sacks": tcp(b"\1\1" + sack(4)),
            "squeezed": tcp(STAMP + MSS + sack(3)),
            "unknown_option": tcp(bytes([254, 6, 1, 2, 3, 4]) + MSS),
            "bad_length": tcp(bytes([2, 0, 0, 0])),
            "overrun": tcp(bytes([8, 10, 0, 0])),
            "bad_offset": tcp()[:12] + b"\xf0" + tcp()[13:],
        },
        # One octet in front: see fuzz_udp.cc.
        "fuzz_udp": {
            "datagram": b"\x00" + udp(b"hello"),
            "empty": b"\x00" + udp(),
            "padded": b"\x00" + udp(b"padding", length=8),
            "in_later_pieces": b"\x20" + udp(length=40),
            "lying": b"\x00" + udp(length=65535),
        },
    }


FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
FLOW_0, NEW_TO_7, NEW_TO_9 = 0, 0x80, 0x81


def segment(flow: int, flags: int, length: int = 0, shape: int = 1, window: int = 0xFFFF, seq: int = 0, ack: int = 0,
            op: int = 10) -> bytes:
    return struct.pack("!BBBbbBHB", op, flow, shape, seq, ack, flags, window, length)


def wait(log2_ns: int) -> bytes:
    return bytes([6, log2_ns])


def application(call: int, conn: int = 0, *arguments: int) -> bytes:
    return bytes([7, call, conn, *arguments])


def set_up(what: int, value: int) -> bytes:
    return bytes([9, what, value])


def stack_corpus() -> dict[str, bytes]:
    """Sequences of steps as fuzz_stack.cc reads them; the first octet is the way it ends."""
    silence, abort = b"\0", b"\1"
    shake = segment(NEW_TO_7, SYN, shape=2) + segment(FLOW_0, ACK)
    shake6 = segment(NEW_TO_7, SYN, shape=2, op=0x2A) + segment(FLOW_0, ACK)
    keep = set_up(0, 1)
    seeds = {
        "echo": shake + segment(FLOW_0, ACK | PSH, 100) + wait(26) + segment(FLOW_0, ACK),
        "large_echo": shake + segment(FLOW_0, ACK | PSH, 180, shape=0x81) * 8 + wait(26) + segment(FLOW_0, ACK),
        "peer_closes": shake + segment(FLOW_0, ACK | FIN, 10) + segment(FLOW_0, ACK) + wait(36),
        "we_close": shake + application(1) + segment(FLOW_0, ACK) + segment(FLOW_0, ACK | FIN) + wait(37) * 2,
        "both_close": shake + application(1) + segment(FLOW_0, ACK | FIN, ack=-1) + segment(FLOW_0, ACK) + wait(36),
        "reset": shake + segment(FLOW_0, RST),
        "reset_challenged": shake + segment(FLOW_0, RST, seq=5) + segment(FLOW_0, SYN, shape=2),
        "out_of_order": shake + segment(FLOW_0, ACK, 50, seq=50) + segment(FLOW_0, ACK, 20, seq=20)
        + segment(FLOW_0, ACK, 60),
        "duplicate_acks": set_up(0, 8) + shake + segment(FLOW_0, ACK, shape=9) * 5 + wait(28) + segment(FLOW_0, ACK),
        "partial_acks": shake + application(0, 0, 94) + segment(FLOW_0, ACK, ack=-76) + application(0, 0, 94)
        + segment(FLOW_0, ACK, ack=-62) + application(0, 0, 255) + segment(FLOW_0, ACK, ack=-90) + wait(31)
        + segment(FLOW_0, ACK),
        "retransmission": set_up(0, 8) + shake + wait(30) * 6 + segment(FLOW_0, ACK),
        "zero_window": set_up(0, 8) + shake + segment(FLOW_0, ACK, window=0) + wait(31) * 4 + segment(FLOW_0, ACK),
        "active_open": set_up(1, 0) + segment(FLOW_0, SYN | ACK, shape=2) + application(0, 0, 200)
        + segment(FLOW_0, ACK | PSH, 30),
        "active_refused": set_up(1, 1) + segment(FLOW_0, RST | ACK),
        "simultaneous_open": set_up(1, 2) + segment(FLOW_0, SYN, shape=2) + segment(FLOW_0, SYN | ACK, shape=2),
        "simultaneous_open_with_data": set_up(1, 2) + segment(FLOW_0, SYN, shape=2)
        + segment(FLOW_0, SYN | ACK, 50, shape=1, seq=-1) + segment(FLOW_0, ACK, 10),
        "syn_ack_inside_the_window": set_up(1, 2) + segment(FLOW_0, SYN, shape=2)
        + segment(FLOW_0, SYN | ACK, 50, shape=1) + segment(FLOW_0, ACK, 10),
        "kept_and_sent_elsewhere": keep + shake + segment(FLOW_0, ACK | PSH, 200) * 3 + application(5, 0, 0, 50)
        + application(4, 0, 1) + application(0x17, 0, 0, 9) + application(6, 0, 0),
        "window_fills": keep + shake + segment(FLOW_0, ACK | PSH, 180, shape=0x81) * 14 + wait(30)
        + application(6, 0, 0) * 12 + wait(26),
        "no_mbufs": shake + set_up(6, 2) + segment(FLOW_0, ACK | PSH, 100) * 3 + wait(30) + set_up(6, 200) + wait(30),
        "device_stuck": shake + set_up(7, 0) + segment(FLOW_0, ACK | PSH, 100) * 3 + wait(30) + set_up(7, 255) + wait(20),
        "burst": segment(NEW_TO_9, SYN, shape=2, op=0x8A) * 3 + segment(FLOW_0, ACK),
        "in_pieces": shake + segment(FLOW_0, ACK | PSH, 100, op=0x4A) + bytes([40]) + segment(FLOW_0, ACK),
        "udp": bytes([0, 0, 5]) + b"hello" + bytes([0, 2, 0]),
        "udp_kept": keep + bytes([0, 0, 5]) + b"hello" + application(6, 0, 0),
        "echo_request": bytes([1, 0, 1, 0, 2, 8]) + b"abcdefgh",
        "icmp_errors": shake + application(0, 0, 10) + bytes([2, 0, 3, 4, 2, 0, 0, 0]) + bytes([2, 0, 3, 3, 0, 0, 0, 0]),
        "arp": bytes([3, 0]) + bytes([3, 3, 77]) + bytes([3, 4, 5, 9]),
        "fragment": bytes([4, 4, 17, 0x20, 0, 8]) + bytes(8),
        "options_and_source_route": bytes([4, 8, 17, 2, 131, 7, 4, 192, 0, 2, 9, 0, 8]) + bytes(8),
        "raw": bytes([5, 14]) + bytes(14),
        "v6_echo": shake6 + segment(FLOW_0, ACK | PSH, 100) + wait(26) + segment(FLOW_0, ACK | FIN),
        "v6_both_families": shake6 + segment(NEW_TO_7, SYN, shape=2) + segment(1, ACK) + segment(1, ACK | PSH, 50),
        "v6_udp_and_echo_request": bytes([0x20, 0, 5]) + b"hello" + bytes([0x21, 0, 1, 0, 2, 8]) + b"abcdefgh",
        "v6_too_big": shake6 + application(0, 0, 200) + bytes([0x22, 0, 2, 0, 5, 0, 0, 0]),
        "v6_neighbours": bytes([0x23, 8, 0]) + bytes([0x23, 1, 0x60]) + bytes([0x23, 0x22, 9, 3, 77, 0]),
        "v6_active_open": set_up(1, 0x40) + segment(FLOW_0, SYN | ACK, shape=2) + application(0, 0, 200)
        + segment(FLOW_0, ACK | PSH, 30),
        "fragments": bytes([15, 0, 0, 13]) + bytes([15, 0, 13, 255]),
        "fragments_backwards": bytes([15, 1, 25, 255]) + bytes([15, 1, 0, 25]),
        "fragments_that_overlap": bytes([15, 1, 0, 25]) + bytes([15, 1, 24, 255]),
        "fragment_lost": bytes([15, 2, 0, 25]) + wait(37) + bytes([15, 2, 25, 255]),
        "v6_fragments_of_an_echo": bytes([0x2F, 3, 0, 100]) + bytes([0x2F, 3, 100, 255]),
        "v6_router": bytes([0x23, 0xff, 1, 0, 60, 32]) + bytes([3, 4, 64, 0xc0, 0, 0, 0, 90, 0, 0, 0, 30, 0, 0, 0, 0])
        + bytes([0x20, 1, 0x0d, 0xb8, 0, 9]) + bytes(10) + wait(37) * 2,
        "v6_extensions": bytes([0x24, 17, 64, 8, 17, 0, 1, 4, 0, 0, 0, 0, 60, 8]) + bytes(8),
    }
    return {name: (abort if i % 2 else silence) + steps for i, (name, steps) in enumerate(seeds.items())}


TEXTS = [
    "192.0.2.1", "255.255.255.255", "0.0.0.0", "192.0.2.0/24", "0.0.0.0/0", "::", "::1", "2001:db8::1",
    "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:192.0.2.1", "64:ff9b::192.0.2.33", "2001:db8::/32",
    "02:00:00:00:00:0a", "FF:ff:Ff:fF:00:9a", "1::2::3", "01.2.3.4", "1.2.3.4/33", "::1%eth0",
]


GROUP_SEEDS = {
    "igmp_v1_general": bytes([0x11, 0, 0, 0, 0, 0, 0, 0]),
    "igmp_v2_group": bytes([0x11, 10, 0, 0, 239, 1, 2, 3]),
    "igmp_v3_sources": bytes([0x11, 200, 0, 0, 239, 1, 2, 3, 2, 125, 0, 2, 192, 0, 2, 1, 192, 0, 2, 2]),
    "igmp_v3_lying": bytes([0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125, 255, 255]),
    "mld_v1_general": bytes([130, 0, 0, 0, 0x27, 0x10, 0, 0]) + bytes(16),
    "mld_v2_sources": bytes([130, 0, 0, 0, 0x90, 0, 0, 0, 0xff, 5]) + bytes(14) + bytes([2, 200, 0, 1]) + bytes(16),
}


def write(target: str, seeds: dict[str, bytes]) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, octets in seeds.items():
        (folder / name).write_bytes(octets)


def main() -> None:
    for target, seeds in header_corpora().items():
        write(target, seeds)
    write("fuzz_stack", stack_corpus())
    write("fuzz_group", GROUP_SEEDS)
    write("fuzz_address_text", {f"text_{i:02}": text.encode() for i, text in enumerate(TEXTS)})


main()
