#!/usr/bin/python3
"""UDP echo beside testpmd: bench/udp_testpmd.py [--rounds N] BUILD-FOLDER

Runs bench_udp_ring of BUILD-FOLDER (built with --buildtype=release) and dpdk-testpmd's 5tswap forwarding in turns, both on
net_ring ports and bursts of 32, and prints cycles per datagram. 5tswap exchanges addresses and ports and looks at nothing: the
least that an echo of UDP can cost on this kind of port. testpmd counts moments in which the kernel gave its core to others,
bench_udp_ring leaves them out: on a machine that does something else too, compare the least of the rounds.
"""
import argparse
import json
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import time

SECONDS = 3  # of testpmd's forwarding, a round


def udp_ring(build, folder, v6):
    path = folder / "udp.json"
    subprocess.run([build / "bench/bench_udp_ring", "--in-flight", "1,32,1024", "--repetitions", "3", "--json", path]
                   + (["--v6"] if v6 else []), check=True, stdout=subprocess.DEVNULL, timeout=120)
    return {row["in_flight"]: row["cycles_per_datagram"] for row in json.loads(path.read_text())["rows"]}


def testpmd():
    """Its own figure: cycles of the forwarding loop's turns that found packets, per packet."""
    process = subprocess.Popen(
        ["dpdk-testpmd", "-l", "0,1", "--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--no-shconf",
         "--file-prefix", "pollux-bench", "--vdev", "net_ring0", "--", "--nb-cores=1", "--forward-mode=5tswap", "--tx-first",
         "--burst=32", "--record-core-cycles", "--total-num-mbufs=8192", "--stats-period=1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(SECONDS)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=30)[0]
    found = re.search(r"CPU cycles/packet=([0-9.]+)", text)
    if not found:
        raise SystemExit(f"testpmd says no cycles per packet:\n{text[-2000:]}")
    return float(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ours, ours6, theirs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            ours.append(udp_ring(arguments.build, pathlib.Path(folder), False))
            theirs.append(testpmd())
            ours6.append(udp_ring(arguments.build, pathlib.Path(folder), True))
    print("| UDP over `net_ring`, 18 octets of payload | cycles per datagram, least | median | all rounds |")
    print("|---|---|---|---|")
    rows = [(f"echo by the stack, IPv4, {n} in flight", [o[n] for o in ours]) for n in ours[0]]
    rows += [(f"echo by the stack, IPv6, {n} in flight", [o[n] for o in ours6]) for n in ours6[0]]
    rows.append(("testpmd `5tswap`, bursts of 32", theirs))
    for name, values in rows:
        print(f"| {name} | {min(values):.0f} | {statistics.median(values):.0f} | {' '.join(f'{v:.0f}' for v in values)} |")


if __name__ == "__main__":
    main()
