"""Frames that no honest peer sends: each is dropped, counted by its name, and nothing else happens."""
import struct

import frames
import harness
from frames import arp, icmp, ip4, tcp, udp
from harness import connect, read_exactly, KERNEL, STACK

OTHER_MAC = bytes.fromhex("0200000000ee")
STRANGER = "192.0.2.77"


def cases(wire):
    """(counter, frame) for every kind of bad frame."""
    eth = wire.ethernet
    bcast = b"\xff" * 6
    zeroes = bytes(20)
    yield "eth_unknown_type", eth(zeroes, kind=0x88cc)
    yield "eth_unknown_type", eth(zeroes, kind=0x86dd)
    yield "eth_unknown_type", eth(zeroes, kind=46)
    yield "eth_vlan_unknown", eth(b"\0\1\x08\0" + ip4(tcp("S")), kind=0x8100)
    yield "eth_qinq", eth(b"\0\1\x81\0\0\2\x08\0" + ip4(tcp("S")), kind=0x8100)
    yield "eth_qinq", eth(b"\0\1\x08\0" + ip4(tcp("S")), kind=0x88a8)
    yield "eth_not_for_us", eth(ip4(tcp("S")), dst=OTHER_MAC)
    yield "arp_malformed", eth(arp(1, wire.ours, KERNEL, STACK)[:27], kind=0x806)
    yield "arp_malformed", eth(arp(1, wire.ours, KERNEL, STACK, hardware=6), kind=0x806)
    yield "arp_malformed", eth(arp(9, wire.ours, KERNEL, STACK), kind=0x806)
    yield "arp_bad_sender", eth(arp(1, bcast, STRANGER, STACK), kind=0x806)
    yield "arp_bad_sender", eth(arp(1, bytes(6), STRANGER, STACK), kind=0x806)
    yield "arp_bad_sender", eth(arp(1, wire.ours, STACK, STACK), kind=0x806)
    yield "arp_not_for_us", eth(arp(1, wire.ours, STRANGER, "192.0.2.78"), kind=0x806, dst=bcast)
    yield "ip_truncated", eth(ip4(b"")[:19])
    yield "ip_truncated", eth(b"\x45")
    yield "ip_truncated", eth(ip4(tcp("S"), length=1000))
    yield "ip_bad_version", eth(ip4(tcp("S"), version=6))
    yield "ip_bad_version", eth(ip4(tcp("S"), version=0))
    yield "ip_bad_header_length", eth(ip4(tcp("S"), ihl=4))
    yield "ip_bad_header_length", eth(ip4(b"", ihl=15))
    yield "ip_bad_header_length", eth(ip4(tcp("S"), length=19))
    yield "ip_bad_checksum", eth(ip4(tcp("S"), check=0x1234))
    yield "ip_bad_option", eth(ip4(tcp("S"), options=b"\x44\x01\0\0"))
    yield "ip_bad_option", eth(ip4(tcp("S"), options=b"\x44\x09\0\0"))
    yield "ip_source_route", eth(ip4(tcp("S"), options=b"\x83\x07\x04" + bytes(5)))
    yield "ip_source_route", eth(ip4(tcp("S"), options=b"\x89\x07\x04" + bytes(5)))
    for source in ("127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.255"):
        yield "ip_bad_source", eth(ip4(tcp("S", src=source), src=source))
    yield "ip_bad_source", eth(ip4(tcp("S", sport=7, src=STACK), src=STACK))  # the land attack
    yield "ip_not_local", eth(ip4(tcp("S", dst=STRANGER), dst=STRANGER))
    yield "ip_fragment_malformed", eth(ip4(tcp("S"), frag=0x2000))
    yield "ip_fragment_malformed", eth(ip4(bytes(64), frag=0x1fff))  # the ping of death
    yield "ip_fragment_tiny", eth(ip4(tcp("S")[:8], frag=0x2000))
    yield "ip_fragment_tiny", eth(ip4(bytes(64), frag=0x0001))
    yield "ip_unknown_protocol", eth(ip4(bytes(32), protocol=99))
    yield "icmp_truncated", eth(ip4(b"\x08\0\0", protocol=1))
    yield "icmp_bad_checksum", eth(ip4(icmp(8, check=0x1234), protocol=1))
    yield "icmp_ignored_type", eth(ip4(icmp(13, payload=bytes(12)), protocol=1))
    yield "icmp_ignored_type", eth(ip4(icmp(5, payload=ip4(tcp("A"))[:28]), protocol=1))
    yield "icmp_ignored_type", eth(ip4(icmp(200), protocol=1))
    quoted = ip4(tcp("A", sport=7, dport=1, src=STACK, dst=KERNEL), src=STACK, dst=KERNEL)[:28]
    yield "icmp_no_match", eth(ip4(icmp(3, 3, bytes(4), quoted), protocol=1))
    yield "udp_truncated", eth(ip4(bytes(7), protocol=17))
    yield "udp_truncated", eth(ip4(udp(length=7), protocol=17))
    yield "udp_truncated", eth(ip4(udp(length=500), protocol=17))
    yield "udp_bad_checksum", eth(ip4(udp(check=0x1234), protocol=17))
    yield "udp_no_socket", eth(ip4(udp(dport=4444), protocol=17))
    yield "tcp_truncated", eth(ip4(tcp("S")[:19]))
    yield "tcp_bad_offset", eth(ip4(tcp("S", offset=4)))
    yield "tcp_bad_offset", eth(ip4(tcp("S", offset=15)))
    yield "tcp_bad_checksum", eth(ip4(tcp("S", check=0x1234)))
    yield "tcp_bad_option", eth(ip4(tcp("S", options=b"\x02\x00\x05\xb4")))
    yield "tcp_bad_option", eth(ip4(tcp("S", options=b"\x02\x03\x05\x00")))
    yield "tcp_bad_option", eth(ip4(tcp("S", options=b"\x08\x0a\0\0")))
    yield "tcp_listen_bad_segment", eth(ip4(tcp("FPU")))  # a "christmas tree"
    yield "tcp_listen_bad_segment", eth(ip4(tcp("")))     # a null scan
    yield "tcp_bad_flags", eth(ip4(tcp("FSRPAU")))
    yield "tcp_bad_flags", eth(ip4(tcp("SF")))
    yield "tcp_bad_flags", eth(ip4(tcp("SR")))
    yield "tcp_no_connection", eth(ip4(tcp("A", dport=4444)))
    yield "tcp_no_connection", eth(ip4(tcp("R", dport=4444)))
    yield "tcp_invalid_peer", eth(ip4(tcp("S", dst="192.0.2.255"), dst="192.0.2.255"), dst=bcast)


