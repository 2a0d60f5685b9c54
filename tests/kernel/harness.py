"""The namespace's two ends: l4echo or l4bench on a TAP device, and the kernel's side of it."""
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

STACK = "192.0.2.2"    # l4echo
KERNEL = "192.0.2.1"   # the kernel on l4echo's wire
CLIENT_STACK = "198.51.100.2"   # l4bench over Pollux
CLIENT_KERNEL = "198.51.100.1"  # the kernel on l4bench's wire
DEVICE = "px0"
CLIENT_DEVICE = "px1"

build = None
quick = False


def setup(build_folder, is_quick):
    global build, quick
    build, quick = build_folder, is_quick
    command("ip", "link", "set", "lo", "up")
    for scope in ("all", "default"):  # no router solicitations between the packets that tests count
        if pathlib.Path(f"/proc/sys/net/ipv6/conf/{scope}").exists():
            sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)


def command(*words, timeout=30, check=True, **options):
    """Runs a command; returns its CompletedProcess with text output. Fails with what it printed."""
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done


def sysctl(name, value):
    pathlib.Path("/proc/sys", name).write_text(str(value))


def wait_until(condition, seconds, what):
    """Polls until condition() is true; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s still not: {what() if callable(what) else what}")
        time.sleep(0.02)


def config_text(device, interface, address, sections=None):
    """A YAML file (JSON is YAML) for one TAP port; `sections` are merged in."""
    config = {
        "ports": [{"device": f"{device},iface={interface}", "addresses": [f"{address}/24"]}],
        "eal": {"huge_pages": "off"},
        "pool": {"packets": 16383, "clones": 16383},
    }
    for name, values in (sections or {}).items():
        config[name] = {**config[name], **values} if isinstance(values, dict) and name in config else values
    return json.dumps(config, indent=1) + "\n"


def make_kernel_patient(device, address):
    """No retransmission within a second and no tail probes: on a busy machine an answer may be late without being lost.
    What is lost is still repaired, and counted."""
    sysctl("net/ipv4/tcp_early_retrans", 0)
    network = address.rsplit(".", 1)[0] + ".0/24"
    command("ip", "route", "replace", network, "dev", device, "proto", "kernel", "scope", "link", "src", address,
            "rto_min", "1s")


PATIENT = {"rto_min": "1s", "rto_initial": "1s"}  # the same for the stack


class Server:
    """An l4echo (or `example`) process on TAP device px0 with the kernel's end configured."""

    def __init__(self, sections=None, wrapper=(), example=None, words=()):
        self.example = example
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pollux-kernel-"))
        self.log = self.folder / "l4echo.log"
        config = self.folder / "l4echo.yaml"
        config.write_text(config_text("net_tap0", DEVICE, STACK, sections))
        self.output = open(self.log, "w")
        program = [build / "apps" / example, config] if example else [build / "apps/l4echo", "--config", config, *words]
        self.process = subprocess.Popen([*wrapper, *program], stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT)
        try:
            wait_until(self.is_serving, 20, lambda: f"l4echo serving; it printed:\n{self.text()}")
            command("ip", "address", "replace", f"{KERNEL}/24", "dev", DEVICE)
            # The TAP device drops what the stack has not read in time beyond its queue; 200 full windows fit this one.
            command("ip", "link", "set", DEVICE, "txqueuelen", 65536, "up")
            ping = command("ping", "-c", 1, "-W", 5, STACK, check=False)
            if ping.returncode != 0:
                raise AssertionError(f"l4echo does not answer:\n{ping.stdout}\n{self.text()}")
            self.idle = self.settled()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def text(self):
        return self.log.read_text(errors="replace")

    def is_serving(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with status {self.process.returncode}:\n{self.text()}")
        return "pollux: port" in self.text() if self.example else "l4echo: serving" in self.text()

    def counters(self):
        """A snapshot by SIGUSR1: counters and drops by name, and connections, mbufs, clones, their sums."""
        offset = self.log.stat().st_size
        self.process.send_signal(signal.SIGUSR1)

        def printed():
            return (m := CORE_LINE.search(self.text()[offset:])) and m.end()
        wait_until(printed, 5, lambda: f"counters after SIGUSR1; printed:\n{self.text()[offset:]}")
        return parse_counters(self.text()[offset:])

    def settled(self, seconds=5):
        """A snapshot after which a second one finds the same mbufs in use."""
        last = [self.counters()]

        def same():
            time.sleep(0.1)
            last.append(self.counters())
            return last[-1]["mbufs"] == last[-2]["mbufs"] and last[-1]
        return wait_until(same, seconds, "the number of mbufs in use settling")

    def assert_idle(self, seconds=10):
        """Every connection is gone and every mbuf is back where it was when the server started."""
        last = Snapshot()

        def idle():
            last.update(self.counters())
            return (last["connections"], last["mbufs"], last["clones"]) == (0, self.idle["mbufs"], self.idle["clones"])

        def state():
            return (f"idle again: {last['connections']} connections, {last['mbufs']} mbufs and {last['clones']} clones "
                    f"in use; at first {self.idle['mbufs']} and {self.idle['clones']}")
        wait_until(idle, seconds, state)
        return last

    def stop(self, number=signal.SIGTERM, seconds=15):
        """Ends the process; returns its exit status and all it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"l4echo did not end {seconds} s after signal {number}:\n{self.text()[-3000:]}")
        self.output.close()
        text = self.text()
        shutil.rmtree(self.folder)
        return self.process.returncode, text


CORE_LINE = re.compile(r"^core \d+ on CPU \d+: (\d+) connections, mbufs in use (\d+) of \d+, clones (\d+);.*\n", re.M)


def parse_counters(text):
    """Runtime's counters text as a dict whose missing names are 0."""
    counters = Snapshot()
    for name, value in re.findall(r"^ *(\w+) +(\d+)  ", text, re.M):
        counters[name] = int(value)
    for connections, mbufs, clones in CORE_LINE.findall(text):
        counters["connections"] = counters["connections"] + int(connections)
        counters["mbufs"] = counters["mbufs"] + int(mbufs)
        counters["clones"] = counters["clones"] + int(clones)
    return counters


def drop_names():
    """Every drop reason, from the stack's own list."""
    text = (pathlib.Path(__file__).parents[2] / "lib/base/drop_reason.def").read_text()
    return set(re.findall(r"^POLLUX_DROP\((\w+),", text, re.M))


class Snapshot(dict):
    def __missing__(self, name):
        return 0

    def since(self, earlier, name):
        return self[name] - earlier[name]


class ServerTest(unittest.TestCase):
    """Tests that share one l4echo; `sections` changes its configuration. Each test must leave it idle."""
    sections = None
    server = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server(cls.sections)

    @classmethod
    def tearDownClass(cls):
        status, text = cls.server.stop()
        if status != 0:
            raise AssertionError(f"l4echo ended with status {status}:\n{text[-3000:]}")

    def setUp(self):
        self.before = self.server.counters()

    def tearDown(self):
        if self.server.process.poll() is not None:
            raise AssertionError(f"l4echo ended with status {self.server.process.returncode}:\n"
                                 f"{self.server.text()[-3000:]}")
        self.server.assert_idle()

    def grown(self, name):
        """By how much a counter of the stack grew in this test."""
        return self.server.counters().since(self.before, name)


def connect(port, timeout=10, rcvbuf=None, sndbuf=None, maxseg=None):
    """A kernel TCP connection to l4echo; the options are set before the handshake."""
    s = socket.socket()
    try:
        for level, option, value in ((socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf),
                                     (socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf),
                                     (socket.IPPROTO_TCP, socket.TCP_MAXSEG, maxseg)):
            if value is not None:
                s.setsockopt(level, option, value)
        s.settimeout(timeout)
        s.connect((STACK, port))
    except BaseException:
        s.close()
        raise
    return s


def read_exactly(s, size):
    data = bytearray()
    while len(data) < size:
        piece = s.recv(min(size - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    return bytes(data)


def read_to_end(s):
    data = bytearray()
    while piece := s.recv(1 << 20):
        data += piece
    return bytes(data)


def reset(s):
    """Closes with RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


def link(state):
    command("ip", "link", "set", DEVICE, state)
