"""UDP: echo, discard, chargen and closed ports."""
import random
import socket

import harness
from harness import KERNEL, STACK


def client(port, source=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((KERNEL, source))
    s.settimeout(2)
    s.connect((STACK, port))
    return s


class Udp(harness.ServerTest):
    def test_every_size_is_echoed(self):
        noise = random.Random(1).randbytes(4096)
        with client(7) as s:
            for size in range(1, 1473):
                data = noise[size:size + size]
                s.send(data)
                self.assertEqual(s.recv(2048), data, f"size {size}")

    def test_an_empty_datagram_is_echoed(self):
        with client(7) as s:
            s.send(b"")
            self.assertEqual(s.recv(2048), b"")

    def test_a_burst_is_echoed_in_order(self):
        with client(7) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for burst in range(20):
                sent = [b"%d/%d" % (burst, i) * 50 for i in range(32)]
                for data in sent:
                    s.send(data)
                self.assertEqual([s.recv(2048) for _ in sent], sent)

    def test_two_clients_get_their_own(self):
        with client(7) as a, client(7) as b:
            a.send(b"a")
            b.send(b"b")
            self.assertEqual((a.recv(9), b.recv(9)), (b"a", b"b"))

    def test_a_closed_port_refuses(self):
        with client(4444) as s:
            s.send(b"anybody?")
            with self.assertRaises(ConnectionRefusedError):
                s.recv(1)
        self.assertEqual(self.grown("udp_no_socket"), 1)
        self.assertEqual(self.grown("IcmpOutDestUnreachs"), 1)

    def test_discard_takes_and_says_nothing(self):
        with client(9) as s:
            s.settimeout(0.2)
            s.send(b"into the void")
            with self.assertRaises(TimeoutError):
                s.recv(1)
        self.assertEqual(self.grown("UdpInDatagrams"), 1)

    def test_chargen_answers_with_a_line(self):
        with client(19) as s:
            s.send(b"?")
            line = s.recv(2048)
        self.assertEqual(line, bytes(range(32, 104)) + b"\r\n")

    def test_another_small_service_is_not_answered(self):
        for port in (7, 19):
            with self.subTest(port=port), client(port, source=7) as s:
                s.settimeout(0.2)
                s.send(b"echo to echo")
                with self.assertRaises(TimeoutError):
                    s.recv(1)

    def test_an_unreachable_from_the_kernel_does_no_harm(self):
        def provoked():
            with client(7) as s:
                s.send(b"answer me")  # and nobody is left to hear it: the kernel says port unreachable
            return self.grown("IcmpInDestUnreachs")
        harness.wait_until(provoked, 5, "an ICMP error from the kernel")
        with client(7) as again:
            again.send(b"still there?")
            self.assertEqual(again.recv(99), b"still there?")