class Malformed(harness.ServerTest):
    def assert_served(self):
        with connect(7) as s:
            s.sendall(b"still here")
            self.assertEqual(read_exactly(s, 10), b"still here")

    def test_every_bad_frame_is_counted_by_its_name(self):
        names = harness.drop_names()
        with frames.Wire() as wire:
            for number, (name, frame) in enumerate(cases(wire)):
                with self.subTest(f"{number}: {name}"):
                    before = self.server.counters()
                    wire.send(frame)
                    harness.wait_until(lambda: self.server.counters()["PxRxPackets"] > before["PxRxPackets"], 2,
                                       "the frame to arrive")
                    after = self.server.counters()
                    drops = {n: after[n] - before[n] for n in names if after[n] != before[n]}
                    self.assertEqual(drops, {name: 1})
        self.assert_served()

    def test_what_a_closed_port_answers(self):
        """RFC 9293 3.10.7.1: RST with the sequence number that the segment acknowledged, or 0 and an ACK."""
        with frames.Wire() as wire:
            for flags, seq, ack, payload, want_flags, want_seq, want_ack in (
                    ("S", 100, 0, b"", 0x14, 0, 101), ("A", 100, 777, b"", 0x04, 777, None),
                    ("PA", 100, 777, b"abc", 0x04, 777, None), ("FA", 100, 777, b"", 0x04, 777, None)):
                with self.subTest(flags=flags):
                    segment = tcp(flags, sport=55001, dport=4444, seq=seq, ack=ack, payload=payload)
                    wire.send(wire.ethernet(ip4(segment)))
                    frame = wire.receive(lambda f: f[23] == 6 and f[36:38] == struct.pack("!H", 55001))
                    self.assertIsNotNone(frame)
                    got_seq, got_ack, _, got_flags = struct.unpack("!IIBB", frame[38:48])
                    self.assertEqual((got_flags, got_seq), (want_flags, want_seq))
                    if want_ack is not None:
                        self.assertEqual(got_ack, want_ack)

    def test_padding_behind_the_packet_is_ignored(self):
        with frames.Wire() as wire:
            wire.send(wire.ethernet(ip4(icmp(8, payload=b"x"), protocol=1) + b"padding"))
            reply = wire.receive(lambda f: f[23] == 1)
        self.assertEqual(reply[14 + 28:14 + 29], b"x")
        self.assertEqual(struct.unpack("!H", reply[16:18])[0], 29)

    def test_a_datagram_without_checksum_is_accepted(self):
        with frames.Wire() as wire:
            wire.send(wire.ethernet(ip4(udp(b"unsummed", sport=55002, check=0), protocol=17)))
            reply = wire.receive(lambda f: f[23] == 17 and f[36:38] == struct.pack("!H", 55002))
        self.assertIsNotNone(reply)
        self.assertTrue(reply.endswith(b"unsummed"))

    def test_garbage_of_every_length(self):
        with frames.Wire() as wire:
            for kind in (0x800, 0x806, 0x86dd, 0x8100):
                for size in range(0, 200):
                    wire.send(wire.ethernet(bytes((size * 7 + i * 13) & 0xff for i in range(size)), kind=kind))
            for size in range(20, 100):  # valid IP around garbage
                for protocol in (1, 6, 17):
                    wire.send(wire.ethernet(ip4(bytes((size + i * 11) & 0xff for i in range(size)), protocol=protocol)))
        harness.wait_until(lambda: self.grown("PxRxPackets") >= 1000, 5, "1000 frames")
        self.assert_served()

    def test_segments_into_a_live_connection_from_the_side(self):
        """Blind RST, SYN and data beside the window (RFC 5961): the connection shrugs."""
        with connect(7) as s, frames.Wire() as wire:
            s.sendall(b"x")
            self.assertEqual(s.recv(1), b"x")
            port = s.getsockname()[1]
            for flags, seq in (("R", 12345), ("S", 12345), ("A", 1), ("PA", 99), ("RA", 7), ("FA", 3)):
                payload = b"evil" if "P" in flags else b""
                wire.send(wire.ethernet(ip4(tcp(flags, sport=port, seq=seq, ack=1, payload=payload))))
            s.sendall(b"unharmed")
            self.assertEqual(read_exactly(s, 8), b"unharmed")
            self.assertEqual(self.grown("TcpEstabResets"), 0)
