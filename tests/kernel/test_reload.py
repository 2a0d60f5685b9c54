"""The configuration changes under an l4echo that serves: whole or not at all, and connections live on."""
import json
import os
import re
import signal
import socket
import time

import harness
from harness import DEVICE, KERNEL, STACK, command, connect, wait_until

PREFIX = f"pollux-reload-test-{os.getpid()}-{time.monotonic_ns()}"
ELSEWHERE = "198.51.100.2"        # another address of the stack, and the kernel's beside it
ELSEWHERE_KERNEL = "198.51.100.1"
BEHIND = "203.0.113.9"            # of the kernel; the stack needs a route to it


def l4ctl(*words, check=True):
    return command(harness.build / "apps/l4ctl", "--prefix", PREFIX, *words, check=check)


class Reload(harness.ServerTest):
    """Two cores, so that a change has to reach both."""
    cores = (sorted(os.sched_getaffinity(0)) * 2)[:2]
    sections = {"eal": {"file_prefix": PREFIX}, "cores": cores, "share_cpus": True, "pool": {"packets": 32767, "clones": 32767}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.file = cls.server.folder / "l4echo.yaml"
        cls.original = json.loads(cls.file.read_text())
        command("ip", "address", "add", f"{ELSEWHERE_KERNEL}/24", "dev", DEVICE)
        command("ip", "address", "add", f"{BEHIND}/32", "dev", "lo")

    def setUp(self):
        super().setUp()
        self.addCleanup(self.write_and_reload)

    def write(self, **changes):
        """The file as it was at start, with top-level keys replaced; maps are merged."""
        config = json.loads(json.dumps(self.original))
        for key, value in changes.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        self.file.write_text(json.dumps(config, indent=1) + "\n")

    def write_and_reload(self, **changes):
        self.write(**changes)
        return l4ctl("reload").stdout

    def port(self, **changes):
        return [{**self.original["ports"][0], **changes}]

    def echo(self, s, text=b"still here"):
        s.sendall(text)
        self.assertEqual(harness.read_exactly(s, len(text)), text)

    def options_of(self, s):
        """What the kernel's end of a connection has agreed to."""
        return command("ss", "-tino", "sport", "=", f":{s.getsockname()[1]}").stdout

    def test_a_connection_lives_on_while_routes_options_and_idling_change(self):
        connections = [connect(7) for _ in range(8)]  # on both cores
        self.assertIn(" sack", self.options_of(connections[0]))
        report = self.write_and_reload(tcp={"sack": False, "delayed_ack_max": "20ms"}, idle="sleep", log_level="debug",
                                       routes=[{"prefix": f"{BEHIND}/32", "gateway": KERNEL}])
        for line in ("tcp.sack: true -> false", "idle: adaptive -> sleep", f"routes[0].gateway: (none) -> {KERNEL}",
                     "tcp.delayed_ack_max: 40ms -> 20ms", "log_level: info -> debug"):
            self.assertIn(line + "\n", report)
        for s in connections:
            self.echo(s)
        self.assertRegex(l4ctl("show", "routes").stdout, rf"{BEHIND}/32 +{KERNEL}")
        for _ in range(8):
            with connect(7) as fresh:
                self.echo(fresh)
                self.assertNotIn(" sack", self.options_of(fresh))
        with socket.create_connection((STACK, 7), 5, source_address=(BEHIND, 0)) as s:  # answered by the new route
            s.settimeout(5)
            self.echo(s)
        self.assertIn("nothing changed", l4ctl("reload").stdout)
        self.assertIn("tcp/sack false", " ".join(l4ctl("show", "config").stdout.split()))
        for s in connections:
            self.echo(s)
            s.close()

    def test_sighup_changes_the_address_and_announces_it(self):
        command("ip", "neigh", "flush", "dev", DEVICE)
        with connect(7) as s:
            self.echo(s)
            self.write(ports=self.port(addresses=[f"{ELSEWHERE}/24", "fd00:99::2/64"]))
            self.server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "2 keys changed" in self.server.text() or "1 keys changed" in self.server.text(), 5,
                       self.server.text)
            with socket.create_connection((ELSEWHERE, 7), 5) as other:
                other.settimeout(5)
                self.echo(other)
            self.assertIn(ELSEWHERE, l4ctl("show", "ports").stdout)
            self.assertNotEqual(command("ping", "-c", 1, "-W", 1, STACK, check=False).returncode, 0, "no longer ours")
            self.write_and_reload()
            self.echo(s)  # its address came back before it was given up
        with connect(7) as s:
            self.echo(s)

    def test_listeners_come_and_go(self):
        with connect(7) as s:
            self.assertIn("app.tcp_echo_port: 7 -> 1007", self.write_and_reload(app={"tcp_echo_port": 1007, "udp_echo_port": 0}))
            with connect(1007) as fresh:
                self.echo(fresh)
            with self.assertRaises(ConnectionRefusedError):
                connect(7)
            self.echo(s)
            listeners = l4ctl("show", "listeners").stdout
            self.assertRegex(listeners, r"tcp +0\.0\.0\.0:1007 ")
            self.assertNotRegex(listeners, r"udp +0\.0\.0\.0:7\b")
            self.assertIn("app.tcp_echo_port: 1007 -> 7", self.write_and_reload())

    def test_a_mistake_leaves_everything_as_it_was(self):
        before = l4ctl("show", "config").stdout
        with connect(7) as s:
            for changes, complaint in (
                    ({"tcp": {"nagel": True}}, r"l4echo\.yaml:\d+: tcp\.nagel: unknown key; did you mean 'nagle'"),
                    ({"tcp": {"sack": False, "ttl": 0}}, r"l4echo\.yaml:\d+: tcp\.ttl: expected an integer from 1 to 255"),
                    ({"routes": [{"prefix": "0.0.0.0/0", "gateway": ELSEWHERE_KERNEL}], "tcp": {"sack": False}},
                     r"gateway 198\.51\.100\.1 lies in no interface's subnet"),
                    ({"neighbors": [{"address": STACK, "mac": "02:00:00:00:00:01"}], "tcp": {"sack": False}},
                     r"expected another host's address"),
                    ({"app": {"tcp_echo_port": 80, "tcp_discard_port": 99}}, r"core 0 refuses.*TCP port 80"),
                    ({"pool": {"packets": 65535}, "tcp": {"sack": False}},
                     r"needs a restart, so nothing was changed: pool\.packets: 32767 -> 65535")):
                with self.subTest(complaint):
                    self.write(**changes)
                    done = l4ctl("reload", check=False)
                    self.assertEqual(done.returncode, 1, done.stdout)
                    self.assertRegex(done.stdout, complaint)
                    self.assertEqual(l4ctl("show", "config").stdout, before)
                    with connect(7) as fresh:
                        self.assertIn(" sack", self.options_of(fresh))
                    with self.assertRaises(ConnectionRefusedError):
                        connect(99)
            self.echo(s)
        self.file.write_text("ports: [\n")
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the configuration stays as it is" in self.server.text(), 5, self.server.text)
        self.assertRegex(self.server.text(), r"l4echo\.yaml:\d+: YAML")

    def test_hundreds_of_routes_are_taken_over_and_no_more_than_there_is_room_for(self):
        def routes(count):
            return [{"prefix": f"10.{i // 250}.{i % 250}.0/24", "gateway": KERNEL} for i in range(count)]
        self.write_and_reload(routes=routes(500) + [{"prefix": f"{BEHIND}/32", "gateway": KERNEL}])
        shown = l4ctl("show", "routes").stdout
        self.assertEqual(len(re.findall(rf" {re.escape(KERNEL)} ", shown)), 501, shown)
        for prefix in ("10.0.0.0/24", "10.1.249.0/24", f"{BEHIND}/32"):
            self.assertRegex(shown, rf"{prefix} +{KERNEL}")
        for _ in range(8):  # on both cores
            with socket.create_connection((STACK, 7), 5, source_address=(BEHIND, 0)) as s:
                self.echo(s)
        self.write(routes=routes(1024))  # and the port's own subnet
        refused = l4ctl("reload", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("at most 1024 routes of a family (ip.routes_max)", refused.stdout)
        with socket.create_connection((STACK, 7), 5, source_address=(BEHIND, 0)) as s:
            self.echo(s)

    def test_set_changes_one_key(self):
        self.assertEqual(l4ctl("set", "tcp/nagle", "false").stdout, "tcp.nagle: true -> false\n")
        self.assertEqual(l4ctl("set", "ports/0/addresses", f"[{ELSEWHERE}/24, 'fd00:99::2/64']").stdout,
                         f"ports[0].addresses: {STACK}/24 -> {ELSEWHERE}/24 fd00:99::2/64\n")
        with socket.create_connection((ELSEWHERE, 7), 5) as s:
            s.settimeout(5)
            self.echo(s)
        self.assertIn(f"routes[0].prefix: (none) -> {BEHIND}/32",
                      l4ctl("set", "routes", f"[{{prefix: {BEHIND}/32, gateway: {ELSEWHERE_KERNEL}}}]").stdout)
        self.assertIn("tcp.nagle: false -> true", l4ctl("reload").stdout)  # the file's word counts again
        for key, value, complaint in (("tcp.nagle", "perhaps", "tcp.nagle: expected true or false, found 'perhaps'"),
                                      ("tcp.nagel", "true", "did you mean 'nagle'"),
                                      ("tcp", "true", "tcp: expected a map"),
                                      ("ports[1].mtu", "1500", "ports has 1 items"),
                                      ("cores", "[0]", "needs a restart, so nothing was changed: cores")):
            done = l4ctl("set", key, value, check=False)
            self.assertEqual((done.returncode, complaint in done.stdout), (1, True), done.stdout)
