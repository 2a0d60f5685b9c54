"""What operators see: DPDK's telemetry socket, by DPDK's own client."""
import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time

import harness
from harness import KERNEL, STACK, command, connect

PREFIX = f"pollux-kernel-test-{os.getpid()}-{harness.time.monotonic_ns()}"
MISTAKES = (("/pollux/connections,state=open", "state: expected a TCP state"),
            ("/pollux/connections,remote=300.1.1.1", "remote: expected an IP address"),
            ("/pollux/connections,local_port=0", "local_port: expected a number from 1 to 65535"),
            ("/pollux/connections,cursor=x", "cursor: expected the 'next'"),
            ("/pollux/connections,colour=red", "'colour': unknown parameter"),
            ("/pollux/connection", "found 'nothing'"),
            ("/pollux/connection,0/1", "expected a connection as core/slot/generation"),
            ("/pollux/connection,0/1/77", "is gone"),
            ("/pollux/close,0/1/77", "is gone"),
            ("/pollux/core,7", "expected a core from 0 to 0"),
            ("/pollux/counters,core=1", "core: expected a number from 0 to 0"),
            ("/pollux/xstats,eth9", "no port 'eth9'"),
            ("/pollux/log_level,loud", "expected error, warning, info or debug"),
            ("/pollux/drain", "expected timeout_ms=N"))


def ask(*questions):
    """Answers of dpdk-telemetry.py, each without its outer {command: ...}."""
    done = command("sh", "-c", f"dpdk-telemetry.py -f {PREFIX} <<'END'\n" + "\n".join(questions) + "\nquit\nEND")
    answers = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            answers.append(next(iter(json.loads(line).values())))
    if len(answers) != len(questions):
        raise AssertionError(f"{len(questions)} questions, {len(answers)} answers:\n{done.stdout}")
    return answers if len(answers) > 1 else answers[0]


def port_of(s):
    return s.getsockname()[1]


