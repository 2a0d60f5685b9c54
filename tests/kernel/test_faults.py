"""Peers that reset, stall, vanish or flood, and what the stack has left afterwards."""
import socket
import struct
import time

import frames
import harness
import traffic
from harness import connect, read_exactly, read_to_end, reset, KERNEL, STACK
from traffic import NOISE


class Resets(harness.ServerTest):
    def test_in_many_moments(self):
        """A peer's RST right after the handshake, under data in either direction, half closed, with unread data."""
        def at_once(s):
            reset(s)

        def after_sending(s):
            s.sendall(NOISE[:100_000])
            reset(s)

        def while_reading(s):
            s.sendall(NOISE[:100_000])
            read_exactly(s, 10_000)
            reset(s)

        def half_closed(s):
            s.sendall(NOISE[:50_000])
            s.shutdown(socket.SHUT_WR)
            reset(s)

        def after_everything(s):
            s.sendall(b"bye")
            s.shutdown(socket.SHUT_WR)
            read_to_end(s)
            reset(s)

        def close_with_unread_data(s):
            s.sendall(NOISE[:50_000])
            time.sleep(0.02)
            s.close()  # the kernel resets: it has received what nobody will read

        for moment in (at_once, after_sending, while_reading, half_closed, after_everything, close_with_unread_data):
            for port in (7, 9, 19, 80):
                if port != 7 and moment in (while_reading, after_everything):
                    continue
                with self.subTest(moment=moment.__name__, port=port):
                    for _ in range(10):
                        moment(connect(port))
        self.server.assert_idle()

    def test_at_random_depths(self):
        for i in range(300):
            s = connect(7)
            s.setblocking(False)
            try:
                s.send(NOISE[:i * 997 % 200_000])
                s.recv(i * 31 % 5000 + 1)
            except BlockingIOError:
                pass
            reset(s)


class Stalls(harness.ServerTest):
    def test_a_reader_that_stops_and_goes_on(self):
        """Window zero, probes, then everything, unharmed; meanwhile the stack holds a bounded amount."""
        with connect(7, rcvbuf=4096) as s:
            s.setblocking(False)
            sent, quiet = bytearray(), 0
            while quiet < 20:  # until nothing more goes in for 0.4 s
                try:
                    n = s.send(NOISE[len(sent) % 65536:][:65536])
                    sent += NOISE[len(sent) % 65536:][:n]
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    time.sleep(0.02)
            self.assertLess(len(sent), 8 << 20)
            harness.wait_until(lambda: self.grown("TcpExtTCPWinProbe") >= 2, 10, "two zero-window probes")
            self.assertGreater(self.grown("TcpExtTCPToZeroWindowAdv"), 0)
            with connect(7) as other:  # nobody else suffers
                other.sendall(b"and me?")
                self.assertEqual(read_exactly(other, 7), b"and me?")
            s.settimeout(20)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(s), bytes(sent))

    def test_a_stopped_chargen_reader_costs_a_bounded_amount(self):
        with connect(19, rcvbuf=4096) as s:
            time.sleep(0.5)
            stalled = self.server.counters()
            time.sleep(0.5)
            self.assertEqual(self.server.counters()["mbufs"], stalled["mbufs"])
            self.assertLess(stalled["mbufs"] - self.server.idle["mbufs"], 1000)
            reset(s)

    def test_a_dribbling_reader(self):
        with connect(7, rcvbuf=4096, timeout=20) as s:
            s.sendall(NOISE[:100_000])
            s.shutdown(socket.SHUT_WR)
            data = bytearray()
            while piece := s.recv(777):
                data += piece
                if len(data) % 7 == 0:
                    time.sleep(0.001)
            self.assertEqual(data, NOISE[:100_000])


