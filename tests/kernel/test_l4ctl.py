"""l4ctl against a running l4echo; tshark reads its captures."""
import json
import os
import signal
import socket
import subprocess
import time

import harness
from harness import DEVICE, KERNEL, STACK, command, connect

PREFIX = f"pollux-l4ctl-test-{os.getpid()}-{time.monotonic_ns()}"


def l4ctl(*words, check=True):
    return command(harness.build / "apps/l4ctl", "--prefix", PREFIX, *words, check=check)


def as_json(*words):
    return json.loads(l4ctl("--json", *words).stdout)


def echo_once(text=b"hello"):
    with connect(7) as s:
        s.sendall(text)
        harness.read_exactly(s, len(text))


class Capturing:
    """A capture in the background; `packets()` ends it and returns what tshark says."""

    def __init__(self, folder, *words):
        self.file = folder / f"capture-{time.monotonic_ns()}.pcapng"
        self.process = subprocess.Popen([harness.build / "apps/l4ctl", "--prefix", PREFIX, "capture", "-w", self.file, *words],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        if "capturing" not in line:
            raise AssertionError(line + self.process.stderr.read())
        time.sleep(0.2)  # the taps are set by the capture's own thread

    def packets(self, fields, interrupt=True):
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        self.output, error = self.process.communicate(timeout=20)
        if self.process.returncode != 0:
            raise AssertionError(error)
        done = subprocess.run(["tshark", "-r", str(self.file), "-T", "fields", "-E", "separator=|",
                               *(word for field in fields for word in ("-e", field))],
                              capture_output=True, text=True, timeout=60, check=True)
        return [line.split("|") for line in done.stdout.splitlines()]


class L4ctl(harness.ServerTest):
    sections = {"eal": {"file_prefix": PREFIX}}

    def test_shows_what_the_stack_has(self):
        with connect(7) as s:
            s.sendall(b"x")
            harness.read_exactly(s, 1)
            port = s.getsockname()[1]
            for words, expected in ((("counters",), r"TcpPassiveOpens +[1-9]"),
                                    (("cores",), r"^core +cpu +connections"),
                                    (("core", "0"), r"packets_free_min +\d+"),
                                    (("ports",), f"net_tap0 +{DEVICE} "),
                                    (("xstats",), r"rx_good_packets +\d+"),
                                    (("connections", "--remote-port", str(port)),
                                     rf"established +0 +0 +{STACK}:7 +{KERNEL}:{port} +\d+ +\d+ +0 +0/\d+/\d+"),
                                    (("events", "--last", "3"), r"^20\d\d-.* 0/\d+/\d+ state ESTABLISHED$"),
                                    (("listeners",), r"tcp +0\.0\.0\.0:80 +0 +4096"),
                                    (("listeners",), r"udp +0\.0\.0\.0:19"),
                                    (("neighbors",), f"{KERNEL} "),
                                    (("routes",), r"192\.0\.2\.0/24 +on link +net_tap0"),
                                    (("memory",), r"process_resident_bytes +\d+"),
                                    (("config",), r"tcp/nagle +true")):
                self.assertRegex(l4ctl("show", *words).stdout, f"(?m){expected}")
            self.assertEqual(l4ctl("show", "connections", "--state", "syn_sent").stdout.count("\n"), 1)
            identity = next(iter(as_json("show", "connections", "--remote-port", port)))
            self.assertEqual(as_json("show", "connection", identity)["remote"], f"{KERNEL}:{port}")
            self.assertIn("TcpInSegs", as_json("ask", "/pollux/counters")["counters"])
            l4ctl("close", identity)
            with self.assertRaises(ConnectionResetError):
                s.recv(1)

    def test_lists_more_connections_than_one_answer_holds(self):
        sockets = [connect(7) for _ in range(90)]
        self.assertEqual(len(as_json("show", "connections", "--local-port", 7)), 90)
        for s in sockets:
            s.close()

    def test_mistakes_end_with_status_1_and_a_reason(self):
        for words, expected in ((("show", "connection", "0/9/9"), "connection 0/9/9 is gone"),
                                (("show", "connections", "--state", "open"), "state: expected a TCP state"),
                                (("log-level", "loud"), "expected error, warning, info or debug"),
                                (("capture", "-w", "/nonexistent/x"), "file /nonexistent/x: No such file or directory"),
                                (("capture", "-w", "/tmp/x", "-f", "tcp porto 7"), "filter 'tcp porto 7': "),
                                (("capture", "-w", "/tmp/x", "--points", "rx+ix"), "points: expected rx, tx and drop"),
                                (("show",), "subcommand is required")):
            done = l4ctl(*words, check=False)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn(expected, done.stdout)
        done = command(harness.build / "apps/l4ctl", "--prefix", "no-such-program", "show", "cores", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no program answers", done.stdout)

    def test_sets_the_log_level(self):
        l4ctl("log-level", "debug")
        self.assertIn("debug", l4ctl("log-level").stdout)
        l4ctl("log-level", "info")

    def test_captures_both_directions_of_what_the_filter_takes(self):
        capture = Capturing(self.server.folder, "--filter", "tcp port 7", "--count", "9")
        command("ping", "-n", "-c", 1, STACK)
        echo_once(b"hello there")
        with connect(9):
            pass
        rows = capture.packets(["ip.src", "ip.dst", "tcp.srcport", "tcp.dstport", "tcp.len", "frame.interface_name",
                                "frame.packet_flags_direction"])
        self.assertGreaterEqual(len(rows), 8)
        self.assertEqual({row[5] for row in rows}, {"net_tap0"})
        self.assertTrue(all("7" in row[2:4] for row in rows), rows)
        for row in rows:
            self.assertEqual(row[6], "0x00000001" if row[0] == KERNEL else "0x00000002", row)
        self.assertEqual([row[4] for row in rows if row[4] != "0"], ["11", "11"])
        self.assertIn(" packets captured, 0 lost", capture.output)

    def test_ends_by_itself_after_count_packets(self):
        capture = Capturing(self.server.folder, "--count", "5")
        command("ping", "-n", "-c", 5, "-i", "0.05", STACK)
        rows = capture.packets(["icmp.type"], interrupt=False)
        self.assertEqual(len(rows), 5)
        self.assertIn("5 packets captured, 0 lost", capture.output)

    def test_says_in_a_comment_why_a_packet_was_dropped(self):
        capture = Capturing(self.server.folder, "--points", "drop")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"nobody", (STACK, 4000))
        with self.assertRaises(ConnectionRefusedError):
            connect(4001)
        echo_once()
        rows = capture.packets(["udp.dstport", "tcp.dstport", "frame.comment"])
        self.assertEqual(rows, [["4000", "", "dropped: udp_no_socket: no UDP socket on this port"],
                                ["", "4001", rows[1][2]]])
        self.assertTrue(rows[1][2].startswith("dropped: tcp_no_connection: "), rows)

    def test_only_one_capture_at_a_time_and_none_keeps_the_program_from_ending(self):
        capture = Capturing(self.server.folder)
        done = l4ctl("capture", "-w", self.server.folder / "second", check=False)
        self.assertIn("a capture is running", done.stdout)
        capture.packets(["ip.src"])


class CaptureAtTheEnd(harness.unittest.TestCase):
    def test_a_program_that_ends_ends_its_capture(self):
        server = harness.Server({"eal": {"file_prefix": PREFIX}})
        capture = Capturing(server.folder)
        try:
            echo_once()
            self.assertEqual(server.stop()[0], 0)
        finally:
            capture.process.kill()
            capture.process.communicate()

    def test_drain(self):
        server = harness.Server({"eal": {"file_prefix": PREFIX}})
        l4ctl("drain", "--timeout-ms", 500)
        server.process.wait(10)
        self.assertEqual(server.stop()[0], 0)
