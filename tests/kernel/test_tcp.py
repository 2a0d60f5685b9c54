"""Kernel clients of l4echo's TCP ports on a wire that loses nothing."""
import socket
import time

import harness
import traffic
from harness import connect, read_exactly, read_to_end, STACK
from test_telemetry import ask, PREFIX
from traffic import NOISE

class Urgent(harness.ServerTest):
    def test_urgent_data_stays_in_its_place(self):
        """MSG_OOB sets the urgent pointer; its octets are echoed where they were, with what is around them."""
        with connect(7) as s:
            for piece, flags in ((b"before ", 0), (b"urgent!", socket.MSG_OOB), (b" after", 0)):
                s.send(piece, flags)
            self.assertEqual(read_exactly(s, 20), b"before urgent! after")
        self.assertEqual(self.grown("TcpEstabResets"), 0)


class Clamped(harness.ServerTest):
    sections = {"tcp": {"mss_max": 900}}

    def test_the_kernel_is_asked_for_small_segments(self):
        with connect(7) as s:
            s.sendall(bytes(100_000))
            self.assertEqual(read_exactly(s, 100_000), bytes(100_000))
            # The kernel counts the timestamps' 12 octets out.
            self.assertEqual(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), 888)


class Paced(harness.ServerTest):
    sections = {"tcp": {"pacing": True, "pacing_rate_max": "1MiB"}}

    def test_the_cap_is_kept(self):
        """A MiB takes a second, neither much less nor much more, and nothing is lost on the way."""
        with connect(19) as s:
            began = time.monotonic()
            read_exactly(s, 1 << 20)
            took = time.monotonic() - began
        self.assertGreater(took, 0.9)
        self.assertLess(took, 2)
        self.assertGreater(self.grown("PxTcpPacingWaits"), 100)
        self.assertEqual(self.grown("TcpRetransSegs"), 0)


class Bbr(harness.ServerTest):
    sections = {"eal": {"file_prefix": PREFIX}, "tcp": {"congestion": "bbr"}}

    def test_the_kernel_receives_a_transfer(self):
        """8 MiB and what an echo makes of NOISE, paced, and none of it sent for nothing."""
        with connect(19) as s:
            self.assertEqual(len(read_exactly(s, 8 << 20)), 8 << 20)
            (name,) = ask("/pollux/connections,local_port=19")["connections"]
            told = ask(f"/pollux/connection,{name}")
        self.assertEqual(told["congestion"], "bbr")
        self.assertGreater(told["pacing_rate"], 0)
        self.assertGreater(told["delivery_rate"], 1 << 20, "of a wire without a limit")
        self.assertIn(told["bbr_state"].split("_")[0], ("startup", "drain", "probe"))
        with connect(7) as s:
            s.sendall(NOISE[:200_000])
            self.assertEqual(read_exactly(s, 200_000), NOISE[:200_000])
        self.assertLess(self.grown("TcpRetransSegs"), 10)  # of reset connections' tails and a busy machine's probes


