"""Inside the virtual machine: l4echo on net_e1000_igb, the guest kernel's igb in a namespace of its own as the peer.

Everything runs as root and is gone when the machine ends. Prints a line for each test and "N passed, N failed".
"""
import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

BUILD = pathlib.Path(sys.argv[1])
ONLY = sys.argv[2] if len(sys.argv) > 2 else ""
STACK = "192.0.2.2"
KERNEL = "192.0.2.1"
VLAN = 7
VLAN_STACK, VLAN_KERNEL = "198.51.100.2", "198.51.100.1"
VLAN_STACK6, VLAN_KERNEL6 = "fd00:7::2", "fd00:7::1"
LOG = pathlib.Path("/tmp/l4echo.log")
CORES = [1, 2, 1, 2]  # four queues on two CPUs
LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
DEVICE_ID, VF_DEVICE_ID = "0x10c9", "0x10ca"  # 82576 and its virtual function


def command(*words, timeout=60, check=True):
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def peer(*words, **options):
    return command("ip", "netns", "exec", "peer", *words, **options)


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s still not: {what() if callable(what) else what}")
        time.sleep(0.1)
    return value


def load_modules():
    """As init does: the list is in the order of dependence; what is loaded already is refused, harmlessly."""
    for name in pathlib.Path("/tmp/modules/test").read_text().split():
        if not name.startswith("igb"):
            command("/bin/busybox", "insmod", f"/tmp/modules/{name}", check=False)


def pci_devices(device_id):
    return [d for d in sorted(pathlib.Path("/sys/bus/pci/devices").iterdir())
            if (d / "device").read_text().strip() == device_id]


def cards():
    found = pci_devices(DEVICE_ID)
    assert len(found) == 2, f"expected two cards, found {found}"
    return found


def give_to_vfio(device):
    (device / "driver_override").write_text("vfio-pci")
    pathlib.Path("/sys/bus/pci/drivers_probe").write_text(device.name)
    assert (device / "driver").resolve().name == "vfio-pci", f"{device.name} is not VFIO's"


def set_up_cards():
    """The first for VFIO, the second for the kernel. Returns the first's PCI address."""
    first, second = cards()
    give_to_vfio(first)
    command("/bin/busybox", "insmod", "/tmp/modules/igb.ko", check=False)
    interface = wait_until(lambda: [p.name for p in (second / "net").glob("*")], 10, "the kernel's igb")[0]
    command("ip", "netns", "add", "peer")
    command("ip", "link", "set", interface, "netns", "peer", "name", "peer0")
    peer("ip", "address", "add", f"{KERNEL}/24", "dev", "peer0")
    peer("ip", "link", "set", "peer0", "up")
    peer("ip", "link", "set", "lo", "up")
    peer("ip", "link", "add", "link", "peer0", "name", "vlan7", "type", "vlan", "id", VLAN)
    peer("ip", "address", "add", f"{VLAN_KERNEL}/24", "dev", "vlan7")
    peer("ip", "address", "add", f"{VLAN_KERNEL6}/64", "dev", "vlan7", "nodad")
    peer("ip", "link", "set", "vlan7", "up")
    return first.name


