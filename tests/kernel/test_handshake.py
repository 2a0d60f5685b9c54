"""What tcpdump sees of the options in l4echo's handshakes."""
import re

import harness
from capture import Capture
from harness import connect, STACK


class Passive(harness.ServerTest):
    def syn_ack(self):
        capture = Capture(f"src host {STACK} and tcp[13] = 18")
        with connect(7):
            return capture.text()

    def test_the_syn_ack_agrees_to_what_was_offered(self):
        text = self.syn_ack()
        self.assertIn("mss 1460", text)
        self.assertRegex(text, r"wscale \d+")
        self.assertRegex(text, r"TS val \d+ ecr [1-9]\d*")
        self.assertIn("(correct)", text)  # the checksum

    def test_the_syn_ack_offers_nothing_that_was_not(self):
        for name in ("tcp_timestamps", "tcp_window_scaling", "tcp_sack"):
            harness.sysctl(f"net/ipv4/{name}", 0)
        try:
            text = self.syn_ack()
        finally:
            for name in ("tcp_timestamps", "tcp_window_scaling", "tcp_sack"):
                harness.sysctl(f"net/ipv4/{name}", 1)
        self.assertIn("mss 1460", text)
        for word in ("wscale", "TS val", "sackOK"):
            self.assertNotIn(word, text)

    def test_initial_sequence_numbers_differ(self):
        numbers = {re.search(r"seq (\d+)", self.syn_ack())[1] for _ in range(3)}
        self.assertEqual(len(numbers), 3)


class PassiveWithoutOptions(Passive):
    sections = {"tcp": {"timestamps": False, "window_scaling": False}}

    def test_the_syn_ack_agrees_to_what_was_offered(self):
        text = self.syn_ack()
        self.assertIn("mss 1460", text)
        self.assertNotIn("wscale", text)
        self.assertNotIn("TS val", text)
