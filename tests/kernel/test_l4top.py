"""l4top: once as JSON and as text, and live in a terminal."""
import json
import os
import re
import socket
import subprocess
import threading
import time

import harness
from harness import KERNEL, STACK, command, connect, wait_until

PREFIX = f"pollux-l4top-test-{os.getpid()}-{time.monotonic_ns()}"


class Load:
    """Echo traffic as long as it lives."""

    def __enter__(self):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        with connect(7) as s:
            while not self.stop.is_set():
                s.sendall(b"x" * 1000)
                harness.read_exactly(s, 1000)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class L4top(harness.ServerTest):
    sections = {"eal": {"file_prefix": PREFIX}}
    program = property(lambda self: [harness.build / "apps/l4top", "--prefix", PREFIX])

    def test_once_as_json_has_rates_that_follow_the_traffic(self):
        with Load():
            view = json.loads(command(*self.program, "--once", "--json", "--interval", "0.5").stdout)
        self.assertAlmostEqual(view["interval_s"], 0.5, delta=0.3)
        core = view["cores"][0]
        self.assertGreater(core["busy_percent"], 0)
        self.assertLessEqual(core["busy_percent"], 100)
        self.assertEqual(core["connections"], 1)
        port = view["ports"][0]
        self.assertEqual(port["port"], "net_tap0")
        self.assertGreater(port["rx_packets_per_s"], 10)
        self.assertGreater(port["tx_mbit_per_s"], 0)
        queue = view["queues"][0]
        self.assertEqual((queue["port"], queue["queue"], queue["core"]), ("net_tap0", 0, 0))
        self.assertGreater(queue["rx_packets_per_s"], 10)
        self.assertGreater(queue["tx_packets_per_s"], 10)
        self.assertGreater(view["tcp"]["segments_in_per_s"], 10)
        self.assertEqual([c["local"] for c in view["connections"]], [f"{STACK}:7"])

    def test_drops_are_named_and_the_largest_comes_first(self):
        def flood():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                for _ in range(300):
                    s.sendto(b"x", (STACK, 4000))
                    time.sleep(0.001)
        thread = threading.Thread(target=flood)
        thread.start()
        text = command(*self.program, "--once", "--interval", "0.3").stdout
        thread.join()
        self.assertRegex(text, r"udp_no_socket +\d+")
        self.assertRegex(text, r"net_tap0 +\d+")

    def test_l4ctl_top_is_the_same(self):
        text = command(harness.build / "apps/l4ctl", "--prefix", PREFIX, "top", "--once", "--interval", "0.1").stdout
        self.assertRegex(text, rf"^l4top  {PREFIX}  over 0\.\d s")
        self.assertIn("busy_percent", text)

    def test_live_in_a_terminal_it_refreshes_sorts_and_quits(self):
        server = f"l4top-test-{os.getpid()}"

        def tmux(*words, check=True):
            return command("tmux", "-L", server, "-f", "/dev/null", *words, check=check).stdout

        status = self.server.folder / "status"
        line = " ".join(str(w) for w in self.program)
        with Load():
            tmux("new-session", "-d", "-x", 160, "-y", 40, f"{line} --interval 0.2; echo $? > {status}; sleep 30")
            try:
                def screen():
                    return tmux("capture-pane", "-p")
                wait_until(lambda: re.search(rf"established .*{KERNEL}", screen()), 10, screen)
                self.assertIn("busy_percent", screen())
                self.assertIn("by send_q", screen())
                first = re.search(r"net_tap0 +(\d+)", screen()).group(1)
                wait_until(lambda: re.search(r"net_tap0 +(\d+)", screen()).group(1) != first, 10, "rates that change")
                tmux("send-keys", "s")
                wait_until(lambda: "by recv_q" in screen(), 5, screen)
                tmux("send-keys", "q")
                wait_until(status.exists, 5, screen)
                self.assertEqual(status.read_text().strip(), "0")
            finally:
                tmux("kill-server", check=False)

    def test_without_a_terminal_it_says_so(self):
        done = subprocess.run(self.program, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                              env={**os.environ, "TERM": "no-such-terminal"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot use this terminal; try --once", done.stderr)
