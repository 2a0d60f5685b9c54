"""VLANs on a port, beside its untagged frames: the kernel's end tags and untags by trunk.py."""
import socket
import struct
import threading

import frames
import harness
import traffic
from frames import icmp, ip4
from harness import STACK, command
from test_ipv6 import configure_kernel, ping6, wait_for_stack
from trunk import Trunk

FIVE, FIVE_KERNEL = "10.5.0.2", "10.5.0.1"
FIVE6, FIVE6_KERNEL = "fd00:5::2", "fd00:5::1"
SIX, SIX_KERNEL = "10.6.0.2", "10.6.0.1"
BEHIND = "10.9.0.1"  # a route through VLAN 6


class Vlans(harness.ServerTest):
    sections = {
        "ports": [{"device": f"net_tap0,iface={harness.DEVICE}", "addresses": [f"{STACK}/24"],
                   "vlans": [{"id": 5, "addresses": [f"{FIVE}/24", f"{FIVE6}/64"]},
                             {"id": 6, "addresses": [f"{SIX}/24"], "mtu": 1400}]}],
        "routes": [{"prefix": "10.9.0.0/16", "gateway": SIX_KERNEL}],
        "tcp": harness.PATIENT,
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trunk = Trunk([5, 6])
        cls.addClassCleanup(cls.trunk.close)
        command("ip", "address", "add", f"{FIVE_KERNEL}/24", "dev", "vlan5")
        command("ip", "address", "add", f"{SIX_KERNEL}/24", "dev", "vlan6")
        command("ip", "link", "set", "vlan6", "mtu", 1400)
        command("ip", "address", "replace", f"{BEHIND}/32", "dev", "lo")
        configure_kernel("vlan5", FIVE6_KERNEL)
        wait_for_stack(FIVE6)

    def no_drops(self):
        counters = self.server.counters()
        return {name: counters.since(self.before, name) for name in ("eth_vlan_unknown", "eth_qinq", "arp_bad_sender")
                if counters.since(self.before, name)}

    def test_ping_on_every_vlan_and_untagged(self):
        for address in (STACK, FIVE, SIX):
            for size in (0, 56, 1372, 1472, 4000):  # the last in fragments, and on VLAN 6 the one before too
                with self.subTest(address=address, size=size):
                    out = command("ping", "-n", "-c", 1, "-W", 5, "-s", size, address, check=False).stdout
                    self.assertIn("1 received, 0% packet loss", out)
        for size in (56, 1452, 4000):
            self.assertIn("1 received", ping6(FIVE6, "-c", 1, "-W", 5, "-s", size, check=False))
        self.assertEqual(self.no_drops(), {})

    def test_tcp_on_all_at_once(self):
        outcomes = {}

        def talk(address):
            with traffic.tcp(address, 7) as s:
                outcomes[address] = traffic.one_flow(s, 1 << 20)
        threads = [threading.Thread(target=talk, args=(a,)) for a in (STACK, FIVE, FIVE6, SIX)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for address in (STACK, FIVE, FIVE6, SIX):
            self.assertEqual((outcomes[address].received, outcomes[address].differences), (1 << 20, []), address)

    def test_the_vlans_mtu_bounds_its_segments(self):
        for address, most in ((FIVE, 1460), (SIX, 1360)):
            with traffic.tcp(address, 7) as s:
                self.assertEqual(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), most - 12, "timestamps take 12")

    def test_udp_of_many_sizes(self):
        for address in (FIVE, SIX):
            outcome = traffic.datagram_sizes(address, 7, (1, 17, 512, 1372, 1373, 1472, 1473, 9000))
            self.assertEqual(outcome.differences, [], address)

    def test_a_route_through_a_vlan(self):
        with socket.socket() as s:
            s.settimeout(10)
            s.bind((BEHIND, 0))
            s.connect((SIX, 7))
            outcome = traffic.one_flow(s, 100_000)
        self.assertEqual((outcome.received, outcome.differences), (100_000, []))

    def test_other_tags_are_counted_by_their_reason(self):
        with frames.Wire() as wire:
            inner = struct.pack("!H", 0x800) + ip4(icmp(8))
            for tag, kind, counter in ((7, 0x8100, "eth_vlan_unknown"), (4095, 0x8100, "eth_vlan_unknown"),
                                       (5, 0x88a8, "eth_qinq")):
                before = self.server.counters()
                wire.send(wire.ethernet(struct.pack("!H", tag) + inner, kind=kind))
                harness.wait_until(lambda: self.server.counters().since(before, counter) == 1, 3, f"{counter} grown")

    def test_a_priority_tag_counts_as_none(self):
        with frames.Wire() as wire:
            wire.send(wire.ethernet(struct.pack("!HH", 0xe000, 0x800) + ip4(icmp(8), protocol=1), kind=0x8100))
            self.assertIsNotNone(wire.receive(lambda f: f[12:14] == b"\x08\0" and f[23] == 1 and f[34] == 0))


class VlansOfTwoCores(Vlans):
    """ARP and neighbour discovery reach both cores, and reassembled datagrams their owner, with their tags."""
    sections = {**Vlans.sections, "cores": [0, 0], "share_cpus": True}
