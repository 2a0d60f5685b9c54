"""A router with a smaller MTU behind it: the stack - TAP - this namespace, which forwards - veth - another namespace."""
import ctypes
import os
import random
import socket
import subprocess
import threading

import harness
import traffic
from harness import KERNEL, STACK, command, sysctl, wait_until
from test_ipv6 import KERNEL6, STACK6, configure_kernel, ports, wait_for_stack

FAR, ROUTER = "203.0.113.2", "203.0.113.1"
FAR6, ROUTER6 = "fd00:79::2", "fd00:79::1"
CLONE_NEWNET = 0x40000000
NOISE = random.Random(5).randbytes(20000)


class FarNamespace:
    """A network namespace behind this one; what runs in it ends with it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "600"], stdin=subprocess.DEVNULL)
        path = f"/proc/{self.holder.pid}/ns/net"
        wait_until(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"), 5, "a namespace of its own")
        self.file = os.open(path, os.O_RDONLY)
        command("ip", "link", "add", "far0", "type", "veth", "peer", "name", "far1", "netns", self.holder.pid)
        command("ip", "address", "add", f"{ROUTER}/24", "dev", "far0")
        configure_kernel("far0", ROUTER6)
        command("ip", "link", "set", "far0", "up")
        self.command("ip", "address", "add", f"{FAR}/24", "dev", "far1")
        self.command("ip", "address", "add", f"{FAR6}/64", "dev", "far1", "nodad")
        self.command("ip", "link", "set", "far1", "up")
        self.command("ip", "route", "add", "default", "via", ROUTER)
        self.command("ip", "-6", "route", "add", "default", "via", ROUTER6)
        sysctl("net/ipv4/ip_forward", 1)
        sysctl("net/ipv6/conf/all/forwarding", 1)
        self.set_mtu(1500)

    def command(self, *words):
        return command("nsenter", "-t", self.holder.pid, "-n", *words)

    def set_mtu(self, mtu):
        """Of both ends: what the stack sends beyond it is told to the stack by the router."""
        self.command("ip", "link", "set", "far1", "mtu", mtu)
        # Also from a thread that lives in the far namespace.
        command("nsenter", "-t", os.getpid(), "-n", "ip", "link", "set", "far0", "mtu", mtu)

    def run(self, action):
        """Runs action() in a thread that lives there; returns what it returned. Sockets stay where they were made."""
        outcome = []

        def inside():
            if ctypes.CDLL(None, use_errno=True).setns(self.file, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            outcome.append(action())
        thread = threading.Thread(target=inside, daemon=True)
        thread.start()
        thread.join(50)
        if not outcome:
            raise AssertionError("what ran in the far namespace did not end well")
        return outcome[0]

    def close(self):
        os.close(self.file)
        self.holder.kill()
        self.holder.wait()
        command("ip", "link", "delete", "far0", check=False)


class RouterTest(harness.ServerTest):
    """What has a far namespace behind a router of its own, for each test anew."""
    sections = {**ports(), "routes": [{"prefix": "0.0.0.0/0", "gateway": KERNEL}, {"prefix": "::/0", "gateway": KERNEL6}]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()

    def setUp(self):
        self.far = FarNamespace()
        self.addCleanup(self.far.close)
        super().setUp()


class SmallerMtuBehindARouter(RouterTest):
    def transfer(self, address):
        """Full segments of the stack have come through when the path shrinks, and more are on their way."""
        size = (2 if harness.quick else 8) << 20

        def talk():
            with traffic.tcp(address, 7) as s:
                # What has left the stack is never far ahead of what was read here.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
                outcome = traffic.one_flow(s, size, when_received=(size // 4, lambda: self.far.set_mtu(1280)))
            return outcome.received, outcome.differences
        self.assertEqual(self.far.run(talk), (size, []))
        self.assertGreaterEqual(self.grown("PxTcpMtuLowered"), 1)
        self.assertEqual(self.grown("icmp_implausible_mtu"), 0)

    def test_an_ipv4_transfer_goes_on_when_its_path_shrinks(self):
        self.transfer(STACK)
        self.assertGreaterEqual(self.grown("IcmpInDestUnreachs"), 1)

    def test_an_ipv6_transfer_goes_on_when_its_path_shrinks(self):
        self.transfer(STACK6)
        self.assertGreaterEqual(self.grown("Icmp6InPktTooBigs"), 1)

    def datagrams(self, family, address):
        """One datagram is lost where the path has shrunk; what follows comes in pieces that fit."""
        def talk():
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.settimeout(2)
                s.connect((address, 7))
                for size in (1400, 100):
                    s.send(NOISE[:size])
                    self.assertEqual(s.recv(2048), NOISE[:size])
                self.far.set_mtu(1280)
                for _ in range(5):  # the first is what the router tells the stack about
                    s.send(NOISE[:1400])
                    try:
                        if s.recv(2048) == NOISE[:1400]:
                            break
                    except TimeoutError:
                        pass
                else:
                    return "no datagram of 1,400 octets came through"
                for size in (1400, 3000, 20000, 100):
                    s.send(NOISE[:size])
                    self.assertEqual(s.recv(1 << 16), NOISE[:size], f"size {size}")
            return "well"
        self.assertEqual(self.far.run(talk), "well")
        self.assertGreaterEqual(self.grown("PxPathMtuLowered"), 1)
        self.assertEqual(self.grown("icmp_implausible_mtu"), 0)

    def test_ipv4_datagrams_are_cut_to_a_path_that_shrinks(self):
        self.datagrams(socket.AF_INET, STACK)
        self.assertGreaterEqual(self.grown("IpFragOKs"), 1)

    def test_ipv6_datagrams_are_cut_to_a_path_that_shrinks(self):
        self.datagrams(socket.AF_INET6, STACK6)
        self.assertGreaterEqual(self.grown("Ip6FragOKs"), 1)


class BlackHoleBehindARouter(RouterTest):
    """The router hands packets on; the far end's link takes smaller ones only, and says nothing."""
    sections = {**RouterTest.sections, "tcp": {"black_hole_detection": True}}

    def test_a_transfer_finds_what_passes(self):
        size, mtu = 4 << 20, 1380

        def talk():
            with traffic.tcp(STACK, 7) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
                outcome = traffic.one_flow(
                    s, size, when_received=(size // 4, lambda: self.far.command("ip", "link", "set", "far1", "mtu", mtu)))
            return outcome.received, outcome.differences
        self.assertEqual(self.far.run(talk), (size, []))
        self.assertEqual(self.grown("PxTcpMtuLowered"), 1)
        self.assertEqual(self.grown("IcmpInDestUnreachs"), 0)
        self.assertGreaterEqual(self.grown("TcpExtTCPMTUPFail"), 1, "the full size does not pass")
        self.assertGreaterEqual(self.grown("TcpExtTCPMTUPSuccess"), 1, "something between 1,200 and 1,380 does")
