"""Fragments of both families: what the kernel cuts is put together, what we cut the kernel puts together."""
import os
import random
import socket
import struct

import frames
import harness
from frames import ip4
from harness import KERNEL, STACK, command, wait_until
from test_ipv6 import KERNEL6, STACK6, configure_kernel, ping6, ports, wait_for_stack

NOISE = random.Random(4).randbytes(1 << 17)
SIZES = {socket.AF_INET: 65507, socket.AF_INET6: 65527}  # the largest UDP payloads


def client(family, port=7):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((KERNEL if family == socket.AF_INET else KERNEL6, 0))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    s.settimeout(2)
    s.connect((STACK if family == socket.AF_INET else STACK6, port))
    return s


class Echoed:
    """What both set-ups must do."""

    def test_udp_of_every_kind_of_size_is_echoed(self):
        for family, largest in SIZES.items():
            with client(family) as s:
                for size in (1472, 1473, 1480, 2952, 2953, 4000, 8192, 16384, 32768, 60000, 65000, largest - 1, largest):
                    data = NOISE[size:2 * size]
                    s.send(data)
                    self.assertEqual(s.recv(1 << 17), data, f"size {size}")
        self.assertGreaterEqual(self.grown("IpReasmOKs"), 10)
        self.assertGreaterEqual(self.grown("Ip6ReasmOKs"), 10)
        self.assertGreaterEqual(self.grown("IpFragOKs"), 10)
        self.assertGreaterEqual(self.grown("Ip6FragOKs"), 10)
        self.assertEqual(self.grown("IpReasmFails") + self.grown("Ip6ReasmFails"), 0)

    def test_many_large_datagrams_at_once(self):
        with client(socket.AF_INET) as a, client(socket.AF_INET6) as b:
            for burst in range(10):
                sent = [NOISE[i * 100 + burst:i * 100 + burst + 9000] for i in range(8)]
                for s in (a, b):
                    for data in sent:
                        s.send(data)
                for s in (a, b):
                    self.assertEqual(sorted(s.recv(1 << 17) for _ in sent), sorted(sent))


class Fragments(Echoed, harness.ServerTest):
    sections = {**ports(), "ip": {"reassembly_timeout": "500ms"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def test_ping_beyond_the_mtu_is_answered(self):
        for size in (1473, 2000, 9000, 60000, 65507):
            with self.subTest(size=size):
                out = command("ping", "-n", "-c", 3, "-i", "0.01", "-W", 2, "-s", size, STACK).stdout
                self.assertIn("3 received, 0% packet loss", out)

    def test_ping6_beyond_the_mtu_is_answered(self):
        for size in (1453, 2000, 9000, 60000, 65507):
            with self.subTest(size=size):
                out = ping6(STACK6, "-c", 3, "-i", "0.01", "-W", 2, "-s", size)
                self.assertIn("3 received, 0% packet loss", out)

    def test_a_lost_fragment_is_told_and_forgotten(self):
        with frames.Wire() as wire:
            wire.send(wire.ethernet(ip4(bytes(800), protocol=17, frag=0x2000)))
            told = wire.receive(lambda f: f[12:14] == b"\x08\x00" and f[23] == 1 and f[34:36] == b"\x0b\x01", 3)
            self.assertIsNotNone(told, "time exceeded, code 1")
            payload = struct.pack("!BBHI", 17, 0, 1, 99) + bytes(800)
            addresses = socket.inet_pton(socket.AF_INET6, KERNEL6) + socket.inet_pton(socket.AF_INET6, STACK6)
            wire.send(wire.ethernet(struct.pack("!IHBB", 6 << 28, len(payload), 44, 64) + addresses + payload,
                                    kind=0x86dd))
            told = wire.receive(lambda f: f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54:56] == b"\x03\x01", 3)
            self.assertIsNotNone(told, "ICMPv6 time exceeded, code 1")
        self.assertEqual(self.grown("IpReasmTimeout"), 1)
        self.assertEqual(self.grown("Ip6ReasmTimeout"), 1)
        self.assertEqual(self.grown("ip_fragment_timeout"), 2)

    def test_a_flood_of_fragments_keeps_nobody_out(self):
        flood = random.Random(5)
        with frames.Wire() as wire, client(socket.AF_INET) as s:
            for _ in range(30):
                for _ in range(100):
                    source = f"192.0.2.{flood.randrange(10, 250)}"
                    fragment = ip4(bytes(64), protocol=17, frag=0x2000 | flood.randrange(2) * 16, src=source)
                    fragment = bytearray(fragment)
                    fragment[4:6] = flood.randbytes(2)
                    fragment[10:12] = bytes(2)
                    fragment[10:12] = struct.pack("!H", frames.checksum(bytes(fragment[:20])))
                    wire.send(wire.ethernet(bytes(fragment)))
                data = NOISE[:5000]
                s.send(data)
                self.assertEqual(s.recv(1 << 17), data)
        self.assertGreater(self.grown("ip_fragment_table_full"), 0)


class OnTwoCores(Echoed, harness.ServerTest):
    """Fragments go to a core by their addresses, the datagram to the core that owns its ports."""
    cores = (sorted(os.sched_getaffinity(0)) * 2)[:2]
    sections = {**ports(), "cores": cores, "share_cpus": True, "pool": {"packets": 32767, "clones": 32767}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def test_datagrams_of_many_flows_reach_their_core(self):
        for family in SIZES:
            for _ in range(20):
                with client(family) as s:
                    s.send(NOISE[:20000])
                    self.assertEqual(s.recv(1 << 17), NOISE[:20000])
        wait_until(lambda: self.grown("PxHandedOver") == self.grown("PxTakenOver"), 5, "what was handed over to arrive")
        self.assertGreater(self.grown("PxHandedOver"), 0)
