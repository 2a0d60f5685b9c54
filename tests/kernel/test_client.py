"""l4bench over Pollux against the kernel's servers, and over kernel sockets against l4echo."""
import json
import selectors
import socket
import threading
import unittest

import harness
import traffic
from capture import Capture
from harness import command, CLIENT_DEVICE, CLIENT_KERNEL, CLIENT_STACK, STACK


class KernelServer(threading.Thread):
    """A server of the kernel's on an ephemeral port: echo, discard, and misbehaviour."""

    def __init__(self, behaviour="echo"):
        super().__init__(daemon=True)
        self.behaviour = behaviour
        self.listener = socket.create_server((CLIENT_KERNEL, 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        self.accepted = 0
        self.octets = 0
        self.stopping = False
        self.ignored = []
        self.poll = selectors.DefaultSelector()
        self.poll.register(self.listener, selectors.EVENT_READ)
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join(5)
        for s in [key.fileobj for key in self.poll.get_map().values()] + self.ignored:
            s.close()
        self.poll.close()

    def run(self):
        while not self.stopping:
            for key, _ in self.poll.select(0.05):
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.serve(key.fileobj)

    def accept(self):
        s, _ = self.listener.accept()
        self.accepted += 1
        if self.behaviour == "reset":
            return harness.reset(s)
        if self.behaviour == "close":
            return s.close()
        s.settimeout(10)
        if self.behaviour == "ignore":
            self.ignored.append(s)
        else:
            self.poll.register(s, selectors.EVENT_READ)

    def serve(self, s):
        try:
            data = s.recv(1 << 18)
            self.octets += len(data)
            if not data:
                raise ConnectionResetError
            if self.behaviour == "echo":
                s.sendall(data)
            elif self.behaviour == "corrupt":
                s.sendall(data[:-1] + bytes([data[-1] ^ 1]))
        except OSError:
            self.poll.unregister(s)
            s.close()


class OverPollux(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The device is there before l4bench, so that its first packet meets a configured kernel.
        command("ip", "tuntap", "add", "dev", CLIENT_DEVICE, "mode", "tap", "multi_queue")
        cls.addClassCleanup(command, "ip", "link", "delete", CLIENT_DEVICE)
        command("ip", "address", "add", f"{CLIENT_KERNEL}/24", "dev", CLIENT_DEVICE)
        command("ip", "link", "set", CLIENT_DEVICE, "txqueuelen", 65536, "up")
        harness.make_kernel_patient(CLIENT_DEVICE, CLIENT_KERNEL)

    def bench(self, port, *words, status=0, **tcp):
        """Runs l4bench with these TCP options; returns its results."""
        config = harness.config_text("net_tap1", CLIENT_DEVICE, CLIENT_STACK, {"tcp": {**harness.PATIENT, **tcp}})
        done = command("sh", "-c", 'f=$(mktemp); printf "%s" "$1" >$f; shift; "$@" --config $f; s=$?; rm $f; exit $s',
                       "sh", config, harness.build / "apps/l4bench", *words, "--remote", f"{CLIENT_KERNEL}:{port}",
                       "--json", "-", check=False, timeout=50)
        self.assertEqual(done.returncode, status, done.stdout)
        return json.loads(done.stdout[done.stdout.index("{\n"):done.stdout.rindex("}") + 1])

    def assert_clean_wire(self, before):
        after = traffic.kernel_counters()
        self.assertEqual({n: after[n] - before[n] for n in traffic.TROUBLE if after.get(n) != before.get(n)}, {})

    def test_round_trips(self):
        before = traffic.kernel_counters()
        with KernelServer() as server:
            for connections, size in ((1, 1), (1, 64), (20, 1000), (100, 100), (2, 100_000)):
                with self.subTest(connections=connections, size=size):
                    results = self.bench(server.port, "rr", "-n", connections, "-s", size, "-d", 0.5, "-w", 0.1)
                    self.assertEqual(results["errors"], 0)
                    self.assertEqual(results["connections_opened"], connections)
                    self.assertGreater(results["operations"], 10)
                    self.assertGreater(results["latency_us"]["p50"], 1)
        self.assert_clean_wire(before)

    def test_connect_echo_close(self):
        before = traffic.kernel_counters()
        with KernelServer() as server:
            results = self.bench(server.port, "cec", "-n", 10, "-d", 2, "-w", 0.2, msl="10ms")  # ports come back soon
            self.assertEqual(results["errors"], 0)
            self.assertGreater(results["operations"], 500)
            self.assertGreaterEqual(server.accepted, results["operations"])
        self.assert_clean_wire(before)

    def test_few_ports_serve_many_connections(self):
        """TIME-WAIT lasts a minute, but with timestamps its ports are taken again (RFC 6191)."""
        ports = 400
        with KernelServer() as server:  # 10 ms: so 40,000 connections a second at most
            results = self.bench(server.port, "cec", "-n", 2, "-d", 2, "-w", 0.2, time_wait_reuse_after="10ms",
                                 ephemeral_port_first=40000, ephemeral_port_last=40000 + ports - 1)
            self.assertEqual(results["errors"], 0)
            self.assertGreater(results["operations"], 2 * ports)

    def test_connect_echo_reset(self):
        with KernelServer() as server:
            results = self.bench(server.port, "cec", "--reset", "-n", 5, "-d", 1, "-w", 0.1)
            self.assertEqual(results["errors"], 0)
            self.assertGreater(results["operations"], 100)

    def test_a_stream_is_received_whole(self):
        before = traffic.kernel_counters()
        with KernelServer("discard") as server:
            results = self.bench(server.port, "stream", "--bytes", 32 << 20, "-n", 2, "-d", 30)
            self.assertEqual(results["errors"], 0)
            harness.wait_until(lambda: server.octets == 64 << 20, 5, lambda: f"{server.octets} octets")
        self.assert_clean_wire(before)

    def test_a_verified_stream(self):
        with KernelServer() as server:
            results = self.bench(server.port, "stream", "--verify", "--bytes", 16 << 20, "-n", 4, "-d", 30)
            self.assertEqual(results["errors"], 0)
            self.assertEqual(results["octets_received"], 64 << 20)

    def test_a_wrong_echo_is_found(self):
        with KernelServer("corrupt") as server:
            results = self.bench(server.port, "rr", "-d", 0.5, "-w", 0, status=2)
            self.assertGreater(results["mismatches"], 0)

    def test_a_closed_port(self):
        results = self.bench(1, "rr", "-d", 0.5, "-w", 0, status=2)
        self.assertGreater(results["ended_early"]["refused"], 0)
        self.assertEqual(results["connections_opened"], 0)

    def test_a_server_that_resets(self):
        with KernelServer("reset") as server:
            results = self.bench(server.port, "rr", "-d", 0.5, "-w", 0, status=2)
            self.assertGreater(results["ended_early"]["reset_by_peer"], 0)

    def test_a_server_that_closes_at_once(self):
        with KernelServer("close") as server:
            results = self.bench(server.port, "rr", "-d", 0.5, "-w", 0, status=2)
            early = results["ended_early"]
            self.assertGreater(early["normal"] + early["reset_by_peer"], 0)

    def test_a_server_that_never_reads(self):
        with KernelServer("ignore") as server:
            results = self.bench(server.port, "stream", "-d", 2, "-w", 0, status=2)
            self.assertEqual(results["unfinished"], 1)
            self.assertGreater(results["octets_sent"], 0)

    def test_the_syn_offers_every_option(self):
        with KernelServer() as server:
            capture = Capture(f"src host {CLIENT_STACK} and tcp[13] = 2")
            self.bench(server.port, "rr", "-d", 0.2, "-w", 0)
            text = capture.text()
        for word in ("mss 1460", "wscale", "TS val", "(correct)"):
            self.assertIn(word, text)


class OverTheKernel(harness.ServerTest):
    def bench(self, *words, status=0):
        done = command(harness.build / "apps/l4bench", *words, "--via", "kernel", "--remote", STACK, "--json", "-",
                       check=False)
        self.assertEqual(done.returncode, status, done.stdout)
        return json.loads(done.stdout)

    def test_every_mode(self):
        for words in (["rr", "-n", 50], ["cec", "-n", 10], ["cec", "-n", 10, "--reset"], ["stream", "-n", 4],
                      ["stream", "--verify", "-n", 4]):
            with self.subTest(words=words):
                results = self.bench(*words, "-d", 1, "-w", 0.2)
                self.assertEqual(results["errors"], 0)
                self.assertGreater(results["octets_sent"], 1000)

    def test_streams_of_stated_length(self):
        results = self.bench("stream", "--verify", "--bytes", 16 << 20, "-n", 4, "-d", 30)
        self.assertEqual((results["errors"], results["octets_received"]), (0, 64 << 20))

    def test_a_table_for_people(self):
        out = command(harness.build / "apps/l4bench", "rr", "--via", "kernel", "--remote", STACK, "-d", 0.5).stdout
        for word in ("round trips", "latency us p99", "errors"):
            self.assertIn(word, out)

    def test_wrong_arguments(self):
        for words in ([], ["rr"], ["rr", "--remote", "nowhere"], ["rr", "--remote", "192.0.2.2:0"],
                      ["rr", "--remote", STACK], ["rr", "--remote", STACK, "--via", "pigeon"],
                      ["rr", "--remote", STACK, "--via", "kernel", "-n", "0"], ["cec", "stream"],
                      ["rr", "--remote", STACK, "--config", "/nonexistent.yaml"]):
            with self.subTest(words=words):
                done = command(harness.build / "apps/l4bench", *words, check=False)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertTrue(done.stdout.strip())
