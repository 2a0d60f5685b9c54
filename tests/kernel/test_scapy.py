"""What attack tools send, made by scapy: land, teardrop, overlaps, bad extension chains, jumbo lies, port scans. Every
packet is dropped under its name (or answered as the RFCs say), and the stack serves on."""
import logging
import random

import frames
import harness
import traffic
from harness import KERNEL, STACK, command, wait_until
from test_ipv6 import KERNEL6, STACK6, configure_kernel, ping6, ports, wait_for_stack

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
# Only the layers that are needed, and no look at the machine's routes.
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment  # noqa: E402
from scapy.layers.inet6 import (ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment,  # noqa: E402
                                IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, Jumbo, PadN, fragment6)
from scapy.packet import Raw  # noqa: E402


class Scapy(harness.ServerTest):
    sections = {**ports(), "ip": {"reassembly_timeout": "300ms"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def setUp(self):
        super().setUp()
        self.wire = frames.Wire()
        self.addCleanup(self.wire.__exit__)

    def send(self, packet):
        self.wire.send(self.wire.ethernet(bytes(packet), kind=0x86dd if isinstance(packet, IPv6) else 0x800))

    def expect(self, reason, *packets, count=None):
        """The packets are dropped for `reason`, `count` of them (default: all), and for nothing else."""
        names, before = harness.drop_names(), self.server.counters()
        count = len(packets) if count is None else count
        for packet in packets:
            self.send(packet)
        wait_until(lambda: self.server.counters().since(before, reason) >= count, 5, f"{reason}, {count} times")
        after = self.server.counters()
        noise = {"ip_not_local"} - {reason}  # groups that the kernel reports to be in
        self.assertEqual({n: after[n] - before[n] for n in names - noise if after[n] != before[n]}, {reason: count})

    def assert_serving(self):
        for address in (STACK, STACK6):
            with traffic.tcp(address, 7) as s:
                self.assertEqual(traffic.one_flow(s, 100_000).differences, [])
        self.assertIn(", 1 received", ping6(STACK6, "-c", 1, "-W", 2))
        command("ping", "-c", 1, "-W", 2, STACK)

    def tearDown(self):
        self.assert_serving()
        super().tearDown()

    def test_land(self):
        self.expect("ip_bad_source", IP(src=STACK, dst=STACK) / TCP(sport=7, dport=7, flags="S"),
                    IP(src=STACK, dst=STACK) / UDP(sport=7, dport=7) / b"x", IP(src=STACK, dst=STACK) / ICMP(),
                    IPv6(src=STACK6, dst=STACK6) / TCP(sport=7, dport=7, flags="S"),
                    IPv6(src=STACK6, dst=STACK6) / UDP(sport=7, dport=7) / b"x",
                    IPv6(src="::1", dst=STACK6) / UDP(sport=7, dport=7) / b"x")

    def test_teardrop_and_its_relatives(self):
        """RFC 5722: the second fragment lies within, across or on the first; the whole datagram goes."""
        def v4(offset, size, more, number):
            return IP(src=KERNEL, dst=STACK, id=number, proto=17, flags="MF" if more else 0, frag=offset // 8) / Raw(bytes(size))

        def v6(offset, size, more, number):
            return IPv6(src=KERNEL6, dst=STACK6) / IPv6ExtHdrFragment(nh=17, id=number, m=int(more), offset=offset // 8) \
                / Raw(bytes(size))
        for number, (second_at, size, more) in enumerate([(24, 4, False), (32, 16, True), (0, 48, True), (16, 100, False)]):
            with self.subTest(second_at=second_at):
                self.expect("ip_fragment_overlap", v4(0, 40, True, number), v4(second_at, size, more, number))
                self.expect("ip_fragment_overlap", v6(0, 40, True, number), v6(second_at, size, more, number))

    def test_tiny_fragments_and_the_ping_of_death(self):
        syn = bytes(TCP(sport=1, dport=7, flags="S"))
        self.expect("ip_fragment_tiny", IP(src=KERNEL, dst=STACK, id=1, proto=6, flags="MF") / Raw(syn[:8]),
                    IP(src=KERNEL, dst=STACK, id=1, proto=6, frag=1) / Raw(syn[8:]))
        self.expect("ip_fragment_malformed", IP(src=KERNEL, dst=STACK, id=2, proto=1, frag=8190) / Raw(bytes(60)))
        v6 = IPv6(src=KERNEL6, dst=STACK6)
        self.expect("ip_fragment_tiny", v6 / IPv6ExtHdrFragment(nh=6, id=3, m=1) / Raw(syn[:8]))
        self.expect("ip_fragment_tiny", v6 / IPv6ExtHdrFragment(nh=60, id=4, m=1) / Raw(b"\x06\x00\x01\x04\0\0\0\0"))
        self.expect("ip_fragment_malformed", v6 / IPv6ExtHdrFragment(nh=58, id=5, m=0, offset=8191) / Raw(bytes(60)))

    def test_fragments_that_are_right_are_answered_in_any_order(self):
        pieces = list(fragment(IP(src=KERNEL, dst=STACK, id=77) / ICMP(id=7, seq=1) / Raw(bytes(4000)), 600))
        random.Random(7).shuffle(pieces)
        for piece in pieces:
            self.send(piece)
        pieces = fragment6(IPv6(src=KERNEL6, dst=STACK6) / IPv6ExtHdrFragment(id=78)
                           / ICMPv6EchoRequest(id=7, seq=1, data=bytes(4000)), 800)
        random.Random(8).shuffle(pieces)
        for piece in pieces:
            self.send(piece)
        wait_until(lambda: self.grown("IcmpOutEchoReps") == 1 and self.grown("Icmp6OutEchoReplies") == 1, 5, "both answers")

    def test_fragments_of_which_one_is_missing_go_in_time(self):
        pieces = list(fragment(IP(src=KERNEL, dst=STACK, id=79) / UDP(sport=99, dport=7) / Raw(bytes(4000)), 600))
        self.expect("ip_fragment_timeout", *pieces[:3], *pieces[4:])

    def test_bad_extension_chains(self):
        v6, pad, nothing = IPv6(src=KERNEL6, dst=STACK6), PadN(optdata=b"\0\0\0\0"), UDP(sport=99, dport=7) / b"x"
        chain = v6
        for _ in range(9):
            chain = chain / IPv6ExtHdrDestOpt(options=[pad])
        self.expect("ip_extension_limit", chain / nothing)
        self.expect("ip_extension_limit", v6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(250))]) / nothing)
        self.expect("ip_bad_extension", v6 / IPv6ExtHdrDestOpt(options=[pad]) / IPv6ExtHdrHopByHop(options=[pad]) / nothing)
        self.expect("ip_source_route", v6 / IPv6ExtHdrRouting(type=0, addresses=[KERNEL6]) / nothing)
        self.expect("ip_truncated", IPv6(src=KERNEL6, dst=STACK6, nh=60) / Raw(b"\x11\x1f\0\0\0\0\0\0"))
        self.expect("ip_no_next_header", IPv6(src=KERNEL6, dst=STACK6, nh=59) / Raw(bytes(40)))
        self.expect("ip_unknown_protocol", IPv6(src=KERNEL6, dst=STACK6, nh=253) / Raw(bytes(40)))

    def test_jumbo_lies(self):
        """RFC 2675: a length of 0 and an option that tells another. Jumbograms are not supported: the option is unknown."""
        lie = IPv6(src=KERNEL6, dst=STACK6, plen=0) / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70_000)]) / UDP() / b"x"
        before = self.server.counters()
        self.send(lie)
        wait_until(lambda: self.server.counters().since(before, "ip_truncated"), 5, "the lie dropped")
        whole = IPv6(src=KERNEL6, dst=STACK6) / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70_000)]) / UDP() / b"x"
        self.expect("ip_unknown_option", whole)
        self.expect("ip_truncated", IPv6(src=KERNEL6, dst=STACK6, plen=60_000) / UDP() / b"x",
                    IP(src=KERNEL, dst=STACK, len=60_000) / UDP() / b"x")
        self.expect("udp_truncated", IP(src=KERNEL, dst=STACK) / UDP(len=60_000) / b"x",
                    IPv6(src=KERNEL6, dst=STACK6) / UDP(len=60_000) / b"x")

    def test_the_probes_of_a_port_scanner(self):
        """nmap's null, FIN, Xmas and SYN-FIN probes, at an open and a closed port, and its strange options."""
        def probe(flags, port, **more):
            return IP(src=KERNEL, dst=STACK) / TCP(sport=61000, dport=port, flags=flags, seq=1, **more)
        self.expect("tcp_listen_bad_segment", probe("", 7), probe("F", 7), probe("FPU", 7))
        self.expect("tcp_bad_flags", probe("SFPU", 7, options=[("WScale", 10), ("NOP", None), ("MSS", 265)]))
        self.expect("tcp_no_connection", probe("", 4444), probe("F", 4444), probe("FPU", 4444), probe("A", 4444),
                    probe("S", 4444))

    def test_noise_in_every_field(self):
        rng = random.Random(17)
        seeds = [IP(src=KERNEL, dst=STACK) / TCP(dport=7, flags="S"), IP(src=KERNEL, dst=STACK) / UDP(dport=7) / b"noise",
                 IPv6(src=KERNEL6, dst=STACK6) / IPv6ExtHdrFragment(id=9, m=1) / UDP(dport=7) / bytes(56),
                 IPv6(src=KERNEL6, dst=STACK6) / IPv6ExtHdrDestOpt() / TCP(dport=7, flags="S"),
                 IP(src=KERNEL, dst=STACK, flags="MF") / UDP(dport=7) / bytes(56)]
        seeds = [(bytes(s), 0x86dd if isinstance(s, IPv6) else 0x800) for s in seeds]
        for _ in range(500 if harness.quick else 3000):
            octets, kind = rng.choice(seeds)
            octets = bytearray(octets)
            for _ in range(rng.randrange(1, 4)):
                octets[rng.randrange(len(octets))] = rng.randrange(256)
            self.wire.send(self.wire.ethernet(bytes(octets), kind=kind))
