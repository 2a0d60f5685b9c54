"""HTTP with curl, wrk, ncat and by hand."""
import re
import socket
import time

import harness
from harness import command, connect, read_exactly, read_to_end, STACK

URL = f"http://{STACK}"
LINES = b"".join((bytes(range(32, 127)) * 2)[i:i + 72] + b"\r\n" for i in range(95))


def pattern(size):
    return (LINES * (size // len(LINES) + 1))[:size]


def curl(*words):
    return command("curl", "-sS", "--max-time", 30, *words)


def request(text):
    """Sends raw octets and returns everything up to the server's FIN."""
    with connect(80) as s:
        s.sendall(text)
        return read_to_end(s)


class Http(harness.ServerTest):
    def test_bodies_of_chosen_size(self):
        for size in (0, 1, 1447, 1448, 1449, 65536, 1 << 20, (8 << 20) + 3):
            with self.subTest(size=size):
                out = self.server.folder / "body"
                curl("-o", out, f"{URL}/{size}")
                self.assertEqual(out.read_bytes(), pattern(size))

    def test_the_default_body(self):
        self.assertEqual(curl(f"{URL}/").stdout.encode(), pattern(4096).replace(b"\r\n", b"\n"))

    def test_keep_alive_uses_one_connection(self):
        out = curl("-v", "-o", "/dev/null", f"{URL}/100", "-o", "/dev/null", f"{URL}/200000", "-o", "/dev/null",
                   f"{URL}/300").stdout
        self.assertEqual(len(re.findall(r"< HTTP/1.1 200 OK", out)), 3)
        self.assertEqual(self.grown("TcpPassiveOpens"), 1)

    def test_head_names_the_size_only(self):
        out = curl("-I", f"{URL}/123456789").stdout
        self.assertIn("Content-Length: 123456789", out)
        self.assertRegex(out, r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")

    def test_errors_have_their_status(self):
        cases = ((404, [f"{URL}/nothing"]), (404, [f"{URL}/99999999999999999"]), (405, ["-X", "DELETE", f"{URL}/1"]),
                 (405, ["-d", "some=form", f"{URL}/1"]), (400, ["-H", "Host:", f"{URL}/1"]))
        for status, words in cases:
            with self.subTest(words=words):
                out = curl("-o", "/dev/null", "-w", "%{http_code}", *words).stdout
                self.assertEqual(out, str(status))

    def test_a_head_beyond_the_limit_is_refused(self):
        answer = request(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 431 "), answer[:40])

    def test_a_head_just_below_the_limit_is_accepted(self):
        head = b"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: "
        answer = request(head + b"x" * (8192 - len(head) - 4) + b"\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:40])

    def test_garbage_is_refused(self):
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"hello\r\n\r\n",
                        b"GET / HTTP/1.1\r\nnonsense\r\n\r\n"):
            with self.subTest(garbage=garbage):
                self.assertTrue(request(garbage).startswith(b"HTTP/1.1 400 "))

    def test_a_request_in_single_octets(self):
        with connect(80) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":
                s.send(bytes([octet]))
            self.assertTrue(read_to_end(s).endswith(b"\r\n\r\n" + pattern(3)))

    def test_pipelined_requests_are_answered_in_order(self):
        sizes = [0, 1, 100_000, 2, 50_000, 3] * 20
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in sizes)
        with connect(80) as s:
            s.sendall(requests)
            s.shutdown(socket.SHUT_WR)
            rest = read_to_end(s)
        for size in sizes:
            head, rest = rest.split(b"\r\n\r\n", 1)
            self.assertIn(b"Content-Length: %d\r\n" % size, head + b"\r\n")
            self.assertEqual(rest[:size], pattern(size))
            rest = rest[size:]
        self.assertEqual(rest, b"")

    def test_requests_behind_a_close_are_not_answered(self):
        close = b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        self.assertEqual(request(close * 5).count(b"HTTP/1.1"), 1)

    def test_http_1_0_ends_with_the_body(self):
        answer = request(b"GET /10 HTTP/1.0\r\n\r\n")
        self.assertTrue(answer.endswith(b"\r\n\r\n" + pattern(10)))
        self.assertIn(b"Connection: close", answer)

    def test_a_reader_that_pauses_gets_all_of_a_large_body(self):
        with connect(80, rcvbuf=8192) as s:
            s.sendall(b"GET /3000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            harness.wait_until(lambda: self.grown("TcpExtTCPWinProbe"), 10, "a zero-window probe")
            body = read_to_end(s).split(b"\r\n\r\n", 1)[1]
        self.assertEqual(body, pattern(3_000_000))

    def test_a_client_that_leaves_in_the_middle(self):
        for _ in range(20):
            s = connect(80)
            s.sendall(b"GET /100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            read_exactly(s, 100_000)
            harness.reset(s)

    def test_too_much_pipelined_in_small_pieces_is_cut_off(self):
        with connect(80, rcvbuf=4096) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.sendall(b"GET /10000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            with self.assertRaises((ConnectionResetError, BrokenPipeError)):
                for _ in range(5000):
                    s.send(b"G")
                    time.sleep(0.0005)  # lest the kernel put many into one segment

    def test_who_does_not_close_after_us_is_reset(self):
        with connect(80) as s:
            s.sendall(b"GET /1 HTTP/1.0\r\n\r\n")
            read_to_end(s)
            harness.wait_until(lambda: self.grown("PxTcpClosed"), 10, "the server giving up on our FIN")
            self.assertGreaterEqual(self.grown("TcpOutRsts"), 1)

    def test_wrk_finds_no_errors(self):
        for connections, path in ((1, "/100"), (50, "/1000"), (100, "/100000")):
            with self.subTest(connections=connections):
                out = command("wrk", "-t", 1, "-c", connections, "-d", "1s", f"{URL}{path}").stdout
                self.assertNotIn("Socket errors", out)
                self.assertNotIn("Non-2xx", out)
                self.assertGreater(int(re.search(r"(\d+) requests in", out)[1]), 100)

    def test_ncat_gets_an_answer(self):
        out = command("sh", "-c", f"printf 'GET /20 HTTP/1.0\\r\\n\\r\\n' | ncat -w 5 {STACK} 80").stdout
        self.assertIn("200 OK", out)
        self.assertIn(pattern(20).decode(), out)

    def test_ncat_echoes_a_file(self):
        data = self.server.folder / "data"
        data.write_bytes(pattern(1_000_000))
        command("sh", "-c", f"ncat -w 5 {STACK} 7 < {data} | cmp - {data}")
