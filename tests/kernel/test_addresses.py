"""Several IPv4 addresses on one port, and a port with IPv6 addresses only beside it."""
import socket

import harness
import traffic
from harness import DEVICE, STACK, command
from test_ipv6 import configure_kernel, ping6, wait_for_stack

SECOND = "192.0.2.3"                                # in the subnet of STACK
OTHER, OTHER_KERNEL = "203.0.113.2", "203.0.113.1"  # a subnet of its own
LINK6, ONLY6, ONLY6_KERNEL = "px2", "fd00:80::2", "fd00:80::1"


class Addresses(harness.ServerTest):
    sections = {"ports": [{"device": f"net_tap0,iface={DEVICE}",
                           "addresses": [f"{STACK}/24", f"{SECOND}/24", f"{OTHER}/28"]},
                          {"device": f"net_tap1,iface={LINK6}", "addresses": [f"{ONLY6}/64"]}],
                "tcp": harness.PATIENT}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        command("ip", "address", "add", f"{OTHER_KERNEL}/28", "dev", DEVICE)
        command("ip", "link", "set", LINK6, "txqueuelen", 65536, "up")
        configure_kernel(LINK6, ONLY6_KERNEL)
        wait_for_stack(ONLY6)

    def test_each_address_answers_ping_and_arp(self):
        for address in (STACK, SECOND, OTHER):
            command("ip", "neigh", "flush", "to", address, "dev", DEVICE)
            self.assertIn("1 received", command("ping", "-n", "-c", 1, "-W", 5, address, check=False).stdout)
            self.assertIn("lladdr", command("ip", "neigh", "show", address, "dev", DEVICE).stdout)
        out = command("ping", "-n", "-c", 1, "-W", 1, "192.0.2.4", check=False).stdout
        self.assertIn(" 0 received", out)

    def test_tcp_and_udp_on_each(self):
        for address in (STACK, SECOND, OTHER):
            with traffic.tcp(address, 7) as s:
                outcome = traffic.one_flow(s, 300_000)
            self.assertEqual((outcome.received, outcome.differences), (300_000, []), address)
            # A connected socket: the answer has to come from the address that was asked.
            self.assertEqual(traffic.datagram_sizes(address, 7, (1, 100, 1472, 3000)).differences, [], address)

    def test_the_stack_asks_from_the_subnet_of_whom_it_asks(self):
        """Its neighbour entry forgotten, the kernel hears an ARP request from the address of the same subnet."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806)) as arp:
            arp.bind((DEVICE, 0))
            arp.settimeout(8)
            mac = command("ip", "-o", "link", "show", DEVICE).stdout.split("link/ether ")[1].split()[0]
            # A UDP datagram from an address that nobody has asked about yet.
            command("ip", "address", "add", "203.0.113.5/28", "dev", DEVICE)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(("203.0.113.5", 0))
                s.settimeout(5)
                s.sendto(b"who asks?", (OTHER, 7))
                self.assertEqual(s.recv(99), b"who asks?")
            while True:
                frame = arp.recv(2048)
                if frame[6:12] != bytes.fromhex(mac.replace(":", "")) and frame[38:42] == socket.inet_aton("203.0.113.5"):
                    break
            self.assertEqual(socket.inet_ntoa(frame[28:32]), OTHER)

    def test_a_port_with_ipv6_alone(self):
        self.assertIn("1 received", ping6(ONLY6, "-c", 1, "-W", 5, "-s", 3000, check=False))
        with traffic.tcp(ONLY6, 7) as s:
            outcome = traffic.one_flow(s, 300_000)
        self.assertEqual((outcome.received, outcome.differences), (300_000, []))

    def test_and_no_ipv4_there(self):
        command("ip", "address", "add", "198.51.100.77/24", "dev", LINK6)
        command("ping", "-n", "-c", 1, "-W", 1, "198.51.100.78", check=False)
        self.assertGreaterEqual(self.grown("eth_unknown_type"), 1)
