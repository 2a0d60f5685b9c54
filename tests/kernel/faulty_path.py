"""Bulk transfers over fault_wire: Pollux and the kernel, or two kernels in namespaces of their own, on the same path."""
import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from harness import command, wait_until

CLONE_NEWNET = 0x40000000
NEAR, FAR = "192.0.2.1", "192.0.2.2"  # the kernel that is always there, and the other: Pollux or a kernel
DISCARD, CHARGEN = 9, 19
BYTES_ACKED_AT = 120  # in struct tcp_info
FRAME_ON_WIRE = 1538
ZEROS = bytes(1 << 16)


@dataclasses.dataclass(frozen=True)
class Path:
    """What lies between the two. Loss, reordering and the rate are those of the data's direction."""
    rtt_ms: float = 20
    loss: float = 0
    reorder: float = 0
    reorder_ms: float = 0
    loss_back: float = 0
    rate_mbit: float = 10

    def arguments(self, seed):
        queue = max(20, int(self.rate_mbit * 1e3 / 8 * self.rtt_ms / FRAME_ON_WIRE))  # a bandwidth-delay product
        return ["--rate", self.rate_mbit, "--queue", queue, "--delay", self.rtt_ms / 2, "--loss", self.loss, "--loss-back",
                self.loss_back, "--reorder", self.reorder, "--reorder-delay", self.reorder_ms, "--seed", seed]


class Namespace:
    """A network namespace that ends with its holder."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "3600"], stdin=subprocess.DEVNULL)
        path = f"/proc/{self.holder.pid}/ns/net"
        wait_until(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"), 60, "a namespace of its own")
        self.file = os.open(path, os.O_RDONLY)
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-n"]
        for scope in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)

    def sysctl(self, name, value):
        command(*self.enter, "sh", "-c", f"[ ! -e /proc/sys/{name} ] || echo {value} >/proc/sys/{name}")

    def configure(self, device, address):
        """A kernel that starts from nothing with every connection."""
        command(*self.enter, "ip", "address", "add", f"{address}/24", "dev", device)
        command(*self.enter, "ip", "link", "set", device, "txqueuelen", 10000, "up")
        self.sysctl("net/ipv4/tcp_no_metrics_save", 1)

    def run(self, action):
        """action()'s value, called in a thread that lives there; the sockets it makes stay there."""
        outcome = []

        def inside():
            if ctypes.CDLL(None, use_errno=True).setns(self.file, CLONE_NEWNET) != 0:
                outcome.append(OSError(ctypes.get_errno(), "setns"))
                return
            try:
                outcome.append(action())
            except OSError as error:
                outcome.append(error)
        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if isinstance(outcome[0], OSError):
            raise outcome[0]
        return outcome[0]

    def close(self):
        os.close(self.file)
        self.holder.kill()
        self.holder.wait()


