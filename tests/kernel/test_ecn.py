"""Explicit congestion notification with the kernel at the other end, and a router (nftables) between them that marks."""
import threading

import harness
import traffic
from harness import connect, read_exactly
from traffic import NOISE

ROUNDS = 20


def nft(*rules):
    for rule in rules:
        harness.command("nft", *rule.split(" "))


def echo(size=len(NOISE)):
    """Sends NOISE to the echo port ROUNDS times while it reads the answers."""
    with connect(7, timeout=20) as s:
        writer = threading.Thread(target=lambda: [s.sendall(NOISE[:size]) for _ in range(ROUNDS)])
        writer.start()
        good = all(read_exactly(s, size) == NOISE[:size] for _ in range(ROUNDS))
        writer.join()
        return good


class Marks(harness.ServerTest):
    """A namespace whose kernel asks for ECN, with places for a router's rules on both ways."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        harness.make_kernel_patient(harness.DEVICE, harness.KERNEL)
        harness.sysctl("net/ipv4/tcp_ecn", 1)  # the kernel asks for it
        nft("add table ip marks",
            "add chain ip marks to_stack { type filter hook output priority 0 ; }",
            "add chain ip marks from_stack { type filter hook prerouting priority 0 ; }")

    @classmethod
    def tearDownClass(cls):
        nft("delete table ip marks")
        harness.sysctl("net/ipv4/tcp_ecn", 2)
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.kernel = traffic.kernel_counters()

    def tearDown(self):
        nft("flush table ip marks")
        super().tearDown()

    def kernel_grown(self, name):
        return traffic.kernel_counters()[name] - self.kernel[name]


class Ecn(Marks):
    def test_the_kernel_asks_and_both_use_it(self):
        self.assertTrue(echo())
        self.assertEqual(self.grown("PxTcpEcnOpens"), 1)
        self.assertGreater(self.kernel_grown("IpExtInECT0Pkts"), ROUNDS)
        self.assertEqual(self.grown("PxTcpCeIn"), 0)
        self.assertEqual(self.grown("PxTcpEcnReductions"), 0)

    def test_what_the_kernel_sends_is_marked(self):
        """We echo the marks; the kernel reduces its window and says so, so the echo ends."""
        nft("add rule ip marks to_stack tcp dport 7 ip ecn ect0 numgen inc mod 10 == 0 ip ecn set ce")
        self.assertTrue(echo())
        self.assertGreater(self.grown("PxTcpCeIn"), 5)
        self.assertGreater(self.kernel_grown("TcpExtTCPDeliveredCE"), 5)
        self.assertEqual(self.kernel_grown("TcpRetransSegs"), 0)

    def test_what_the_stack_sends_is_marked(self):
        """The kernel echoes them until it sees our CWR: some, not each, of the echoes reduce the window."""
        nft("add rule ip marks from_stack tcp sport 7 ip ecn ect0 numgen inc mod 10 == 0 ip ecn set ce")
        self.assertTrue(echo())
        reductions = self.grown("PxTcpEcnReductions")
        self.assertGreater(reductions, 0)
        # Not more than marks, one packet in ten, but for the moments at which the two ends are counted.
        self.assertLessEqual(reductions, self.kernel_grown("IpExtInECT0Pkts") * 0.11)
        self.assertEqual(self.grown("TcpRetransSegs"), 0)

    def test_a_kernel_that_does_not_ask_gets_none(self):
        harness.sysctl("net/ipv4/tcp_ecn", 2)
        try:
            good = echo(10_000)
        finally:
            harness.sysctl("net/ipv4/tcp_ecn", 1)
        self.assertTrue(good)
        self.assertEqual(self.grown("PxTcpEcnOpens"), 0)
        self.assertEqual(self.kernel_grown("IpExtInECT0Pkts"), 0)


class Dctcp(Marks):
    """Both ends tell of each segment whether it was marked, and a few marks take little of the window."""
    sections = {"tcp": {"congestion": "dctcp"}}

    def test_both_ways_are_marked(self):
        nft("add rule ip marks from_stack tcp sport 7 ip ecn ect0 numgen inc mod 20 == 0 ip ecn set ce",
            "add rule ip marks to_stack tcp dport 7 ip ecn ect0 numgen inc mod 20 == 0 ip ecn set ce")
        self.assertTrue(echo())
        self.assertEqual(self.grown("PxTcpEcnOpens"), 1)
        self.assertGreater(self.grown("PxTcpCeIn"), 5)
        self.assertGreater(self.grown("PxTcpEcnReductions"), 0)
        self.assertEqual(self.grown("TcpRetransSegs"), 0)

    def test_a_kernel_that_does_not_ask_is_served(self):
        harness.sysctl("net/ipv4/tcp_ecn", 2)
        try:
            self.assertTrue(echo(10_000))
        finally:
            harness.sysctl("net/ipv4/tcp_ecn", 1)
        self.assertEqual(self.kernel_grown("IpExtInECT0Pkts"), 0)
