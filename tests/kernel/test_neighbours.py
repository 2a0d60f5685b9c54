"""Neighbours that expire, move, lie or are configured, in the middle of traffic; both families."""
import socket
import time

import frames
import harness
import traffic
from frames import arp
from harness import DEVICE, KERNEL, STACK, command, sysctl, wait_until
from test_ipv6 import KERNEL6, STACK6, configure_kernel, ping6, ports, wait_for_stack

NEW_MAC = "02:00:00:00:00:66"


def kernel_mac():
    return command("ip", "-o", "link", "show", DEVICE).stdout.split("link/ether ")[1].split()[0]


def udp(address):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    s.connect((address, 7))
    return s


class Moving(harness.ServerTest):
    """The kernel's MAC changes while 4 MiB are on their way, and only its own announcement says so."""
    sections = ports()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()
        sysctl(f"net/ipv4/conf/{DEVICE}/arp_notify", 1)     # gratuitous ARP
        sysctl(f"net/ipv6/conf/{DEVICE}/ndisc_notify", 1)   # unsolicited neighbour advertisement

    def move_during_a_transfer(self, address):
        old, size = kernel_mac(), 4 << 20
        self.addCleanup(command, "ip", "link", "set", DEVICE, "address", old)
        moved = []

        def move():
            # The stack keeps the entry that it has: no flush here, no request of the kernel's.
            command("ip", "link", "set", DEVICE, "address", NEW_MAC)
            moved.append(True)
        with traffic.tcp(address, 7) as s:
            outcome = traffic.one_flow(s, size, when_received=(size // 4, move))
        self.assertEqual((outcome.received, outcome.differences, moved), (size, [], [True]))
        command("ip", "link", "set", DEVICE, "address", old)
        command("ping", "-c", 1, "-W", 2, STACK)
        ping6(STACK6, "-c", 1, "-W", 2)

    def test_a_gratuitous_arp_is_followed_in_a_transfer(self):
        self.move_during_a_transfer(STACK)

    def test_an_unsolicited_advertisement_is_followed_in_a_transfer(self):
        self.move_during_a_transfer(STACK6)

    def test_another_claimant_of_our_address_is_answered_and_does_no_harm(self):
        other = bytes.fromhex("0200000000cc")
        command("ping", "-c", 1, "-W", 2, STACK)  # Wire looks its MAC up
        with frames.Wire() as wire, traffic.tcp(STACK, 7) as s:
            self.assertEqual(traffic.round_trips(s, 5, 1000).differences, [])
            wire.send(wire.ethernet(arp(1, other, STACK, STACK), kind=0x806, dst=b"\xff" * 6, src=other))
            defended = wire.receive(lambda f: f[12:14] == b"\x08\x06" and f[28:32] == socket.inet_aton(STACK)
                                    and f[38:42] == socket.inet_aton(STACK))
            self.assertIsNotNone(defended, "an announcement (RFC 5227 2.4)")
            self.assertEqual(traffic.round_trips(s, 5, 1000).differences, [])
        self.assertEqual(self.grown("PxArpConflicts"), 1)

    def test_another_claimant_of_our_ipv6_address_does_no_harm(self):
        other = bytes.fromhex("0200000000cc")
        addresses = socket.inet_pton(socket.AF_INET6, "fe80::ff:fe00:cc") + socket.inet_pton(socket.AF_INET6, "ff02::1")
        body = b"\x88\0\0\0\x20\0\0\0" + socket.inet_pton(socket.AF_INET6, STACK6) + b"\2\1" + other
        pseudo = addresses + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"
        body = body[:2] + frames.checksum(pseudo + body).to_bytes(2, "big") + body[4:]
        packet = (6 << 28).to_bytes(4, "big") + len(body).to_bytes(2, "big") + b"\x3a\xff" + addresses + body
        command("ping", "-c", 1, "-W", 2, STACK)
        with frames.Wire() as wire, traffic.tcp(STACK6, 7) as s:
            wire.send(wire.ethernet(packet, kind=0x86dd, dst=bytes.fromhex("333300000001"), src=other))
            wait_until(lambda: self.grown("PxNdConflicts") == 1, 5, "the conflict counted")
            self.assertEqual(traffic.round_trips(s, 5, 1000).differences, [])


class Expiring(harness.ServerTest):
    """Entries live for a second: what is in use is verified and kept, what is not is forgotten and learnt anew."""
    sections = {**ports(), "ip": {"neighbor_reachable": "1s", "neighbor_delay": "100ms", "neighbor_stale_max": "1s",
                                  "arp_retry": "200ms"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def test_a_neighbour_in_use_is_asked_again_and_no_datagram_lost(self):
        for address, asked in ((STACK, "PxArpRequestsOut"), (STACK6, "Icmp6OutNeighborSolicits")):
            with self.subTest(address=address), udp(address) as s:
                before = self.server.counters()
                for i in range(30):
                    s.send(b"%d" % i)
                    self.assertEqual(s.recv(99), b"%d" % i)
                    time.sleep(0.1)
                self.assertGreaterEqual(self.server.counters().since(before, asked), 1)

    def test_a_tcp_transfer_outlives_its_neighbours_entry(self):
        for address in (STACK, STACK6):
            with self.subTest(address=address), traffic.tcp(address, 7) as s:
                for _ in range(4):
                    self.assertEqual(traffic.round_trips(s, 10, 1000).differences, [])
                    time.sleep(1.2)  # longer than an entry is trusted, and for the last rounds, kept

    def test_a_forgotten_neighbour_is_learnt_anew(self):
        time.sleep(2.5)
        for address in (STACK, STACK6):
            with self.subTest(address=address), udp(address) as s:
                s.send(b"again")
                self.assertEqual(s.recv(99), b"again")

    def test_a_neighbour_that_vanishes_is_given_up_and_found_again(self):
        with traffic.tcp(STACK, 7, timeout=20) as s:
            self.assertEqual(traffic.round_trips(s, 3, 1000).differences, [])
            s.sendall(b"x" * 1000)
            harness.link("down")
            time.sleep(2)
            harness.link("up")
            configure_kernel()
            self.assertEqual(harness.read_exactly(s, 1000), b"x" * 1000)
            self.assertEqual(traffic.round_trips(s, 3, 1000).differences, [])


class Configured(harness.ServerTest):
    """A static entry holds against every other word."""
    mac = "02:00:00:00:00:77"
    sections = {**ports(f"net_tap0,mac={mac}"), "neighbors": [{"address": KERNEL, "mac": mac}, {"address": KERNEL6, "mac": mac}]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def test_nobody_is_asked(self):
        self.assertEqual(traffic.datagram_sizes(STACK, 7, [100]).differences, [])
        with udp(STACK6) as s:
            s.send(b"six")
            self.assertEqual(s.recv(99), b"six")
        self.assertEqual(self.grown("PxArpRequestsOut"), 0)
        self.assertEqual(self.grown("Icmp6OutNeighborSolicits"), 0)

    def test_a_forged_arp_changes_nothing(self):
        with frames.Wire() as wire, udp(STACK) as s:
            wire.send(wire.ethernet(arp(2, bytes.fromhex("0200000000cc"), KERNEL, STACK), kind=0x806))
            s.send(b"still to you")
            self.assertEqual(s.recv(99), b"still to you")
