"""An exception port: the host's kernel lives behind the stack's MAC and IP address. The host is a namespace of its own, which
has the kernel's end of the exception port; the peer is this namespace, as everywhere else."""
import ctypes
import os
import socket
import subprocess
import threading

import harness
import traffic
from harness import DEVICE, KERNEL, STACK, command, wait_until
from test_ipv6 import KERNEL6, STACK6, configure_kernel, wait_for_stack

HOST_DEVICE = "host0"
HOST_TCP, HOST_UDP, NOBODYS = 2222, 2223, 2225
CLONE_NEWNET = 0x40000000


class Host:
    """The namespace of the host; what runs in it ends with it."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "600"], stdin=subprocess.DEVNULL)
        path = f"/proc/{self.holder.pid}/ns/net"
        wait_until(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"), 5, "a namespace of its own")
        self.file = os.open(path, os.O_RDONLY)
        command("ip", "link", "set", HOST_DEVICE, "netns", self.holder.pid)
        self.command("ip", "link", "set", "lo", "up")
        self.command("sysctl", "-qw", f"net.ipv6.conf.{HOST_DEVICE}.disable_ipv6=0", f"net.ipv6.conf.{HOST_DEVICE}.accept_dad=0")
        self.command("ip", "link", "set", HOST_DEVICE, "txqueuelen", 65536, "up")
        self.command("ip", "address", "add", f"{STACK}/24", "dev", HOST_DEVICE)
        self.command("ip", "address", "add", f"{STACK6}/64", "dev", HOST_DEVICE, "nodad")
        self.command("ip", "route", "replace", "192.0.2.0/24", "dev", HOST_DEVICE, "src", STACK, "rto_min", "1s")

    def command(self, *words, check=True):
        return command("nsenter", "-t", self.holder.pid, "-n", *words, check=check).stdout

    def start(self, action):
        """Runs action() in a thread that lives there; returns the thread, whose `value` is what it returned."""
        def inside():
            if ctypes.CDLL(None, use_errno=True).setns(self.file, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            thread.value = action()
        thread = threading.Thread(target=inside, daemon=True)
        thread.value = None
        thread.start()
        return thread

    def run(self, action):
        thread = self.start(action)
        thread.join(40)
        return thread.value

    def close(self):
        os.close(self.file)
        self.holder.kill()
        self.holder.wait()


def echo_server(listener):
    """Echoes connections, one after another, until the listener is closed."""
    while True:
        try:
            s, _ = listener.accept()
        except OSError:
            return
        with s:
            while data := s.recv(1 << 16):
                s.sendall(data)


class BesideTheKernel(harness.ServerTest):
    sections = {"ports": [{"device": f"net_tap0,iface={DEVICE}", "addresses": [f"{STACK}/24", f"{STACK6}/64"],
                           "exception": f"net_tap1,iface={HOST_DEVICE}"}],
                "tcp": harness.PATIENT}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        configure_kernel()
        wait_for_stack()
        harness.make_kernel_patient(DEVICE, KERNEL)
        cls.host = Host()
        cls.addClassCleanup(cls.host.close)
        cls.listeners = cls.host.run(lambda: [socket.create_server(("", HOST_TCP)),
                                              socket.create_server(("::", HOST_TCP), family=socket.AF_INET6)])
        for listener in cls.listeners:
            cls.addClassCleanup(listener.close)
            cls.host.start(lambda listener=listener: echo_server(listener))

    def test_the_hosts_end_has_the_ports_mac(self):
        ours = command("ip", "neigh", "show", STACK, "dev", DEVICE).stdout.split("lladdr ")[1].split()[0]
        self.assertIn(ours, self.host.command("ip", "link", "show", HOST_DEVICE))

    def test_both_serve_tcp_on_one_address(self):
        for address in (STACK, STACK6):
            for port in (7, HOST_TCP, 7):
                with self.subTest(address=address, port=port):
                    with traffic.tcp(address, port) as s:
                        outcome = traffic.one_flow(s, 1 << 20)
                    self.assertEqual((outcome.received, outcome.differences), (1 << 20, []))
        self.assertGreater(self.grown("PxExceptionToKernel"), 100)
        self.assertGreater(self.grown("PxExceptionFromKernel"), 100)
        self.assertEqual(self.grown("TcpOutRsts"), 0)

    def test_udp_of_the_host_whole_and_in_fragments(self):
        def server():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("", HOST_UDP))
            return s
        with self.host.run(server) as s:
            def echo():
                for _ in range(3):
                    data, address = s.recvfrom(65536)
                    s.sendto(data, address)
            self.host.start(echo)
            outcome = traffic.datagram_sizes(STACK, HOST_UDP, (1, 1472, 5000))
        self.assertEqual(outcome.differences, [])
        self.assertEqual(traffic.datagram_sizes(STACK, 7, (1, 1472, 5000)).differences, [], "the stack's own")

    def test_the_host_calls_out(self):
        """Its ARP requests leave, and the answers reach it."""
        self.host.command("ip", "neigh", "flush", "dev", HOST_DEVICE)
        with socket.create_server(("", 0)) as listener:
            port = listener.getsockname()[1]
            threading.Thread(target=echo_server, args=(listener,), daemon=True).start()

            def talk():
                with traffic.tcp(KERNEL, port) as s:
                    outcome = traffic.one_flow(s, 300_000)
                return outcome.received, outcome.differences
            self.assertEqual(self.host.run(talk), (300_000, []))
        for address in (KERNEL, KERNEL6):
            self.assertIn("1 received", self.host.command("ping", "-n", "-c", 1, "-W", 5, address, check=False))

    def test_pings_are_answered_once_and_by_the_stack(self):
        out = command("ping", "-n", "-c", 1, "-W", 5, STACK).stdout
        self.assertIn("1 received", out)
        self.assertNotIn("DUP", out)
        self.assertEqual(self.grown("IcmpOutEchoReps"), 1)

    def test_the_kernel_refuses_what_nobody_has(self):
        with self.assertRaises(ConnectionRefusedError):
            traffic.tcp(STACK, NOBODYS)
        self.assertEqual(self.grown("TcpOutRsts"), 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect((STACK, NOBODYS))
            s.send(b"anybody?")
            with self.assertRaises(ConnectionRefusedError):
                s.recv(99)
        self.assertEqual(self.grown("IcmpOutDestUnreachs"), 0)

    def test_an_address_of_the_hosts_alone(self):
        """ARP requests for it are the host's to answer."""
        other = "192.0.2.99"
        self.host.command("ip", "address", "add", f"{other}/24", "dev", HOST_DEVICE)
        with traffic.tcp(other, HOST_TCP) as s:
            outcome = traffic.one_flow(s, 100_000)
        self.assertEqual((outcome.received, outcome.differences), (100_000, []))


class BesideTheKernelOnTwoCores(BesideTheKernel):
    sections = {**BesideTheKernel.sections, "cores": [0, 0], "share_cpus": True}
