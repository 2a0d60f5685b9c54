"""What a user sees when something is wrong at the start, and what happens at the end."""
import json
import pathlib
import re
import shutil
import signal
import socket
import tempfile
import time
import unittest

import harness
from harness import command, config_text, connect, read_exactly


class StartUpErrors(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pollux-kernel-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, text, *words, wrapper=()):
        """Runs l4echo on a file of this text, which must make it fail; returns what it printed."""
        file = self.folder / "bad.yaml"
        file.write_text(text)
        done = command(*wrapper, harness.build / "apps/l4echo", "--config", file, *words, check=False, timeout=20)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertNotIn("terminate called", done.stdout)
        return done.stdout

    def test_mistakes_in_the_file_name_file_line_and_key(self):
        good = "ports:\n- device: net_tap0,iface=px9\n  addresses: [192.0.2.2/24]\n"
        cases = (
            ("unknown key", good + "colour: blue\n", 4, "colour"),
            ("unknown key below", good + "tcp:\n  colour: blue\n", 5, "colour"),
            ("unknown key of the program", good + "app:\n  tcp_eko_port: 7\n", 5, "tcp_eko_port"),
            ("not a number", good + "tcp:\n  retries_max: many\n", 5, "retries_max"),
            ("out of range", good + "app:\n  http_port: 65536\n", 5, "http_port"),
            ("bad address", "ports:\n- device: net_tap0,iface=px9\n  addresses: [192.0.2.256/24]\n", 3, "addresses"),
            ("no ports", "log_level: info\n", None, "ports"),
            ("not YAML", "ports: [\n", None, ""),
        )
        for name, text, line, key in cases:
            with self.subTest(name):
                out = self.start(text)
                self.assertRegex(out, r"bad\.yaml:%s:.*%s" % (line or r"\d+", re.escape(key)))

    def test_a_missing_file(self):
        done = command(harness.build / "apps/l4echo", "--config", "/nonexistent.yaml", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent.yaml", done.stdout)

    def test_wrong_arguments(self):
        for words in ([], ["--config"], ["--config", "x", "--http-port", "70000"], ["--config", "x", "--colour"]):
            with self.subTest(words=words):
                done = command(harness.build / "apps/l4echo", *words, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertTrue(done.stdout.strip())

    def test_help_names_every_option(self):
        out = command(harness.build / "apps/l4echo", "--help").stdout
        for option in ("--config", "--tcp-echo-port", "--http-size", "--udp-chargen-port", "--backlog",
                       "--print-config", "--show-port"):
            self.assertIn(option, out)

    def test_the_printed_configuration_can_be_read_again(self):
        first = command(harness.build / "apps/l4echo", "--print-config").stdout
        file = self.folder / "printed.yaml"
        file.write_text(first)
        self.assertEqual(command(harness.build / "apps/l4echo", "--config", file, "--print-config").stdout, first)

    def test_shows_what_a_port_offers_and_what_is_used(self):
        file = self.folder / "port.yaml"
        file.write_text(config_text("net_tap0", "px9", "192.0.2.2"))
        out = command(harness.build / "apps/l4echo", "--config", file, "--show-port").stdout
        for line in ("port net_tap0\n", "  driver              net_tap\n", "  kernel interface    px9\n",
                     "16 receive, 16 transmit; 1 of each used", "TCP_CKSUM          -", "MULTI_SEGS         used",
                     "  receive interrupts  used (idle: adaptive)\n"):
            self.assertIn(line, out)

    def test_a_device_that_does_not_exist(self):
        for device in ("0000:ff:1f.7", "net_nosuch0"):
            with self.subTest(device=device):
                config = json.loads(config_text("net_tap0", "px9", "192.0.2.2"))
                config["ports"][0]["device"] = device
                out = self.start(json.dumps(config))
                self.assertIn(device, out)

    def test_no_permission_for_the_tap_device(self):
        out = self.start(config_text("net_tap0", "px9", "192.0.2.2"),
                         wrapper=("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"))
        self.assertRegex(out, r"net_tap0.*(permi|root|CAP_NET_ADMIN)")

    def test_a_port_given_twice(self):
        out = self.start(config_text("net_tap0", "px9", "192.0.2.2"), "--http-port", "7")
        self.assertIn("TCP port 7", out)

    def test_huge_pages_required_but_absent(self):
        if int(re.search(r"HugePages_Free: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) > 1000:
            config = {"huge_pages": "required", "memory_mb": 1 << 20}
        else:
            config = {"huge_pages": "required"}
        out = self.start(config_text("net_tap0", "px9", "192.0.2.2", {"eal": config}))
        self.assertIn("huge_pages", out)


class Options(unittest.TestCase):
    def test_ports_can_be_moved_and_left_out(self):
        server = harness.Server({"app": {"tcp_echo_port": 7007, "tcp_discard_port": 0, "http_size": 5}})
        try:
            with connect(7007) as s:
                s.sendall(b"moved")
                self.assertEqual(read_exactly(s, 5), b"moved")
            for port in (7, 9):
                with self.assertRaises(ConnectionRefusedError):
                    connect(port)
            self.assertEqual(len(command("curl", "-sS", f"http://{harness.STACK}/").stdout), 5)
        finally:
            status, _ = server.stop()
        self.assertEqual(status, 0)


class Drain(unittest.TestCase):
    def test_an_open_connection_may_finish(self):
        server = harness.Server({"drain_timeout": "10s"})
        with connect(7) as s:
            s.sendall(b"before")
            self.assertEqual(read_exactly(s, 6), b"before")
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            s.sendall(b"while draining")
            self.assertEqual(read_exactly(s, 14), b"while draining")
            with self.assertRaises(OSError):  # no new ones
                connect(7, timeout=0.5)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(s.recv(1), b"")
        server.process.wait(3)
        status, text = server.stop()
        self.assertEqual(status, 0, text)
        self.assertGreaterEqual(harness.parse_counters(text)["tcp_draining"], 1)

    def test_what_does_not_finish_in_time_is_reset(self):
        server = harness.Server({"drain_timeout": "500ms"})
        with connect(7) as s:
            s.sendall(b"x")
            self.assertEqual(s.recv(1), b"x")
            status, text = server.stop()
            self.assertEqual(status, 1, text)
            with self.assertRaises(ConnectionResetError):
                s.recv(1)

    def test_the_end_prints_the_counters(self):
        server = harness.Server()
        with connect(7) as s:
            s.sendall(b"12345")
            self.assertEqual(read_exactly(s, 5), b"12345")
        server.assert_idle()
        offset = server.log.stat().st_size
        status, text = server.stop()
        self.assertEqual(status, 0)
        counters = harness.parse_counters(text[offset:])
        self.assertEqual(counters["TcpPassiveOpens"], 1)
        self.assertEqual(counters["PxTcpInBytes"], 5)

    def test_start_and_end_again_and_again(self):
        for _ in range(3):
            server = harness.Server()
            with connect(7) as s:
                s.sendall(b"again")
                self.assertEqual(read_exactly(s, 5), b"again")
            server.assert_idle()
            self.assertEqual(server.stop()[0], 0)
