"""The faulty wire, and goodput through it beside the kernel's own; all paths: goodput.py, GOODPUT.md."""
import concurrent.futures
import re
import unittest

import faulty_path
import harness
from faulty_path import FAR, Path

SECONDS = 4


def wire():
    return harness.build / "tests/kernel/fault_wire"


class FaultWire(unittest.TestCase):
    def test_delays_and_loses(self):
        """What the wire is told is what the kernel sees of it."""
        with faulty_path.FaultyPath(wire(), Path(rtt_ms=30, loss=0.5), False, seed=1) as path:
            out = harness.command(*path.near.enter, "ping", "-c", 40, "-i", "0.02", "-W", 1, FAR, check=False).stdout
            path.closing.remove(path.wire.close)
            counts = path.wire.close()
        received, least = int(re.search(r"(\d+) received", out)[1]), float(re.search(r"rtt min[^=]*= ([\d.]+)/", out)[1])
        self.assertTrue(5 <= received <= 35, out)
        self.assertTrue(30 <= least < 60, out)
        frames, lost = map(int, re.search(r"there: (\d+) frames, (\d+) lost", counts).groups())
        self.assertGreaterEqual(frames, 40)
        self.assertGreaterEqual(lost, 40 - received)
        self.assertRegex(counts, r"back: \d+ frames, 0 lost")


class Goodput(unittest.TestCase):
    def test_one_percent_loss(self):
        """1 % loss, 20 ms: not far below Linux on the same path, either way. One run is mostly chance: the floor is low."""
        path = Path(rtt_ms=20, loss=0.01)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            linux = pool.submit(faulty_path.linux_to_linux, wire(), path, SECONDS)
            sends = pool.submit(faulty_path.pollux_sends, wire(), harness.build, path, SECONDS)
            receives = pool.submit(faulty_path.pollux_receives, wire(), harness.build, path, SECONDS)
        print(f"    Mbit/s: Linux to Linux {linux.result():.2f}, Pollux to Linux {sends.result():.2f}, "
              f"Linux to Pollux {receives.result():.2f}")
        self.assertGreater(linux.result(), 1)
        self.assertGreater(sends.result(), 0.4 * linux.result())
        self.assertGreater(receives.result(), 0.4 * linux.result())
