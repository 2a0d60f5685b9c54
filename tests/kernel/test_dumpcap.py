"""DPDK's own capture programs, Debian's dpdk-dumpcap and dpdk-pdump, attach to l4echo; that takes huge pages, which processes can
share."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from harness import KERNEL, STACK, command, connect

PREFIX = f"pollux-dumpcap-test-{os.getpid()}-{time.monotonic_ns()}"
PAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")


class Dumpcap(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pollux-huge-"))
        self.addCleanup(shutil.rmtree, self.folder)
        before = int(PAGES.read_text())
        self.addCleanup(PAGES.write_text, f"{before}\n")
        PAGES.write_text(f"{before + 256}\n")
        (self.folder / "huge").mkdir()
        command("mount", "-t", "hugetlbfs", "none", self.folder / "huge")  # in this test run's mount namespace
        self.addCleanup(command, "umount", self.folder / "huge")

    def test_captures_what_comes_and_goes(self):
        server = harness.Server({"eal": {"huge_pages": "required", "multi_process": True, "file_prefix": PREFIX},
                                 "pool": {"packets": 4095, "clones": 4095}})
        try:
            file = self.folder / "capture.pcapng"
            with open(self.folder / "log", "w") as log:
                capture = subprocess.Popen(["dpdk-dumpcap", f"--file-prefix={PREFIX}", "-i", "0", "-w", file],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            try:
                harness.wait_until(lambda: capture.poll() is not None or file.exists(), 30, "dpdk-dumpcap capturing")
                time.sleep(1)  # its taps are set after the file is made
                with connect(7) as s:
                    s.sendall(b"for the record")
                    self.assertEqual(harness.read_exactly(s, 14), b"for the record")
                time.sleep(1)
            finally:
                capture.terminate() if capture.poll() is None else None
                capture.wait(20)
            hexed = b"for the record".hex()
            self.assertEqual(self.payloads(file), [KERNEL, hexed, STACK, hexed],
                             (self.folder / "log").read_text() + server.text())
        finally:
            status, text = server.stop()
        self.assertEqual(status, 0, text[-2000:])

    def test_dpdk_pdump_too(self):
        server = harness.Server({"eal": {"huge_pages": "required", "multi_process": True, "file_prefix": PREFIX},
                                 "pool": {"packets": 4095, "clones": 4095}})
        try:
            rx, tx = self.folder / "rx.pcap", self.folder / "tx.pcap"
            with open(self.folder / "log", "w") as log:
                dump = subprocess.Popen(["dpdk-pdump", f"--file-prefix={PREFIX}", "--", "--pdump",
                                         f"port=0,queue=*,rx-dev={rx},tx-dev={tx}"],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            try:
                harness.wait_until(lambda: dump.poll() is not None or tx.exists(), 30, "dpdk-pdump capturing")
                time.sleep(1)
                with connect(7) as s:
                    s.sendall(b"for the record")
                    self.assertEqual(harness.read_exactly(s, 14), b"for the record")
                time.sleep(1)
            finally:
                dump.send_signal(signal.SIGINT) if dump.poll() is None else None
                dump.wait(20)
            seen = [self.payloads(file) for file in (rx, tx)]
            hexed = b"for the record".hex()
            self.assertEqual(seen, [[KERNEL, hexed], [STACK, hexed]], (self.folder / "log").read_text() + server.text())
        finally:
            status, text = server.stop()
        self.assertEqual(status, 0, text[-2000:])

    def payloads(self, file):
        return subprocess.run(["tshark", "-r", file, "-Y", "tcp.len==14", "-T", "fields", "-e", "ip.src", "-e", "tcp.payload"],
                              capture_output=True, text=True, timeout=60, check=False).stdout.split()

    def test_without_huge_pages_the_key_is_refused(self):
        config = self.folder / "l4echo.yaml"
        config.write_text(harness.config_text("net_tap0", "px9", STACK, {"eal": {"multi_process": True, "file_prefix": PREFIX}}))
        done = command(harness.build / "apps/l4echo", "--config", config, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"eal\.multi_process: expected huge pages, the memory that processes can share")
