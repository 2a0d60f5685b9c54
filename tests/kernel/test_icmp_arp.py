"""Ping and ARP."""
import harness
from harness import STACK, DEVICE, command


def kernel_mac():
    return command("ip", "-o", "link", "show", DEVICE).stdout.split("link/ether ")[1].split()[0]


class IcmpAndArp(harness.ServerTest):
    def test_ping_of_every_kind_of_size(self):
        for size in (0, 1, 7, 8, 9, 55, 56, 57, 511, 1000, 1471, 1472):
            with self.subTest(size=size):
                out = command("ping", "-n", "-c", 3, "-i", "0.002", "-W", 2, "-s", size, STACK).stdout
                self.assertIn("3 received, 0% packet loss", out)

    def test_a_thousand_pings_lose_none(self):
        out = command("ping", "-n", "-q", "-f", "-c", 1000, STACK).stdout
        self.assertIn("1000 received, 0% packet loss", out)
        self.assertGreaterEqual(self.grown("IcmpOutEchoReps"), 1000)

    def test_arp_answers_and_the_neighbour_stays_reachable(self):
        command("ip", "neigh", "flush", "dev", DEVICE)
        command("ping", "-n", "-c", 1, "-W", 2, STACK)
        entry = command("ip", "neigh", "show", STACK, "dev", DEVICE).stdout
        self.assertRegex(entry, r"lladdr [0-9a-f:]{17} .*(REACHABLE|DELAY)")
        self.assertGreaterEqual(self.grown("PxArpRepliesOut"), 1)

    def test_the_stack_has_a_mac_address_of_its_own(self):
        entry = command("ip", "neigh", "show", STACK, "dev", DEVICE).stdout
        self.assertNotIn(kernel_mac(), entry)

    def test_broadcast_ping_is_not_answered(self):
        out = command("ping", "-n", "-b", "-c", 1, "-W", 1, "192.0.2.255", check=False).stdout
        self.assertIn("0 received", out)
        self.assertGreaterEqual(self.grown("icmp_broadcast_echo"), 1)

    def test_a_gratuitous_arp_that_moves_the_kernel_is_followed(self):
        mac = "02:00:00:00:00:77"
        old = kernel_mac()
        command("ping", "-n", "-c", 1, "-W", 2, STACK)
        try:
            command("ip", "link", "set", DEVICE, "address", mac)
            # The kernel's own request, which its ping needs, tells the stack of the new address (RFC 826).
            command("ip", "neigh", "flush", "dev", DEVICE)
            command("ping", "-n", "-c", 3, "-i", "0.2", "-W", 2, STACK)
        finally:
            command("ip", "link", "set", DEVICE, "address", old)
            command("ip", "neigh", "flush", "dev", DEVICE)
            command("ping", "-n", "-c", 1, "-W", 2, STACK)
