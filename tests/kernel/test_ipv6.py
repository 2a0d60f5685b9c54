"""IPv6 against the kernel: neighbour discovery, duplicate detection, ping, UDP and TCP."""
import json
import random
import socket
import struct
import tempfile
import threading
import unittest

import frames
import harness
import traffic
from harness import DEVICE, STACK, command, wait_until

STACK6 = "fd00:77::2"
KERNEL6 = "fd00:77::1"
NOISE = random.Random(6).randbytes(1 << 20)


def ports(device="net_tap0", interface=DEVICE, v4=STACK, v6=STACK6):
    return {"ports": [{"device": f"{device},iface={interface}", "addresses": [f"{v4}/24", f"{v6}/64"]}]}


def configure_kernel(device=DEVICE, address=KERNEL6):
    """Gives the kernel's end IPv6, without duplicate detection or router solicitations of its own."""
    for name, value in (("accept_dad", 0), ("router_solicitations", 0), ("disable_ipv6", 0)):
        harness.sysctl(f"net/ipv6/conf/{device}/{name}", value)
    command("ip", "address", "replace", f"{address}/64", "dev", device, "nodad")


def ping6(address, *words, check=True):
    return command("ping", "-6", "-n", *words, address, check=check).stdout


def wait_for_stack(address=STACK6):
    """The stack uses its address a second after it began to look for duplicates."""
    wait_until(lambda: ", 1 received" in ping6(address, "-c", 1, "-W", 1, check=False), 10, "ping6 answered")


def stack_mac():
    entry = command("ip", "-6", "neigh", "show", STACK6, "dev", DEVICE).stdout
    return entry.split("lladdr ")[1].split()[0]


def link_local(mac):
    octets = bytearray(frames.mac_octets(mac))
    octets[0] ^= 2
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + octets[:3] + b"\xff\xfe" + octets[3:])


def udp(port, address=STACK6, source=0):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind((KERNEL6, source))
    s.settimeout(2)
    s.connect((address, port))
    return s


class Ipv6(harness.ServerTest):
    sections = ports()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def test_ping_of_every_kind_of_size(self):
        for size in (0, 1, 7, 8, 55, 56, 57, 511, 1000, 1451, 1452):
            with self.subTest(size=size):
                out = ping6(STACK6, "-c", 3, "-i", "0.002", "-W", 2, "-s", size)
                self.assertIn("3 received, 0% packet loss", out)
        self.assertEqual(self.grown("icmp_truncated"), 0)

    def test_the_link_local_address_of_the_mac_answers(self):
        out = ping6(f"{link_local(stack_mac())}%{DEVICE}", "-c", 2, "-i", "0.01", "-W", 2)
        self.assertIn("2 received", out)

    def test_the_kernel_finds_the_stack_reachable(self):
        command("ip", "-6", "neigh", "flush", "dev", DEVICE)
        ping6(STACK6, "-c", 1, "-W", 2)
        entry = command("ip", "-6", "neigh", "show", STACK6, "dev", DEVICE).stdout
        self.assertRegex(entry, r"lladdr [0-9a-f:]{17} .*REACHABLE")
        self.assertGreaterEqual(self.grown("Icmp6OutNeighborAdvertisements"), 1)

    def test_udp_of_every_size_is_echoed(self):
        with udp(7) as s:
            for size in range(0, 1453, 11):
                data = NOISE[size:2 * size]
                s.send(data)
                self.assertEqual(s.recv(2048), data, f"size {size}")

    def test_a_closed_udp_port_refuses(self):
        with udp(4444) as s:
            s.send(b"anybody?")
            with self.assertRaises(ConnectionRefusedError):
                s.recv(1)
        self.assertEqual(self.grown("udp_no_socket"), 1)
        self.assertEqual(self.grown("Icmp6OutDestUnreachs"), 1)

    def test_an_unreachable_from_the_kernel_does_no_harm(self):
        def provoked():
            with udp(7) as s:
                s.send(b"answer me")  # and nobody is left to hear it
            return self.grown("Icmp6InDestUnreachs")
        wait_until(provoked, 5, "an ICMPv6 error from the kernel")

    def test_tcp_echoes_every_octet(self):
        with traffic.tcp(STACK6, 7) as s:
            outcome = traffic.one_flow(s, (1 if harness.quick else 8) << 20)
        self.assertEqual(outcome.differences, [])

    def test_many_tcp_flows_of_both_families(self):
        for address in (STACK6, STACK):
            outcome = traffic.many_flows(address, 7, 50, 20_000, sndbuf=16384)
            self.assertEqual(outcome.differences, [])
            self.assertEqual(outcome.received, 50 * 20_000)

    def test_the_mss_leaves_room_for_the_larger_header(self):
        with traffic.tcp(STACK6, 7) as s:
            self.assertEqual(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), 1500 - 60 - 12)

    def test_a_closed_tcp_port_refuses(self):
        with self.assertRaises(ConnectionRefusedError):
            traffic.tcp(STACK6, 4445)
        self.assertEqual(self.grown("TcpOutRsts"), 1)

    def test_a_neighbour_that_changes_its_mac_in_a_transfer_is_followed(self):
        link = command("ip", "-o", "link", "show", DEVICE).stdout
        old = link.split("link/ether ")[1].split()[0]
        with traffic.tcp(STACK6, 7) as s:
            self.assertEqual(traffic.round_trips(s, 10, 1000).differences, [])
            try:
                for mac in ("02:00:00:00:00:66", old):
                    command("ip", "link", "set", DEVICE, "address", mac)
                    # The kernel asks anew, and its solicitation tells the stack of the new address (RFC 4861 7.2.3).
                    command("ip", "-6", "neigh", "flush", "dev", DEVICE)
                    self.assertEqual(traffic.round_trips(s, 10, 1000).differences, [])
            finally:
                command("ip", "link", "set", DEVICE, "address", old)
                ping6(STACK6, "-c", 1, "-W", 2, check=False)
                command("ping", "-c", 1, "-W", 2, STACK)

    def test_malformed_packets_leave_it_serving(self):
        ids = socket.inet_pton(socket.AF_INET6, KERNEL6) + socket.inet_pton(socket.AF_INET6, STACK6)

        def ip6(next_header, payload, length=None, addresses=ids):
            return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, next_header, 64) \
                + addresses + payload

        rng = random.Random(66)
        ours = ids[16:]
        cases = {
            "ip_truncated": ip6(17, bytes(8), length=9),
            "ip_bad_extension": ip6(60, b"\x00\x00" + bytes(6) + bytes(8)),
            "ip_unknown_option": ip6(60, b"\x11\x00\x41\x04\0\0\0\0" + bytes(8)),
            "ip_extension_limit": ip6(60, b"\x3c\x00\x01\x04\0\0\0\0" * 9 + bytes(8)),
            "ip_source_route": ip6(43, b"\x11\x00\x00\x01\0\0\0\0" + bytes(8)),
            "ip_no_next_header": ip6(59, b""),
            "ip_fragment_malformed": ip6(44, b"\x11\x00\x00\x09\0\0\0\1" + bytes(9)),
            "ip_fragment_tiny": ip6(44, b"\x06\x00\x00\x01\0\0\0\2" + bytes(16)),
            "ip_bad_source": ip6(17, bytes(8), addresses=ours + ours),  # land
            "ip_unknown_protocol": ip6(132, bytes(8)),
            "icmp_bad_checksum": ip6(58, b"\x80\x00\x12\x34" + bytes(8)),
            "udp_bad_checksum": ip6(17, struct.pack("!HHHH", 9, 7, 8, 0x1234)),
            "udp_no_checksum": ip6(17, struct.pack("!HHHH", 9, 7, 8, 0)),
        }
        with frames.Wire() as wire:
            for reason, packet in cases.items():
                with self.subTest(reason=reason):
                    before = self.server.counters()
                    wire.send(wire.ethernet(packet, kind=0x86dd))
                    wait_until(lambda: self.server.counters().since(before, reason), 5, reason)
            for _ in range(2000):
                packet = bytearray(rng.choice(list(cases.values())))
                for _ in range(rng.randrange(1, 5)):
                    packet[rng.randrange(len(packet))] = rng.randrange(256)
                wire.send(wire.ethernet(bytes(packet[:rng.randrange(1, len(packet) + 1)]), kind=0x86dd))
        self.assertIn(", 1 received", ping6(STACK6, "-c", 1, "-W", 2))

    def test_l4bench_measures_over_kernel_sockets(self):
        done = command(harness.build / "apps/l4bench", "rr", "--via", "kernel", "-r", f"[{STACK6}]:7", "-n", 4, "-d", 0.5,
                       "-w", 0.1, "--json", "-")
        self.assertEqual(json.loads(done.stdout)["errors"], 0)