class Vanishing(harness.ServerTest):
    """Peers that say nothing any more are given up by the options for that, and everything they held returns."""
    sections = {"tcp": {"retries_max": 3, "keepalive": True, "keepalive_idle": "1s", "keepalive_interval": "1s",
                        "keepalive_count": 2, "syn_ack_retries_max": 2}}

    def vanish(self, sockets, counter):
        """The kernel ignores everything until the stack has given every connection up."""
        harness.command("ip", "address", "delete", f"{KERNEL}/24", "dev", harness.DEVICE)
        try:
            harness.wait_until(lambda: self.grown("TcpExtTCPAbortOnTimeout") >= len(sockets), 30,
                               lambda: f"{self.grown('TcpExtTCPAbortOnTimeout')} of {len(sockets)} timed out")
            self.server.assert_idle()
            self.assertGreater(self.grown(counter), 0)
        finally:
            harness.command("ip", "address", "add", f"{KERNEL}/24", "dev", harness.DEVICE)
            for s in sockets:
                reset(s)
        self.assert_served()

    def assert_served(self):
        harness.wait_until(lambda: harness.command("ping", "-c", 1, "-W", 1, STACK, check=False).returncode == 0, 10,
                           "ping works again")
        with connect(7) as s:
            s.sendall(b"back")
            self.assertEqual(read_exactly(s, 4), b"back")

    def test_during_a_transfer(self):
        sockets = [connect(19) for _ in range(10)]
        for s in sockets:
            read_exactly(s, 100_000)
        self.vanish(sockets, "TcpRetransSegs")

    def test_while_idle(self):
        sockets = [connect(7) for _ in range(10)]
        for s in sockets:
            s.sendall(b"x")
            read_exactly(s, 1)
        self.vanish(sockets, "TcpExtTCPKeepAlive")

    def test_with_the_link(self):
        """The device takes nothing any more. What waits for it is bounded, and goes when the link is back."""
        sockets = [connect(19) for _ in range(10)]
        for s in sockets:
            read_exactly(s, 100_000)
        harness.link("down")
        try:
            harness.wait_until(lambda: self.grown("TcpExtTCPAbortOnTimeout") >= 10, 30, "ten connections timed out")
            self.assertLess(self.server.counters()["mbufs"] - self.server.idle["mbufs"], 600)
        finally:
            harness.link("up")
            for s in sockets:
                reset(s)
        self.assert_served()

    def test_keepalive_leaves_a_living_peer_alone(self):
        with connect(7) as s:
            time.sleep(4)
            self.assertGreaterEqual(self.grown("TcpExtTCPKeepAlive"), 2)
            s.sendall(b"alive")
            self.assertEqual(read_exactly(s, 5), b"alive")

    def test_in_the_handshake(self):
        """SYNs from an address that does not answer ARP: the half-open connections go away by themselves."""
        src = "192.0.2.99"
        with frames.Wire() as wire:
            for port in range(2000, 2010):
                wire.send(wire.ethernet(frames.ip4(frames.tcp("S", sport=port, src=src), src=src)))
        harness.wait_until(lambda: self.server.counters()["connections"] == 10, 2, "ten half-open connections")
        self.server.assert_idle(seconds=20)


class Backlog(harness.ServerTest):
    sections = {"app": {"backlog": 16}, "tcp": {"syn_cookies": "off"}}

    def test_a_syn_flood_is_bounded_and_service_comes_back(self):
        src = "192.0.2.99"
        with frames.Wire() as wire:
            for port in range(2000, 2040):
                wire.send(wire.ethernet(frames.ip4(frames.tcp("S", sport=port, seq=port, src=src), src=src)))
            harness.wait_until(lambda: self.grown("tcp_backlog_full") == 24, 2,
                               lambda: f"24 SYNs dropped, not {self.grown('tcp_backlog_full')}")
            with self.assertRaises(TimeoutError):
                connect(7, timeout=0.5)
            with connect(9) as s:  # another port has a backlog of its own
                s.sendall(b"x")
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(s.recv(1), b"")
            for port in range(2000, 2040):  # the flood ends by RST
                wire.send(wire.ethernet(frames.ip4(frames.tcp("R", sport=port, seq=port + 1, src=src), src=src)))
        with connect(7) as s:
            s.sendall(b"served again")
            self.assertEqual(read_exactly(s, 12), b"served again")