class Server:
    def __init__(self, address, mtu=1500, ring=512, vlans=True):
        config = {
            "ports": [{"device": address, "addresses": [f"{STACK}/24"], "rx_ring": ring, "tx_ring": ring, "mtu": mtu,
                       "vlans": [{"id": VLAN, "addresses": [f"{VLAN_STACK}/24", f"{VLAN_STACK6}/64"]}] if vlans else []}],
            "cores": CORES, "share_cpus": True,
            "pool": {"packets": 8191, "clones": 8191},
            "eal": {"extra": ["--iova-mode=pa"]},
            # A slow machine: late is not lost.
            "tcp": {"rto_min": "2s", "rto_initial": "2s", "sack": False, "connections_max": 4096, "time_wait_max": 4096},
        }
        pathlib.Path("/tmp/l4echo.yaml").write_text(json.dumps(config))
        self.ports = command(BUILD / "apps/l4echo", "--config", "/tmp/l4echo.yaml", "--show-port")
        self.output = open(LOG, "w")
        self.process = subprocess.Popen([BUILD / "apps/l4echo", "--config", "/tmp/l4echo.yaml"],
                                        stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)
        wait_until(self.is_serving, 60, lambda: f"l4echo serving; it printed\n{LOG.read_text()}")

    def is_serving(self):
        assert self.process.poll() is None, f"l4echo ended with status {self.process.returncode}:\n{LOG.read_text()}"
        return "l4echo: serving" in LOG.read_text()

    def counters(self):
        """By name, and the packets that each core received; -1 as a core's number holds none."""
        before = len(LOG.read_text())
        self.process.send_signal(signal.SIGUSR1)
        last = f"core {len(CORES) - 1} on CPU"
        text = wait_until(lambda: (t := LOG.read_text()[before:]) and last in t and t.endswith("\n") and t, 20, "counters")
        counters = {name: int(value) for name, value in re.findall(r"^ *(\w+) +(\d+)  ", text, re.M)}
        counters["received"] = [int(n) for n in re.findall(r"^core \d+ on CPU \d+: .*?(\d+) packets received", text, re.M)]
        return counters

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        self.output.close()
        return self.process.returncode


server = None


def serve_anew(address, **changes):
    """Instead of the program that serves until now."""
    global server
    server.stop()
    server = Server(address, **changes)


