"""Drives l4echo from the kernel's side and prints a table; apps/quickstart runs it in the namespace.

Usage: quickstart_client.py ADDRESS. Exit status 0 when every octet came back as it was sent.
"""
import re
import subprocess
import sys

import traffic

HEAD = f"{'':<34}{'sent':>12}{'received':>12}{'Mbit/s':>9}{'p50 us':>9}{'p99 us':>9}"


def ping(address, count=500):
    outcome = traffic.Outcome()
    text = subprocess.run(["ping", "-n", "-c", str(count), "-i", "0.002", "-W", "2", address], stdout=subprocess.PIPE,
                          text=True, timeout=60).stdout
    outcome.round_trips = [float(ms) / 1000 for ms in re.findall(r"time=([\d.]+) ms", text)]
    outcome.sent, outcome.received = count, len(outcome.round_trips)
    if outcome.received != count:
        outcome.differences.append(text[-300:])
    return outcome


def flow(address, size):
    with traffic.tcp(address, 7) as s:
        return traffic.one_flow(s, size)


def lone_messages(address):
    with traffic.tcp(address, 7) as s:
        return traffic.round_trips(s, 5000, 64)


def main(address):
    before = traffic.kernel_counters()
    bad = 0
    print(HEAD, flush=True)
    for name, run in (
            ("ping, 500 times", lambda: ping(address)),
            ("UDP echo, sizes 1..1472", lambda: traffic.datagram_sizes(address, 7, range(1, 1473))),
            ("TCP echo, 64 octets, 5000 times", lambda: lone_messages(address)),
            ("TCP echo, 64 MiB, 1 flow", lambda: flow(address, 64 << 20)),
            ("TCP echo, 64 MiB, 200 flows", lambda: traffic.many_flows(address, 7, 200, (64 << 20) // 200))):
        try:
            outcome = run()
        except OSError as error:
            outcome = traffic.Outcome()
            outcome.differences.append(str(error))
        rate = f"{outcome.received * 8e-6 / outcome.seconds:.0f}" if outcome.seconds else ""
        times = [f"{outcome.quantile(q) * 1e6:.0f}" for q in (0.5, 0.99)] if outcome.round_trips else ["", ""]
        print(f"{name:<34}{outcome.sent:>12}{outcome.received:>12}{rate:>9}{times[0]:>9}{times[1]:>9}"
              f"{'  DIFFERS' if outcome.differences else ''}", flush=True)
        bad += len(outcome.differences)
        for text in outcome.differences[:5]:
            print(f"    {text}")
    after = traffic.kernel_counters()
    grown = {name: after[name] - before[name] for name in traffic.TROUBLE if after.get(name) != before.get(name)}
    print("\nthe kernel's TCP had to repair:", ", ".join(f"{k} {v}" for k, v in grown.items()) or
          "nothing (no retransmission, timeout or reordering in nstat)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
