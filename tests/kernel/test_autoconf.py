"""A port without an IPv6 address of its own hears router advertisements (made by scapy) and serves the kernel over what
it learnt."""
import logging
import socket
import time

import frames
import harness
import traffic
from harness import DEVICE, STACK, command, wait_until
from test_ipv6 import KERNEL6, configure_kernel, ping6

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.layers.inet6 import (ICMPv6ND_RA, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo, ICMPv6NDOptRDNSS,  # noqa: E402
                                ICMPv6NDOptSrcLLAddr, IPv6)

PREFIX, FAR = "fd00:77::", "fd00:79::1"  # the kernel's FAR is on no link of the stack's


def formed(mac, prefix=PREFIX):
    octets = bytearray(frames.mac_octets(mac))
    octets[0] ^= 2
    interface = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, prefix)[:8] + interface)


class Autoconf(harness.ServerTest):
    sections = {"ports": [{"device": f"net_tap0,iface={DEVICE}", "addresses": [f"{STACK}/24"],
                           "router_advertisements": True}],
                "ip": {"arp_retry": "100ms"}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        harness.sysctl("net/ipv6/conf/lo/disable_ipv6", 0)
        command("ip", "address", "replace", f"{FAR}/128", "dev", "lo")
        cls.addClassCleanup(command, "ip", "address", "del", f"{FAR}/128", "dev", "lo")
        entry = command("ip", "neigh", "show", STACK, "dev", DEVICE).stdout
        cls.stack_mac = entry.split("lladdr ")[1].split()[0]

    def setUp(self):
        super().setUp()
        self.wire = frames.Wire()
        self.addCleanup(self.wire.__exit__)
        self.mac = ":".join(f"{octet:02x}" for octet in self.wire.ours)
        self.address = formed(self.stack_mac)

    def advertise(self, *options, lifetime=1800, prefix=PREFIX, valid=86400, preferred=86400, hop_limit=255):
        packet = IPv6(src=formed(self.mac, "fe80::"), dst="ff02::1", hlim=hop_limit) / ICMPv6ND_RA(routerlifetime=lifetime)
        packet /= ICMPv6NDOptSrcLLAddr(lladdr=self.mac)
        packet /= ICMPv6NDOptPrefixInfo(prefix=prefix, prefixlen=64, validlifetime=valid, preferredlifetime=preferred)
        packet /= ICMPv6NDOptRDNSS(dns=[KERNEL6])
        for option in options:
            packet /= option
        self.wire.send(self.wire.ethernet(bytes(packet), kind=0x86dd, dst=bytes.fromhex("333300000001")))

    def answers(self, address, *words):
        return ", 1 received" in ping6(address, "-c", 1, "-W", 1, *words, check=False)

    def test_1_it_has_asked_for_routers(self):
        wait_until(lambda: self.server.counters()["Icmp6OutRouterSolicits"] >= 1, 5, "a router solicitation")
        self.assertFalse(self.answers(self.address))

    def test_2_an_address_and_a_default_route_are_learnt_and_used(self):
        self.advertise()
        wait_until(lambda: self.answers(self.address), 5, "ping6 of the formed address")
        self.assertEqual(self.grown("Icmp6InRouterAdvertisements"), 1)
        with traffic.tcp(self.address, 7) as s:
            self.assertEqual(traffic.one_flow(s, 1 << 20).differences, [])
        self.assertTrue(self.answers(self.address, "-I", FAR), "through the default router")
        self.advertise(lifetime=0)
        wait_until(lambda: not self.answers(self.address, "-I", FAR), 5, "the default route gone")
        self.assertTrue(self.answers(self.address), "the address stays")

    def test_3_the_links_mtu_bounds_what_is_offered_and_sent(self):
        self.advertise(ICMPv6NDOptMTU(mtu=1280))
        wait_until(lambda: self.answers(self.address), 5, "ping6 of the formed address")
        with traffic.tcp(self.address, 7) as s:
            self.assertEqual(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), 1280 - 60 - 12)
            self.assertEqual(traffic.one_flow(s, 100_000).differences, [])
        self.assertIn(", 1 received", ping6(self.address, "-c", 1, "-W", 2, "-s", 1400))
        self.assertGreaterEqual(self.grown("Ip6FragOKs"), 1, "an answer beyond that MTU leaves in fragments")
        self.advertise(ICMPv6NDOptMTU(mtu=1500))

    def test_4_an_address_ends_with_its_prefix(self):
        other = formed(self.stack_mac, "fd00:78::")
        command("ip", "address", "replace", "fd00:78::1/64", "dev", DEVICE, "nodad")
        self.advertise(prefix="fd00:78::", valid=4, preferred=3)
        wait_until(lambda: self.answers(other), 3, "the short-lived address")
        time.sleep(4)
        self.assertFalse(self.answers(other))
        command("ip", "address", "del", "fd00:78::1/64", "dev", DEVICE)

    def test_5_what_no_router_on_the_link_can_have_sent_is_dropped(self):
        self.advertise(hop_limit=64, prefix="fd00:7a::")
        wait_until(lambda: self.grown("nd_hop_limit") == 1, 5, "the advertisement dropped")
        self.assertEqual(self.grown("Icmp6InRouterAdvertisements"), 0)
