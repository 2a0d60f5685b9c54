"""l4echo on two cores of a device without RSS: flows are handed to their core in software."""
import os
import pathlib
import re
import socket
import tempfile
import time
import unittest

import harness
import traffic
from harness import connect, read_to_end, STACK


class Cores(harness.ServerTest):
    cores = (sorted(os.sched_getaffinity(0)) * 2)[:2]  # the same twice where there is but one
    sections = {"cores": cores, "share_cpus": True, "pool": {"packets": 32767, "clones": 32767},
                "tcp": {**harness.PATIENT, "sack": False}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        harness.make_kernel_patient(harness.DEVICE, harness.KERNEL)

    def received_by_core(self):
        self.server.counters()
        lines = re.findall(r"^core \d+ on CPU .*?(\d+) packets received", self.server.text(), re.M)
        return [int(n) for n in lines[-2:]]

    def tearDown(self):
        super().tearDown()
        self.assertEqual(self.grown("TcpEstabResets"), 0)
        self.assertEqual(self.grown("TcpAttemptFails"), 0)
        self.assertEqual(self.grown("handover_full"), 0)
        self.assertEqual(self.grown("PxHandedOver"), self.grown("PxTakenOver"))

    def test_says_how_flows_reach_their_core(self):
        self.assertIn("2 cores over 2 queues; flows are handed to their core in software: its driver net_tap has no RSS",
                      self.server.text())

    def test_200_flows_at_once(self):
        before = self.received_by_core()
        outcome = traffic.many_flows(STACK, 7, 200, 128 << 10, sndbuf=16384)
        self.assertEqual(outcome.differences, [])
        self.assertEqual(outcome.received, 200 * (128 << 10))
        grown = [after - earlier for earlier, after in zip(before, self.received_by_core())]
        self.assertGreater(min(grown) / max(grown), 0.5, f"packets by core: {grown}")
        self.assertGreater(self.grown("PxHandedOver"), 0)

    def test_short_connections_and_datagrams(self):
        for i in range(500):
            with connect(7) as s:
                message = b"connection %d" % i
                s.sendall(message)
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_to_end(s), message)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(5)
                s.connect((STACK, 7))
                s.send(b"datagram %d" % i)
                self.assertEqual(s.recv(100), b"datagram %d" % i)

    def test_pings_and_forgotten_neighbours(self):
        """The kernel asks again and again who we are; one core answers."""
        before = self.server.counters()
        for _ in range(5):
            harness.command("ip", "neigh", "flush", "dev", harness.DEVICE)
            harness.command("ping", "-c", 1, "-W", 5, STACK)
        after = self.server.counters()
        self.assertEqual(after.since(before, "PxArpRequestsIn"), after.since(before, "PxArpRepliesOut"))
        self.assertEqual(after.since(before, "IcmpOutEchoReps"), 5)



class Auto(unittest.TestCase):
    """cores: auto, and --lcores on the command line, which goes before the file."""
    cpus = sorted(os.sched_getaffinity(0))

    def serve(self, cores, *words, wrapper=()):
        server = harness.Server({"cores": cores}, wrapper=wrapper, words=words)
        try:
            self.assertEqual(traffic.many_flows(STACK, 7, 10, 10_000).differences, [])
        finally:
            status, text = server.stop()
        self.assertEqual(status, 0, text)
        cpus = re.findall(r"^core \d+ on CPU (\d+)", text, re.M)
        return [int(n) for n in dict.fromkeys(cpus)], text

    def test_every_cpu_of_the_process_polls(self):
        cpus, text = self.serve("auto")
        self.assertEqual(cpus, self.cpus[::-1][:16])
        self.assertRegex(text, r"cores: auto: \d+ of \d+ CPUs: [\d, ]+, port net_tap0 having 16 queues")
        one = self.cpus[0]
        self.assertEqual(self.serve("auto", wrapper=("taskset", "-c", str(one)))[0], [one])

    def test_the_ports_queues_bound_them(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(harness.config_text("net_af_packet0", "lo", "192.0.2.2", {"cores": "auto"}))
            file.flush()
            out = harness.command(harness.build / "apps/l4echo", "--config", file.name, "--show-port").stdout
        self.assertIn(f"cores: auto: 1 of {len(self.cpus)} CPUs: {self.cpus[-1]}, port net_af_packet0 having 1 queues", out)
        self.assertIn("1 receive, 1 transmit; 1 of each used", out)

    def test_the_command_line_goes_before_the_file(self):
        self.assertEqual(self.serve([1023], "--lcores", str(self.cpus[0]))[0], self.cpus[:1])
        self.assertEqual(self.serve(self.cpus[:1], "--lcores", "auto")[0], self.cpus[::-1][:16])

    def test_mistakes_say_what_is_expected(self):
        for text in ("1,", "2-1", "x", "1;2", "1024", "auto,1"):
            done = harness.command(harness.build / "apps/l4echo", "--config", "x", "--lcores=" + text, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, "--lcores: expected auto, or CPUs from 0 to 1023 like 1,2 or 2-5, found")
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(harness.config_text("net_tap0", "px9", "192.0.2.2"))
            file.flush()
            done = harness.command(harness.build / "apps/l4echo", "--config", file.name, "--lcores", "1000-1001", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cores: CPU 1000 does not exist or is not allowed for this process", done.stdout)


class Idle(harness.ServerTest):
    """idle: adaptive, the default."""

    def cpu_seconds(self):
        """Of all threads, user and system."""
        tasks = pathlib.Path(f"/proc/{self.server.process.pid}/task").glob("*/stat")
        return sum(sum(map(int, t.read_text().rsplit(")", 1)[1].split()[11:13])) for t in tasks) / os.sysconf("SC_CLK_TCK")

    def test_costs_under_two_percent_of_a_core(self):
        time.sleep(0.5)
        began, before = time.monotonic(), self.cpu_seconds()
        time.sleep(4)
        self.assertLess((self.cpu_seconds() - before) / (time.monotonic() - began), 0.02)

    def test_a_packet_ends_the_sleep(self):
        """Sleeps may last until the next tick, 10 ms; answers do not wait for that."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect((STACK, 7))
            times = []
            for _ in range(50):
                time.sleep(0.013)
                began = time.monotonic()
                s.send(b"wake up")
                s.recv(100)
                times.append(time.monotonic() - began)
        self.assertLess(sorted(times)[len(times) // 2], 0.003)