class Telemetry(harness.ServerTest):
    sections = {"eal": {"file_prefix": PREFIX}, "telemetry": {"metrics": "127.0.0.1:9464"}}

    def test_prometheus_scrapes_what_promtool_finds_well_formed(self):
        with connect(7) as s:
            s.sendall(b"x")
            harness.read_exactly(s, 1)
            done = command("curl", "-sS", "-i", "http://127.0.0.1:9464/metrics")
        headers, text = done.stdout.split("\n\n", 1)
        self.assertIn("Content-Type: text/plain; version=0.0.4", headers)
        self.assertIn('pollux_tcp_connections{core="0"} 1\n', text)
        self.assertRegex(text, r'pollux_port_receive_packets_total\{port="net_tap0"\} [1-9]')
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=30)
        self.assertEqual((checked.returncode, checked.stdout + checked.stderr), (0, ""))
        passive = int(re.search(r'^pollux_tcp_passive_opens_total\{core="0"\} (\d+)$', text, re.M).group(1))
        self.assertEqual(passive, self.server.counters()["TcpPassiveOpens"])
        self.assertIn("404", command("curl", "-sS", "-i", "http://127.0.0.1:9464/").stdout)

    def test_a_prometheus_server_scrapes_it(self):
        with tempfile.TemporaryDirectory(prefix="pollux-prometheus-") as folder:
            config = pathlib.Path(folder) / "prometheus.yml"
            config.write_text("scrape_configs: [{job_name: pollux, scrape_interval: 1s, static_configs: [{targets: ['127.0.0.1:9464']}]}]")
            with open(f"{folder}/log", "w") as log:
                server = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                                           "--web.listen-address=127.0.0.1:9465"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                def stored(query):
                    done = command("curl", "-sSf", "--get", "--data-urlencode", f"query={query}", "http://127.0.0.1:9465/api/v1/query",
                                   check=False)
                    results = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 else []
                    return [float(result["value"][1]) for result in results]
                harness.wait_until(lambda: stored("up") == [1], 30, lambda: pathlib.Path(folder, "log").read_text()[-3000:])
                self.assertGreater(stored('pollux_port_receive_packets_total{port="net_tap0"}')[0], 0)
                self.assertEqual(stored('count(count by (core) (pollux_loop_turns_total))'), [1])
            finally:
                server.terminate()
                server.wait(30)

    def test_lists_its_commands_with_help(self):
        commands, text = ask("/", "/help,/pollux/connections")
        ours = [c for c in commands if c.startswith("/pollux/")]
        self.assertGreaterEqual(len(ours), 15)
        self.assertIn("remote_port", str(text))

    def test_counters_are_those_that_sigusr1_prints(self):
        with connect(7) as s:
            s.sendall(b"x" * 100)
            harness.read_exactly(s, 100)
        self.server.assert_idle()
        answer = ask("/pollux/counters")
        printed = self.server.counters()
        for name in ("TcpPassiveOpens", "PxTcpInBytes", "PxArpRepliesOut"):
            self.assertEqual(answer["counters"][name], printed[name])
        self.assertEqual(set(answer["drops"]), harness.drop_names())
        for name, count in answer["drops"].items():
            self.assertEqual(count, printed[name], name)
        self.assertEqual(ask("/pollux/counters,core=0")["counters"]["TcpPassiveOpens"], printed["TcpPassiveOpens"])

    def test_connections_are_listed_filtered_and_shown_as_the_kernel_sees_them(self):
        with connect(7) as echo, connect(9) as discard:
            echo.sendall(b"hello")
            harness.read_exactly(echo, 5)
            found = ask("/pollux/connections", "/pollux/connections,local_port=9",
                        f"/pollux/connections,remote_port={port_of(echo)},state=established",
                        "/pollux/connections,state=syn_sent", f"/pollux/connections,remote={KERNEL}",
                        "/pollux/connections,remote=203.0.113.9", "/pollux/connections,troubled=1")
            self.assertEqual([len(f["connections"]) for f in found], [2, 1, 1, 0, 2, 0, 0])
            name, summary = next(iter(found[2]["connections"].items()))
            self.assertEqual(summary["remote"], f"{KERNEL}:{port_of(echo)}")
            self.assertEqual(summary["local"], f"{STACK}:7")
            full = ask(f"/pollux/connection,{name}")
            info = echo.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            self.assertEqual(full["mss"], int.from_bytes(info[16:20], "little"), "snd_mss of the kernel")
            self.assertEqual((full["state"], full["sack"], full["timestamps"], full["congestion"], full["opened_by"]),
                             ("established", 1, 1, "cubic", "peer"))
            self.assertEqual((full["acknowledged_modulo_2_32"], full["send_q"], full["recv_q"]), (5, 0, 0))
            self.assertGreater(full["srtt_us"], 0)
            del discard

    def test_more_connections_than_one_answer_holds_come_page_by_page(self):
        sockets = [connect(7) for _ in range(95)]
        names, question, pages = set(), "/pollux/connections", 0
        while True:
            answer = ask(question)
            names |= set(answer["connections"])
            pages += 1
            if "next" not in answer:
                break
            question = f"/pollux/connections,cursor={answer['next']}"
        self.assertEqual((len(names), pages), (95, 3))
        for s in sockets:
            s.close()

    def test_closes_a_connection_by_reset(self):
        with connect(7) as s:
            name = next(iter(ask(f"/pollux/connections,remote_port={port_of(s)}")["connections"]))
            self.assertEqual(ask(f"/pollux/close,{name}"), {"closed": name})
            with self.assertRaises(ConnectionResetError):
                s.recv(1)
            self.assertIn("is gone", ask(f"/pollux/close,{name}")["error"])

    def test_shows_cores_ports_tables_and_configuration(self):
        cores, core, ports, queues, xstats, listeners, neighbors, routes, memory, config = ask(
            "/pollux/cores", "/pollux/core,0", "/pollux/ports", "/pollux/queues", "/pollux/xstats,net_tap0", "/pollux/listeners",
            "/pollux/neighbors", "/pollux/routes", "/pollux/memory", "/pollux/config")
        self.assertGreater(cores["0"]["turns"], core["loop"]["sleeps"])
        self.assertGreater(core["loop"]["busy_ns"], 0)
        self.assertGreater(core["pools"]["packets"], core["pools"]["packets_free_min"])
        self.assertEqual(core["tables"]["listeners"], 4)
        self.assertEqual(core["tables"]["kept_packets_max"], core["pools"]["packets"] // 4)
        self.assertEqual((ports["0"]["name"], ports["0"]["address"], ports["0"]["kernel_interface"]),
                         ("net_tap0", f"{STACK}/24", harness.DEVICE))
        self.assertEqual(queues["0/0"]["rx_packets"], ports["0"]["rx_packets"])
        self.assertEqual((queues["0/0"]["port"], queues["0/0"]["core"]), ("net_tap0", 0))
        self.assertGreaterEqual(xstats["rx_good_packets"], 1)
        self.assertEqual({entry["local"] for entry in listeners["tcp"].values()},
                         {f"0.0.0.0:{port}" for port in (7, 9, 19, 80)})
        self.assertEqual(set(listeners["udp"].values()), {f"0.0.0.0:{port}" for port in (7, 9, 19)})
        self.assertIn(KERNEL, [entry["address"] for entry in neighbors["neighbors"].values()])
        self.assertEqual(routes["total"], 1)
        self.assertEqual(routes["routes"]["0"], {"prefix": "192.0.2.0/24", "gateway": "on link", "port": "net_tap0"})
        self.assertGreater(memory["process_resident_bytes"], 1 << 20)
        self.assertEqual((config["tcp/nagle"], config["ports/0/addresses"], config["app/http_port"]),
                         ("true", f"{STACK}/24", "80"))

    def test_events_tell_the_life_of_a_connection_and_drops(self):
        with connect(7) as s:
            s.sendall(b"x")
            harness.read_exactly(s, 1)
            name = next(iter(ask(f"/pollux/connections,remote_port={port_of(s)}")["connections"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", (STACK, 4000))
        self.server.assert_idle()
        lines = list(ask(f"/pollux/events,connection={name}")["events"].values())
        self.assertEqual([line.split(" ", 3)[3] for line in lines],
                         ["state SYN-RECEIVED", "state ESTABLISHED", "state CLOSE-WAIT", "state LAST-ACK", "closed: normal"])
        self.assertRegex(lines[0], rf"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{6}} {name} state")
        when = time.mktime(time.strptime(lines[0][:19], "%Y-%m-%d %H:%M:%S")) - time.timezone
        self.assertLess(abs(time.time() - when), 60)

        def dropped():
            return any("dropped 1 x udp_no_socket" in line for line in ask("/pollux/events,last=5")["events"].values())
        harness.wait_until(dropped, 5, "the drop among the events")

    def test_sets_the_log_level(self):
        self.assertEqual(ask("/pollux/log_level"), {"log_level": "info"})
        self.assertEqual(ask("/pollux/log_level,error"), {"log_level": "error"})
        self.assertEqual(ask("/pollux/log_level,info"), {"log_level": "info"})
        self.assertIn("log level set to info", self.server.text())

    def test_mistakes_are_answered_with_what_was_expected(self):
        for (question, text), answer in zip(MISTAKES, ask(*(question for question, _ in MISTAKES))):
            self.assertIn(text, answer["error"], question)


class Drain(harness.unittest.TestCase):
    def test_drain_by_telemetry_refuses_new_connections_and_resets_after_its_timeout(self):
        server = harness.Server({"eal": {"file_prefix": PREFIX}, "drain_timeout": "1h"})
        with connect(7) as s:
            self.assertEqual(ask("/pollux/drain,timeout_ms=700"), {"draining": 1, "timeout_ms": 700})
            with self.assertRaises(TimeoutError):
                connect(7, timeout=0.3)
            with self.assertRaises(ConnectionResetError):
                s.recv(1)
        status, text = server.stop()
        self.assertEqual(status, 1)
        self.assertIn("1 connections were still open after the drain", text)


class Off(harness.unittest.TestCase):
    def test_without_the_socket_nothing_answers(self):
        server = harness.Server({"eal": {"file_prefix": PREFIX + "-off"}, "telemetry": {"socket": False}})
        self.assertFalse(harness.pathlib.Path(f"/run/dpdk/{PREFIX}-off/dpdk_telemetry.v2").exists())
        self.assertEqual(server.stop()[0], 0)