class Program:
    """A process in a namespace, with what it printed."""

    def __init__(self, namespace, words, ready):
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([*namespace.enter, *map(str, words)], stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: self.has_printed(ready), 60, lambda: f"'{ready}' of {words[0]}; it printed:\n{self.text()}")
        except BaseException:
            self.close(signal.SIGKILL)
            raise

    def text(self):
        return os.pread(self.output.fileno(), 1 << 16, 0).decode(errors="replace")

    def has_printed(self, words):
        if self.process.poll() is not None:
            raise AssertionError(f"ended with status {self.process.returncode}:\n{self.text()}")
        return words in self.text()

    def close(self, number=signal.SIGTERM):
        """Ends it; returns what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)
        text = self.text()
        self.output.close()
        return text


class FaultyPath:
    """The near kernel, the wire and the far end: l4echo of `build` with `sections`, or a kernel where build is None.

    `data_from_far`: which direction the faults are on."""

    def __init__(self, wire, path, data_from_far, seed, build=None, congestion="cubic", sections=None):
        self.closing = []
        try:
            self.near, self.far = self.add(Namespace()), self.add(Namespace())
            far_end = "tap:far0"
            if build is not None:
                self.folder = tempfile.TemporaryDirectory(prefix="pollux-goodput-")
                self.closing.append(self.folder.cleanup)
                self.echo = self.add(Program(self.far, self.echo_words(build, congestion, sections or {}), "l4echo: serving"))
                command(*self.far.enter, "ip", "link", "set", "px0", "txqueuelen", 10000, "up")
                far_end = "packet:px0"
            ends = [far_end, "tap:near0"] if data_from_far else ["tap:near0", far_end]
            self.wire = self.add(Program(self.far, [wire, *ends, *path.arguments(seed)], "fault_wire: ready"))
            command(*self.far.enter, "ip", "link", "set", "near0", "netns", self.near.holder.pid)
            self.near.configure("near0", NEAR)
            if build is None:
                self.far.configure("far0", FAR)
        except BaseException:
            self.close()
            raise

    def add(self, part):
        self.closing.append(part.close)
        return part

    def echo_words(self, build, congestion, sections):
        config = {"ports": [{"device": "net_tap0,iface=px0", "addresses": [f"{FAR}/24"]}],
                  "eal": {"huge_pages": "off", "file_prefix": pathlib.Path(self.folder.name).name},
                  "pool": {"packets": 16383, "clones": 16383}, "drain_timeout": "0s", **sections}
        config["tcp"] = {"congestion": congestion, **sections.get("tcp", {})}
        file = pathlib.Path(self.folder.name, "l4echo.yaml")
        file.write_text(json.dumps(config))
        return [pathlib.Path(build, "apps/l4echo"), "--config", file]

    def close(self):
        while self.closing:
            self.closing.pop()()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def connected(port, congestion, timeout=10):
    """A kernel's connection to the far end. The kernel lets root choose CUBIC so even where its default is another."""
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, {"newreno": "reno"}.get(congestion, congestion).encode())
    s.settimeout(timeout)
    s.connect((FAR, port))
    return s


def bytes_acked(s):
    return struct.unpack_from("=Q", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), BYTES_ACKED_AT)[0]


class Pump(threading.Thread):
    """Reads (or writes) a socket without end; `octets` so far."""

    def __init__(self, s, send):
        super().__init__(daemon=True)
        self.socket, self.send, self.octets = s, send, 0
        s.settimeout(None)
        self.start()

    def run(self):
        try:
            while n := self.socket.send(ZEROS) if self.send else len(self.socket.recv(1 << 16)):
                self.octets += n
        except OSError:
            pass

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self.socket.close()


def measured(count, seconds):
    """Mbit/s of what count() grows by, without the first fifth of the time from the first octet on.

    That comes late where the handshake's last ACK is lost: only a passive opener would pay for it."""
    wait_until(lambda: count() > 0, 20, "the first octet")
    time.sleep(seconds / 5)
    began, octets = time.monotonic(), count()
    time.sleep(seconds * 4 / 5)
    return (count() - octets) * 8e-6 / (time.monotonic() - began)


def pollux_sends(wire, build, path, seconds, seed=1, congestion="cubic"):
    """Goodput from l4echo's chargen to the kernel."""
    with FaultyPath(wire, path, True, seed, build, congestion) as faulty:
        pump = Pump(faulty.near.run(lambda: connected(CHARGEN, congestion)), send=False)
        try:
            return measured(lambda: pump.octets, seconds)
        finally:
            pump.stop()


def pollux_receives(wire, build, path, seconds, seed=1, congestion="cubic"):
    """Goodput from the kernel to l4echo's discard service."""
    with FaultyPath(wire, path, False, seed, build, congestion) as faulty:
        s = faulty.near.run(lambda: connected(DISCARD, congestion))
        pump = Pump(s, send=True)
        try:
            return measured(lambda: bytes_acked(s), seconds)
        finally:
            pump.stop()


def linux_to_linux(wire, path, seconds, seed=1, congestion="cubic"):
    """Goodput between two kernels."""
    with FaultyPath(wire, path, False, seed) as faulty:
        listener = faulty.far.run(lambda: socket.create_server((FAR, DISCARD)))
        sender = faulty.near.run(lambda: connected(DISCARD, congestion))
        receiver, _ = listener.accept()
        listener.close()
        pumps = [Pump(sender, send=True), Pump(receiver, send=False)]
        try:
            return measured(lambda: pumps[1].octets, seconds)
        finally:
            for pump in pumps:
                pump.stop()