class Cookies(harness.ServerTest):
    """A flood that fills the backlog keeps nobody out: the kernel's SYNs are answered by cookies."""
    sections = {"app": {"backlog": 16}, "tcp": {"syn_ack_retries_max": 1}}

    def test_the_kernel_connects_during_a_syn_flood(self):
        src = "192.0.2.99"
        with frames.Wire() as wire:
            for port in range(2000, 2040):
                wire.send(wire.ethernet(frames.ip4(frames.tcp("S", sport=port, seq=port, src=src), src=src)))
        harness.wait_until(lambda: self.grown("TcpExtSyncookiesSent") >= 24, 2, "24 SYNs answered by cookies")
        sockets = [connect(7) for _ in range(20)]
        harness.wait_until(lambda: self.grown("TcpExtSyncookiesRecv") == 20, 2, "20 cookies came back")
        for s in sockets:
            s.sendall(NOISE[:50_000])
        for s in sockets:
            self.assertEqual(read_exactly(s, 50_000), NOISE[:50_000])
            s.close()

    def test_a_made_up_ack_is_reset(self):
        with frames.Wire() as wire:
            for port in range(2100, 2140):
                wire.send(wire.ethernet(frames.ip4(frames.tcp("S", sport=port, src="192.0.2.99"), src="192.0.2.99")))
            harness.wait_until(lambda: self.grown("TcpExtSyncookiesSent") > 0, 2, "a cookie is sent")
            wire.send(wire.ethernet(frames.ip4(frames.tcp("A", sport=2200, ack=77))))
            self.assertIsNotNone(wire.receive(lambda f: f[36:38] == struct.pack("!H", 2200) and f[47] == 4))
        self.assertEqual(self.grown("TcpExtSyncookiesFailed"), 1)


class FastOpen(harness.ServerTest):
    sections = {"tcp": {"fast_open": True}}

    def test_the_kernel_sends_data_with_its_second_syn(self):
        """The first connection brings the kernel a cookie (RFC 7413), which the next ones use."""
        harness.sysctl("net/ipv4/tcp_fastopen", 1)
        for i in range(4):
            with socket.socket() as s:
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a timeout of Python's makes it non-blocking
                    s.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 5, 0))
                s.sendto(b"early data %d" % i, socket.MSG_FASTOPEN, (STACK, 7))
                self.assertEqual(read_exactly(s, 12), b"early data %d" % i)
                s.sendall(NOISE[:50_000])
                self.assertEqual(read_exactly(s, 50_000), NOISE[:50_000])
        self.assertEqual(self.grown("TcpExtTCPFastOpenPassive"), 3)


class EmptyPool(harness.ServerTest):
    """More data than the pool holds: what is established goes on, slowly, and everything recovers by itself."""
    sections = {"pool": {"packets": 4095, "clones": 4095}}

    def test_flows_that_together_want_more_than_there_is(self):
        outcome = traffic.many_flows(STACK, 7, 100, 256 << 10, seconds=20)
        self.assertEqual(outcome.differences, [])

    def test_readers_that_stop_do_not_stop_the_others(self):
        stalled = []
        for _ in range(100):
            s = connect(7, rcvbuf=4096)
            s.setblocking(False)
            stalled.append(s)
        for s in stalled:
            try:
                while True:
                    s.send(NOISE[:65536])
            except BlockingIOError:
                pass
        try:
            time.sleep(1)
            self.assertGreater(self.server.counters()["connections"], 99)
            out = harness.command("ping", "-c", 5, "-i", "0.2", "-W", 2, STACK, check=False).stdout
            self.assertIn(" 0% packet loss", out)
        finally:
            for s in stalled:
                reset(s)
        with connect(7) as s:
            s.sendall(b"recovered")
            self.assertEqual(read_exactly(s, 9), b"recovered")


class ConnectionLimit(harness.ServerTest):
    sections = {"tcp": {"connections_max": 50}}

    def test_the_limit_refuses_new_ones_and_keeps_the_old(self):
        sockets = [connect(7) for _ in range(50)]
        with self.assertRaises(OSError):
            connect(7, timeout=0.5)
        self.assertGreater(self.grown("tcp_connections_full"), 0)
        for s in sockets:
            s.sendall(b"x")
            self.assertEqual(s.recv(1), b"x")
            s.close()
        self.server.assert_idle()
        with connect(7) as s:
            s.sendall(b"room again")
            self.assertEqual(read_exactly(s, 10), b"room again")
