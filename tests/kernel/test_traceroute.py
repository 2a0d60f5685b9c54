"""traceroute: UDP to ports that nobody has, answered by port unreachable in both families."""
import harness
import test_ipv6
from harness import STACK, command

PROBES = 6


class Traceroute(harness.ServerTest):
    sections = test_ipv6.ports()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        test_ipv6.configure_kernel()
        test_ipv6.wait_for_stack()

    def trace(self, family, address, errors):
        # One hop away, and every probe ends there: UDP to ports from 33434 on.
        out = command("traceroute", family, "-n", "-q", PROBES, "-N", 1, "-w", 3, "-m", 4, address).stdout
        hops = out.splitlines()[1:]
        self.assertEqual(len(hops), 1, out)
        self.assertRegex(hops[0], rf"^ *1 +{address}( +[\d.]+ ms){{{PROBES}}}$")
        self.assertEqual(self.grown("udp_no_socket"), PROBES)
        self.assertEqual(self.grown("UdpNoPorts"), PROBES)
        self.assertEqual(self.grown(errors), PROBES)
        self.assertEqual(self.grown("UdpInErrors"), 0)

    def test_over_ipv4(self):
        self.trace("-4", STACK, "IcmpOutDestUnreachs")

    def test_over_ipv6(self):
        self.trace("-6", test_ipv6.STACK6, "Icmp6OutDestUnreachs")