class DuplicateAddress(unittest.TestCase):
    def test_an_address_that_the_kernel_has_is_not_used(self):
        # The first solicitations find nobody: the kernel takes the address meanwhile.
        server = harness.Server({**ports(), "ip": {"dad_solicitations": 10}})
        try:
            configure_kernel(address=STACK6)
            counters = wait_until(lambda: (c := server.counters())["PxNdDuplicates"] and c, 12, "a duplicate found")
            self.assertEqual(counters["PxNdDuplicates"], 1)
            command("ip", "address", "del", f"{STACK6}/64", "dev", DEVICE)
            command("ip", "address", "add", f"{KERNEL6}/64", "dev", DEVICE, "nodad")
            self.assertIn(" 0 received", ping6(STACK6, "-c", 2, "-i", "0.2", "-W", 1, check=False))
            command("ping", "-c", 1, "-W", 2, STACK)
        finally:
            server.stop()


class OverPollux(unittest.TestCase):
    """l4bench over Pollux to a server of the kernel's."""

    def test_round_trips(self):
        device, kernel, stack = harness.CLIENT_DEVICE, "fd00:78::1", "fd00:78::2"
        command("ip", "tuntap", "add", "dev", device, "mode", "tap", "multi_queue")
        self.addCleanup(command, "ip", "link", "delete", device)
        command("ip", "link", "set", device, "up")
        configure_kernel(device, kernel)
        listener = socket.create_server((kernel, 0), family=socket.AF_INET6)
        self.addCleanup(listener.close)

        def echo(s):
            with s:
                while data := s.recv(65536):
                    s.sendall(data)

        def accept():
            while True:
                try:
                    s, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=(s,), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
            config.write(harness.config_text("net_tap1", device, harness.CLIENT_STACK,
                                             ports("net_tap1", device, harness.CLIENT_STACK, stack)))
            config.flush()
            done = command(harness.build / "apps/l4bench", "rr", "--config", config.name, "-r",
                           f"[{kernel}]:{listener.getsockname()[1]}", "-n", 4, "-d", 0.5, "-w", 0.1, "--json", "-",
                           timeout=50)
        results = json.loads(done.stdout[done.stdout.index("{\n"):done.stdout.rindex("}") + 1])
        self.assertEqual(results["errors"], 0)
        self.assertEqual(results["connections_opened"], 4)
        self.assertGreater(results["operations"], 10)
