"""Ten restarts of l4echo on net_af_packet ports behind one bridge: a second process with the same configuration takes new connections
over while the first drains, and no client sees an error."""
import array
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import command, wait_until
from trunk import Trunk

BRIDGE = "pxbr"
KERNEL = "198.18.0.1"
STACK = "198.18.0.2"
KERNEL6 = "fd00:18::1"
STACK6 = "fd00:18::2"
KERNEL7 = "198.19.0.1"  # on VLAN 7
STACK7 = "198.19.0.2"


def device(number):
    """Two ports, used in turn: the predecessor's is in use."""
    return f"net_af_packet{number % 2},iface=pxo{number % 2}"


def without_checksum_offload(interface):
    """What the kernel sends through `interface` has its checksums: nothing behind it makes them (ethtool -K tx off)."""
    SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP", interface.encode(), value.buffer_info()[0]))


class Echo:
    """One l4echo behind the bridge, `predecessor` named if it is to take over."""

    def __init__(self, folder, number, predecessor=None):
        self.prefix = f"pollux-over-{os.getpid()}-{time.monotonic_ns()}"
        self.log = folder / f"l4echo-{number}.log"
        keys = [f"ports[0].device='{device(number)}'", f"eal.file_prefix={self.prefix}"]
        if predecessor is not None:
            keys.append(f"take_over={predecessor.prefix}")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([harness.build / "apps/l4echo", "--config", folder / "l4echo.yaml",
                                             *(word for key in keys for word in ("--set", key))],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self.is_serving, 20, self.text)

    def is_serving(self):
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.text()}")
        return "serving" in self.text()

    def text(self):
        return self.log.read_text(errors="replace")


class Client(threading.Thread):
    """Connects, exchanges for a while and closes, over and over; what went wrong is in `errors`."""

    def __init__(self, address, exchanges, pause):
        super().__init__()
        self.address, self.exchanges, self.pause = address, exchanges, pause
        self.done, self.errors, self.stop = 0, [], False

    def run(self):
        while not self.stop:
            try:
                with socket.create_connection((self.address, 7), 10) as s:
                    s.settimeout(10)
                    for i in range(self.exchanges):
                        text = b"%d of %d" % (i, self.done)
                        s.sendall(text)
                        if harness.read_exactly(s, len(text)) != text:
                            raise OSError("another answer, or an end")
                        time.sleep(self.pause)
                    s.shutdown(socket.SHUT_WR)
                    if s.recv(1) != b"":
                        raise OSError("no end")
                self.done += 1
            except OSError as error:
                self.errors.append(f"{time.monotonic():.3f} {self.address}, after {self.done}: {error!r}")


class HandOver(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pollux-hand-over-"))
        self.addCleanup(shutil.rmtree, self.folder)
        config = json.loads(harness.config_text("net_af_packet0", "pxo0", STACK, {"drain_timeout": "20s"}))
        config["ports"][0]["addresses"].append(f"{STACK6}/64")
        config["ports"][0]["vlans"] = [{"id": 7, "addresses": [f"{STACK7}/24"]}]
        (self.folder / "l4echo.yaml").write_text(json.dumps(config))
        command("ip", "link", "add", BRIDGE, "type", "bridge")
        self.addCleanup(command, "ip", "link", "del", BRIDGE)
        command("ip", "address", "add", f"{KERNEL}/24", "dev", BRIDGE)
        harness.sysctl(f"net/ipv6/conf/{BRIDGE}/disable_ipv6", 0)
        command("ip", "address", "add", f"{KERNEL6}/64", "dev", BRIDGE, "nodad")
        command("ip", "link", "set", BRIDGE, "up")
        for i in range(3):  # pxo0 and pxo1 are the programs', pxo2 the VLAN's; pxb0 to pxb2 the bridge's
            command("ip", "link", "add", f"pxo{i}", "type", "veth", "peer", "name", f"pxb{i}")
            self.addCleanup(command, "ip", "link", "del", f"pxo{i}")
            without_checksum_offload(f"pxb{i}")
            command("ip", "link", "set", f"pxb{i}", "master", BRIDGE, "up")
            command("ip", "link", "set", f"pxo{i}", "up")
        trunk = Trunk([7], wire="pxo2")
        self.addCleanup(trunk.close)
        command("ip", "address", "add", f"{KERNEL7}/24", "dev", "vlan7")
        self.running = []
        self.addCleanup(self.end_all)

    def end_all(self):
        for echo in self.running:
            if echo.process.poll() is None:
                echo.process.kill()
                echo.process.wait()

    def start(self, number, predecessor=None):
        self.running.append(Echo(self.folder, number, predecessor))
        return self.running[-1]

    def wait_for_stack(self, address):
        wait_until(lambda: command("ping", "-c", 1, "-W", 1, address, check=False).returncode == 0, 20, "ping")

    def test_no_client_sees_an_error_in_ten_restarts(self):
        restarts = 3 if harness.quick else 10
        present = self.start(0)
        self.wait_for_stack(STACK)
        self.wait_for_stack(STACK6)
        self.wait_for_stack(STACK7)
        clients = [Client(STACK, 1, 0.01), Client(STACK, 2, 0.01), Client(STACK, 20, 0.02), Client(STACK, 150, 0.01),
                   Client(STACK6, 1, 0.01), Client(STACK6, 50, 0.02), Client(STACK7, 1, 0.01), Client(STACK7, 20, 0.02)]
        for client in clients:
            client.start()
        relayed = 0
        try:
            for number in range(1, restarts + 1):
                time.sleep(0.3)
                before = present
                present = self.start(number, before)
                wait_until(lambda: "taking over from" in present.text(), 30, present.text)
                self.assertEqual(before.process.wait(40), 0, before.text()[-3000:])
                wait_until(lambda: "all connections are ours" in present.text(), 20, present.text)
                relayed += sum(int(n) for n in re.findall(r"PxHandOverRelayed +(\d+)", before.text()))
        finally:
            for client in clients:
                client.stop = True
            for client in clients:
                client.join(30)
        errors = [error for client in clients for error in client.errors]
        self.assertEqual(errors[:10], [], f"{len(errors)} in all")
        for client in clients:
            self.assertGreater(client.done, restarts / 2)
        self.assertGreater(relayed, 0, "segments that reached the old process and were the new one's")
        present.process.send_signal(signal.SIGTERM)
        self.assertEqual(present.process.wait(30), 0, present.text()[-3000:])

    test_no_client_sees_an_error_in_ten_restarts.seconds_max = 240

    def test_a_successor_without_a_predecessor_says_so(self):
        present = self.start(0)
        with open(self.folder / "log", "w") as log:
            done = subprocess.run([harness.build / "apps/l4echo", "--config", self.folder / "l4echo.yaml", "--set",
                                   f"ports[0].device='{device(1)}'", "--set", "take_over=pollux-nobody"],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("take_over: no program answers at", (self.folder / "log").read_text())
        self.assertIsNone(present.process.poll())
