"""apps/l4check on machines that are made of files."""
import pathlib
import shutil
import tempfile
import unittest

from harness import command

CHECK = pathlib.Path(__file__).parents[2] / "apps/l4check"


class Check(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="pollux-check-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.write("proc/self/status", "CapEff:\t000001ffffffffff\n")
        self.write("proc/cpuinfo", "".join(f"processor\t: {i}\nflags\t: sse4_2 popcnt constant_tsc\n" for i in range(4)))
        self.write("dev/net/tun")
        self.write("dev/vfio/vfio")
        self.write("sys/class/iommu/dmar0")
        self.pages(1024, 1024)

    def write(self, name, text=""):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def pages(self, total, free):
        folder = "sys/kernel/mm/hugepages/hugepages-2048kB"
        self.write(f"{folder}/nr_hugepages", f"{total}\n")
        self.write(f"{folder}/free_hugepages", f"{free}\n")

    def card(self, address, driver, interface=None):
        device = self.root / "sys/bus/pci/devices" / address
        for name, text in (("class", "0x020000"), ("vendor", "0x8086"), ("device", "0x1521"), ("numa_node", "1")):
            self.write(device.relative_to(self.root) / name, text + "\n")
        (device / "driver").symlink_to(f"../../drivers/{driver}")
        if interface:
            (device / "net" / interface).mkdir(parents=True)
            self.write(f"sys/class/net/{interface}/operstate", "up\n")

    def check(self, status=0):
        done = command(CHECK, "--root", self.root, check=False)
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def test_a_machine_that_has_everything(self):
        self.card("0000:01:00.0", "vfio-pci")
        out = self.check()
        self.assertNotIn("MISSING", out)
        self.assertIn('0000:01:00.0 (8086:1521) on NUMA node 1 is bound to vfio-pci: device: "0000:01:00.0"', out)
        self.assertIn("Pollux can run here on: net_tap, PCI cards", out)

    def test_a_card_of_the_kernels_and_how_to_get_it(self):
        self.card("0000:01:00.1", "igb", "eno2")
        out = self.check()
        self.assertIn("belongs to igb (it is eno2, which is up: do not cut yourself off)", out)
        self.assertIn("fix: ip link set eno2 down; dpdk-devbind.py --bind=vfio-pci 0000:01:00.1", out)

    def test_what_is_missing_has_its_command(self):
        for gone, fix in (("dev/net/tun", "modprobe tun"), ("dev/vfio/vfio", "modprobe vfio-pci"),
                          ("sys/class/iommu/dmar0", "intel_iommu=on iommu=pt")):
            with self.subTest(gone):
                (self.root / gone).unlink()
                self.assertRegex(self.check(0 if gone == "dev/net/tun" else 1), fix)

    def test_huge_pages(self):
        self.assertIn("ok      huge pages  2048 of 2048 MiB are free", self.check())
        self.pages(10, 3)
        self.assertIn("fix: echo 266 > /proc/sys/vm/nr_hugepages", self.check())

    def test_without_rights(self):
        self.write("proc/self/status", "CapEff:\t0000000000000000\n")
        self.assertIn("Pollux cannot run here yet", self.check(1))