class Tcp(harness.ServerTest):
    """The stack has its default timers here, tail loss probes included: on a wire that loses nothing it repeats nothing
    but the octets of a few probes, which it sends where a busy machine keeps the kernel from answering for longer than a
    probe waits. The kernel's timers are made patient, since what *it* repeats says nothing about the stack."""
    sections = {"pool": {"packets": 65535, "clones": 65535}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        harness.make_kernel_patient(harness.DEVICE, harness.KERNEL)

    def setUp(self):
        super().setUp()
        self.kernel = traffic.kernel_counters()

    def assert_clean_wire(self, flows=1):
        """Neither side had to repair anything: no loss, no bad segment, no retransmission but by a tail loss probe."""
        probes = self.grown("TcpExtTCPLossProbes")
        self.assertLessEqual(probes, 2 + flows // 10, "tail loss probes")
        after = traffic.kernel_counters()
        trouble = {name: after[name] - self.kernel[name] for name in traffic.TROUBLE
                   if after.get(name, 0) != self.kernel.get(name, 0)}
        if trouble.get("TcpExtTCPDSACKOldSent", 0) <= probes:
            trouble.pop("TcpExtTCPDSACKOldSent", None)
        self.assertEqual(trouble, {}, f"the kernel's counters; {probes} tail loss probes")
        self.assertLessEqual(self.grown("TcpRetransSegs"), probes)
        for name in ("TcpExtTCPTimeouts", "tcp_bad_checksum", "tx_batch_full", "no_mbuf"):
            self.assertEqual(self.grown(name), 0, name)
        return probes

    def until_nothing_is_repeated(self, transfer, flows=1):
        """A machine that stands still may call for a probe, but not each time: one transfer of a few repeats nothing at all."""
        probes = []
        for _ in range(5):
            self.before = self.server.counters()
            self.kernel = traffic.kernel_counters()
            transfer()
            probes.append(self.assert_clean_wire(flows))
            if probes[-1] == 0:
                return
        self.fail(f"tail loss probes in each of the transfers: {probes}")

    def test_one_flow_of_64_MiB(self):
        size = 64 << 20

        def transfer():
            with connect(7, timeout=30) as s:
                outcome = traffic.one_flow(s, size)
            self.assertEqual(outcome.differences, [])
            self.assertEqual(outcome.received, size)
            self.server.assert_idle()
            self.assertEqual(self.grown("PxTcpInBytes"), size)
            self.assertEqual(self.grown("PxTcpOutBytes"), size)
        self.until_nothing_is_repeated(transfer)

    def test_200_flows_at_once(self):
        """Each sends 256 KiB of its own and closes its half; all are open before the first octet."""
        def all_open():
            self.assertEqual(self.server.counters()["connections"], 200)

        def transfer():
            outcome = traffic.many_flows(STACK, 7, 200, 256 << 10, sndbuf=16384, when_open=all_open)
            self.assertEqual(outcome.differences, [])
            self.assertEqual(outcome.received, 200 * (256 << 10))
            self.server.assert_idle()
        self.until_nothing_is_repeated(transfer, flows=200)

    def test_10000_short_connections_leave_nothing_behind(self):
        count = 1000 if harness.quick else 10000
        for i in range(count):
            with connect(7) as s:
                message = b"connection %d" % i
                s.sendall(message)
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_to_end(s), message)
        after = self.server.assert_idle()
        self.assertEqual(after.since(self.before, "TcpPassiveOpens"), count)
        self.assertEqual(after.since(self.before, "TcpEstabResets"), 0)
        self.assert_clean_wire()

    def test_messages_of_every_small_size(self):
        with connect(7) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for size in [*range(1, 200), *range(1440, 1470), 2896, 2897, 65535, 65536]:
                s.sendall(NOISE[:size])
                self.assertEqual(read_exactly(s, size), NOISE[:size], f"size {size}")
        self.assert_clean_wire()

    def test_single_octets_without_waiting(self):
        with connect(7) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(5000):
                s.send(NOISE[i:i + 1])
            self.assertEqual(read_exactly(s, 5000), NOISE[:5000])

    def test_half_close_then_read_everything(self):
        for size in (0, 1, 1000, 100_000, 400_000):
            with self.subTest(size=size), connect(7) as s:
                s.sendall(NOISE[:size])
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_to_end(s), NOISE[:size])

    def test_data_and_fin_in_one_segment(self):
        with connect(7) as s:
            s.setsockopt(socket.IPPROTO_TCP, 3, 1)  # TCP_CORK: the FIN rides on the data
            s.sendall(b"last words")
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(s), b"last words")

    def test_a_round_trip_is_quick(self):
        """Neither Nagle nor a delayed ACK stands in the way of a lone message."""
        with connect(7) as s:
            outcome = traffic.round_trips(s, 200, 4)
        self.assertEqual(outcome.differences, [])
        self.assertLess(outcome.quantile(0.5), 0.01)

    def test_a_closed_port_refuses(self):
        with self.assertRaises(ConnectionRefusedError):
            connect(4444)
        self.assertEqual(self.grown("tcp_no_connection"), 1)
        self.assertEqual(self.grown("TcpOutRsts"), 1)

    def test_discard_takes_everything(self):
        with connect(9) as s:
            s.sendall(NOISE)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(s), b"")
        self.assertEqual(self.grown("PxTcpInBytes"), len(NOISE))
        self.assert_clean_wire()

    def test_chargen_sends_the_pattern_until_we_leave(self):
        printable = bytes(range(32, 127))
        lines = b"".join((printable + printable)[i:i + 72] + b"\r\n" for i in range(95))
        with connect(19) as s:
            data = read_exactly(s, 3 << 20)
            self.assertEqual(data, (lines * (len(data) // len(lines) + 1))[:len(data)])
            harness.reset(s)

    def test_the_other_end_is_told_the_right_addresses(self):
        with connect(7) as s:
            self.assertEqual(s.getpeername(), (STACK, 7))

    def test_fast_open_and_unknown_options_are_ignored(self):
        s = socket.socket()
        s.settimeout(5)
        with s:
            s.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT: an option that the stack does not know
            s.connect((STACK, 7))
            s.sendall(b"hello")
            self.assertEqual(read_exactly(s, 5), b"hello")

    def test_a_peer_without_options_is_served(self):
        """Timestamps, window scaling and SACK off on the kernel's side, and a small MSS."""
        names = ("tcp_timestamps", "tcp_window_scaling", "tcp_sack")
        for name in names:
            harness.sysctl(f"net/ipv4/{name}", 0)
        try:
            with connect(7, maxseg=536) as s:
                outcome = traffic.one_flow(s, 1 << 20)
            self.assertEqual(outcome.differences, [])
            self.assertEqual(outcome.received, 1 << 20)
        finally:
            for name in names:
                harness.sysctl(f"net/ipv4/{name}", 1)