def in_namespace(what):
    """Runs what() in a thread whose sockets are the peer's."""
    result = []

    def run():
        try:
            with open("/run/netns/peer") as namespace:
                assert LIBC.setns(namespace.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
            result.append((what(), None))
        except BaseException as error:
            result.append((None, error))
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if result[0][1] is not None:
        raise result[0][1]
    return result[0][0]


def pattern(size, salt=0):
    return b"".join((i * 2654435761 + salt & 0xffffffff).to_bytes(4, "big") for i in range((size + 3) // 4))[:size]


def connect(address=STACK, port=7):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(60)
    s.connect((address, port))
    return s


def echo(connections, octets, address=STACK):
    """All at once: each connection gets back what it sent."""
    data = [pattern(octets, i) for i in range(connections)]

    def one(s, text):
        sender = threading.Thread(target=s.sendall, args=(text,))
        sender.start()
        got = bytearray()
        try:
            while len(got) < len(text) and (piece := s.recv(1 << 18)):
                got += piece
            sender.join()
        except OSError as error:
            bad.append(f"{len(got)}, then {error}")
            return
        finally:
            s.close()
        if bytes(got) != text:
            bad.append(len(got))
    bad = []

    def run():
        sockets = [connect(address) for _ in range(connections)]
        threads = [threading.Thread(target=one, args=pair) for pair in zip(sockets, data)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    in_namespace(run)
    assert not bad, f"{len(bad)} of {connections} echoes are wrong, of {octets} octets these lengths: {bad[:10]}"


# --- Tests, in this order --------------------------------------------------------------------------------------------

def test_the_start_line_says_rss():
    text = LOG.read_text()
    assert f"{len(CORES)} cores over {len(CORES)} queues by RSS" in text, text


def test_what_the_driver_offers():
    print("\n".join("      " + line for line in server.ports.splitlines() if not line.startswith("pollux:")))
    for words in ("net_e1000_igb", "table of 128 entries, key of 40 octets", "receive interrupts  used",
                  "TCP_CKSUM          used", "RSS_HASH           used"):
        assert words in server.ports, server.ports


def test_ping():
    text = peer("ping", "-c", "5", "-i", "0.2", "-W", "5", STACK)
    assert " 0% packet loss" in text, text
    text = peer("ping", "-c", "2", "-s", "1400", "-W", "5", STACK)
    assert " 0% packet loss" in text, text


def udp_echo(address, sizes):
    def run():
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(10)
        s.connect((address, 7))
        for size in sizes:
            s.send(pattern(size))
            assert s.recv(65536) == pattern(size), size
    in_namespace(run)


def test_udp_echo_of_many_sizes():
    udp_echo(STACK, (1, 2, 17, 63, 64, 65, 512, 1471, 1472))


def tcp_in_the_vlan(address):
    echo(4, 200_000, address)
    before = server.counters()
    host = f"[{address}]" if ":" in address else address
    peer("curl", "-sS", "-g", "-m", "60", "-o", "/tmp/file", f"http://{host}/300000", timeout=90)
    assert pathlib.Path("/tmp/file").stat().st_size == 300_000
    assert server.counters()["PxTcpTsoPackets"] > before.get("PxTcpTsoPackets", 0), address


def test_a_vlan_beside_untagged_frames():
    """The card takes tags off and writes them, and still checks, sums and cuts what is behind them."""
    assert f"VLAN {VLAN}, address {VLAN_STACK}/24, mtu 1500, tags by the card" in LOG.read_text(), LOG.read_text()
    for words in ("VLAN_STRIP         used", "VLAN_INSERT        used"):
        assert words in server.ports, server.ports
    for address in (VLAN_STACK, VLAN_STACK6):
        for size in (56, 1400, 3000):
            text = peer("ping", "-c", "2", "-i", "0.2", "-s", size, "-W", "5", address)
            assert " 0% packet loss" in text, text
        udp_echo(address, (1, 64, 65, 1452, 5000))
    tcp_in_the_vlan(VLAN_STACK)
    echo(2, 100_000)


def test_an_unknown_vlan_is_dropped_by_its_reason():
    peer("ip", "link", "add", "link", "peer0", "name", "vlan9", "type", "vlan", "id", "9")
    peer("ip", "link", "set", "vlan9", "up")
    peer("ip", "address", "add", "203.0.113.1/24", "dev", "vlan9")
    try:
        before = server.counters().get("eth_vlan_unknown", 0)
        peer("ping", "-c", "1", "-W", "1", "203.0.113.2", check=False)
        assert server.counters().get("eth_vlan_unknown", 0) > before
    finally:
        peer("ip", "link", "del", "vlan9")


def test_tcp_echo():
    echo(1, 1_000_000)


def test_a_file_by_http():
    """Bulk, whose segments the card cuts (TSO)."""
    size = 500_000
    before = server.counters()
    peer("curl", "-sS", "-m", "60", "-o", "/tmp/file", f"http://{STACK}/{size}", timeout=90)
    assert pathlib.Path("/tmp/file").stat().st_size == size
    after = server.counters()
    assert after["PxTcpTsoPackets"] > before.get("PxTcpTsoPackets", 0), after


def test_a_hundred_flows_over_all_queues():
    before = server.counters()
    echo(100, 20_000)
    after = server.counters()
    grown = [b - a for a, b in zip(before["received"], after["received"])]
    print("      packets received by core:", grown)
    assert len(grown) == len(CORES) and min(grown) > 300, grown


def test_many_udp_clients_over_all_queues():
    before = server.counters()

    def run():
        for i in range(64):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.settimeout(10)
            s.connect((STACK, 7))
            s.send(pattern(100, i))
            assert s.recv(2000) == pattern(100, i)
            s.close()
    in_namespace(run)
    after = server.counters()
    assert min(b - a for a, b in zip(before["received"], after["received"])) > 0, (before, after)


def test_the_card_agrees_with_the_software_hash():
    counters = server.counters()
    assert counters.get("PxRssHashChecked", 0) > 1000, counters
    assert counters.get("PxRssHashWrong", 0) == 0, counters
    assert counters.get("PxWrongCore", 0) == 0, counters
    assert counters.get("handover_full", 0) == 0, counters
    print("      hashes compared:", counters["PxRssHashChecked"])


def test_tcp_over_ipv6_in_the_vlan():
    """The emulated card hashes no ports of TCP over IPv6, although it is told to: from here on flows are handed to their core
    in software, as the log says."""
    tcp_in_the_vlan(VLAN_STACK6)


def test_checksums_by_the_card():
    assert "checksums by the card" in LOG.read_text(), LOG.read_text()
    text = peer("cat", "/proc/net/snmp")
    tcp = [line.split() for line in text.splitlines() if line.startswith("Tcp:")]
    assert dict(zip(*tcp))["InCsumErrors"] == "0", tcp
    udp = [line.split() for line in text.splitlines() if line.startswith("Udp:")]
    assert dict(zip(*udp))["InCsumErrors"] == "0", udp
    drops = server.counters()
    assert not [name for name in drops if name.endswith("bad_checksum")], drops


def test_the_link_goes_and_comes_back():
    """In the middle of a transfer; nothing is lost for good."""
    def flap():
        time.sleep(0.3)
        peer("ip", "link", "set", "peer0", "down")
        time.sleep(1)
        peer("ip", "link", "set", "peer0", "up")
    thread = threading.Thread(target=flap)
    thread.start()
    try:
        echo(2, 2_000_000)
    finally:
        thread.join()


def test_the_peers_mtu_changes_in_a_transfer():
    """Down and up again: the kernel's driver resets its card each time."""
    def change():
        for mtu in (1280, 1500):
            time.sleep(0.5)
            peer("ip", "link", "set", "vlan7", "mtu", 1280)  # no larger than what it lies on
            peer("ip", "link", "set", "peer0", "mtu", mtu)
        peer("ip", "link", "set", "vlan7", "mtu", 1500)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        echo(2, 2_000_000)
    finally:
        thread.join()
    assert " mtu 1500 " in peer("ip", "link", "show", "peer0")


def test_loss_and_delay():
    peer("tc", "qdisc", "add", "dev", "peer0", "root", "netem", "loss", "1%", "delay", "5ms")
    try:
        echo(4, 100_000)
    finally:
        peer("tc", "qdisc", "del", "dev", "peer0", "root")


def test_it_ends_cleanly():
    assert server.stop() == 0, LOG.read_text()[-3000:]


def test_jumbo_frames():
    """MTU 9,000 in mbufs of 2,048 octets, untagged and in the VLAN; then it ends cleanly again."""
    for interface in ("peer0", "vlan7"):
        peer("ip", "link", "set", interface, "mtu", "9000")
    peer("ip", "address", "replace", f"{VLAN_KERNEL6}/64", "dev", "vlan7", "nodad")  # it went with the link
    serve_anew(cards()[0].name, mtu=9000)
    assert "SCATTER            used" in server.ports, server.ports
    for address, header in ((STACK, 40), (VLAN_STACK, 40), (VLAN_STACK6, 60)):
        text = peer("ping", "-c", "2", "-i", "0.2", "-s", 9000 - header + 12, "-M", "do", "-W", "5", address)
        assert " 0% packet loss" in text, text
        udp_echo(address, (1, 2000, 8952, 20000))
        before = peer("cat", "/sys/class/net/peer0/statistics/rx_packets")
        echo(2, 500_000, address)
        packets = int(peer("cat", "/sys/class/net/peer0/statistics/rx_packets")) - int(before)
        print(f"      {address}: the peer got {packets} packets for 1,000,000 octets")
        assert packets < 600, "segments are no larger than usual"
    drops = server.counters()
    assert not [name for name in drops if name.endswith("bad_checksum") or name == "header_split"], drops
    assert server.stop() == 0, LOG.read_text()[-3000:]


def test_rings_run_dry():
    """Rings of 32 descriptors. A burst on a program that stands still: what the receive ring has no room for is lost (a real card
    counts it as missed, the emulated one does not), and when the program goes on so does everything. And no packet is longer than
    the transmit ring."""
    for interface in ("vlan7", "peer0"):
        peer("ip", "link", "set", interface, "mtu", "1500")
    serve_anew(cards()[0].name, ring=32)
    assert "receive 32 to 4096, transmit 32 to 4096; 32 and 32 used" in server.ports, server.ports

    def burst():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect((STACK, 9))
        for i in range(300):
            s.send(pattern(100, i))
    for _ in range(3):
        before = server.counters().get("UdpInDatagrams", 0)
        server.process.send_signal(signal.SIGSTOP)
        try:
            in_namespace(burst)
            time.sleep(0.3)
        finally:
            server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: server.counters().get("UdpInDatagrams", 0) > before, 10, "datagrams of the burst")
        time.sleep(0.3)
        received = server.counters()["UdpInDatagrams"] - before
        print("      of a burst of 300 into a ring of 32:", received)
        assert 16 <= received <= 150, received
        echo(4, 20_000)
    peer("curl", "-sS", "-m", "60", "-o", "/tmp/file", f"http://{STACK}/1000000", timeout=90)
    assert pathlib.Path("/tmp/file").stat().st_size == 1_000_000
    counters = server.counters()
    assert counters.get("PxTcpTsoPackets", 0) == 0, counters  # 64 KiB would not fit into the ring
    assert counters.get("handover_full", 0) == 0, counters
    assert server.stop() == 0, LOG.read_text()[-3000:]


def test_a_virtual_function():
    """Of the kernel's card, which has it as its peer. Two queues for four cores, and no RSS that could be configured: flows are
    handed to their core in software."""
    second = cards()[1]
    (second / "sriov_numvfs").write_text("1")
    function = wait_until(lambda: pci_devices(VF_DEVICE_ID), 10, "the virtual function")[0]
    give_to_vfio(function)
    serve_anew(function.name, vlans=False)
    print("\n".join("      " + line for line in server.ports.splitlines() if not line.startswith("pollux:")))
    print("\n".join("      " + line for line in LOG.read_text().splitlines()))
    for words in ("net_e1000_igb_vf", "receive interrupts  not used"):
        assert words in server.ports, server.ports
    assert f"{len(CORES)} cores over 2 queues; flows are handed to their core in software" in LOG.read_text(), LOG.read_text()
    text = peer("ping", "-c", "3", "-i", "0.2", "-W", "5", STACK)
    assert " 0% packet loss" in text, text
    udp_echo(STACK, (1, 64, 1472, 5000))
    echo(32, 20_000)
    peer("curl", "-sS", "-m", "60", "-o", "/tmp/file", f"http://{STACK}/300000", timeout=90)
    assert pathlib.Path("/tmp/file").stat().st_size == 300_000
    counters = server.counters()
    print("      handed over:", counters["PxHandedOver"], "received by core:", counters["received"])
    assert counters["PxHandedOver"] > 100 and counters["PxTxRelayed"] > 0, counters  # two cores have no queue of their own
    assert counters["PxTcpTsoPackets"] > 0 and min(counters["received"]) > 20, counters
    assert counters.get("handover_full", 0) == 0, counters
    assert not [name for name in counters if name.endswith("bad_checksum")], counters
    assert server.stop() == 0, LOG.read_text()[-3000:]


def main():
    global server
    load_modules()
    address = set_up_cards()
    print("      the cards are there; l4echo starts")
    server = Server(address)
    print("\n".join("      " + line for line in LOG.read_text().splitlines()))
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_") and ONLY in n]
    passed = failed = 0
    for name, test in tests:
        began = time.monotonic()
        try:
            test()
            passed += 1
            verdict = "ok"
        except Exception:
            failed += 1
            verdict = "FAILED"
            traceback.print_exc(limit=3)
        print(f"  {verdict:<6} {time.monotonic() - began:6.2f} s  {name}")
    if failed:
        print(LOG.read_text()[-6000:])
    print(f"{passed} passed, {failed} failed")


if __name__ == "__main__":
    try:
        main()
    except Exception:
        traceback.print_exc()
        print("0 passed, 1 failed")
