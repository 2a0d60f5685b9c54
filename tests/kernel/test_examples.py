"""The example servers: the same echo by handlers, coroutines and the C API, with kernel clients."""
import os
import signal
import socket
import time
import unittest

import harness
import traffic
from harness import connect, read_exactly, read_to_end
from traffic import NOISE


class Example(unittest.TestCase):
    program = None
    sections = {"tcp": {**harness.PATIENT}}

    def setUp(self):
        self.server = harness.Server(self.sections, example=self.program)
        self.ended = False
        self.addCleanup(lambda: self.ended or self.server.stop(signal.SIGKILL))

    def test_serves_many_drains_and_leaves_nothing(self):
        outcome = traffic.many_flows(harness.STACK, 7, 50, 100_000)
        self.assertEqual(outcome.differences, [])
        self.assertEqual(outcome.received, 50 * 100_000)
        for i in range(100):
            with connect(7) as s:
                s.sendall(NOISE[:i + 1])
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(read_to_end(s), NOISE[:i + 1])
        with connect(7) as s:  # one that resets
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.sendall(NOISE)
        self.server.assert_idle()
        with connect(7) as s:  # one that is open when the end comes may finish
            s.sendall(b"before")
            self.assertEqual(read_exactly(s, 6), b"before")
            self.server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            s.sendall(b"after")
            self.assertEqual(read_exactly(s, 5), b"after")
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(s), b"")
        status, text = self.server.stop()
        self.ended = True
        self.assertEqual(status, 0, text)


class Handlers(Example):
    program = "echo_server"


class Coroutines(Example):
    program = "echo_coroutine"


class CApi(Example):
    program = "echo_epoll"


class CApiOnTwoCores(Example):
    program = "echo_epoll"
    sections = {"tcp": {**harness.PATIENT}, "cores": (sorted(os.sched_getaffinity(0)) * 2)[:2], "share_cpus": True}


del Example  # from the loader's sight
