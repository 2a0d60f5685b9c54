#!/usr/bin/python3 -u
"""Goodput through a faulty wire beside the kernel's own: tests/kernel/goodput.py [options] BUILD-FOLDER

Bulk transfers from Pollux to the kernel, from the kernel to Pollux and between two kernels over the same path, in turns, in
network namespaces of their own. Writes GOODPUT.md; with --only or --congestion it prints instead. Needs root; real time:
each round takes some two minutes, on a machine with little else to do.
"""
import argparse
import concurrent.futures
import os
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
INSIDE = "POLLUX_GOODPUT_INSIDE"
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import faulty_path  # noqa: E402
from faulty_path import Path  # noqa: E402

LOSSES = (("no loss", 0), ("0.1 % loss", 0.001), ("1 % loss", 0.01), ("3 % loss", 0.03))
CELLS = {f"{name}, {rtt} ms": Path(rtt_ms=rtt, loss=loss) for name, loss in LOSSES for rtt in (1, 10, 20, 50)} | {
    "1 % held back by up to 5 ms, 20 ms": Path(reorder=0.01, reorder_ms=5),
    "10 % held back by up to 5 ms, 20 ms": Path(reorder=0.1, reorder_ms=5),
    "1 % held back by up to 20 ms, 20 ms": Path(reorder=0.01, reorder_ms=20),
    "30 % of ACKs lost, 20 ms": Path(loss_back=0.3),
}
PAIRS = ("sends", "receives", "linux")


def transfer(pair, build, path, seconds, seed, congestion):
    """One transfer's Mbit/s."""
    wire = build / "tests/kernel/fault_wire"
    if pair == "linux":
        return faulty_path.linux_to_linux(wire, path, seconds, seed, congestion)
    of = faulty_path.pollux_sends if pair == "sends" else faulty_path.pollux_receives
    return of(wire, build, path, seconds, seed, congestion)


def measure(arguments, cells):
    """Lists of Mbit/s by cell and pair. A round takes each transfer once, the three of a cell beside each other."""
    results = {(cell, pair): [] for cell in cells for pair in PAIRS}
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for seed in range(1, arguments.rounds + 1):
            under_way = {key: pool.submit(transfer, key[1], arguments.build, cells[key[0]], arguments.seconds, seed,
                                          arguments.congestion) for key in results}
            for key, future in under_way.items():
                results[key].append(future.result())
            print(f"round {seed} of {arguments.rounds}", file=sys.stderr)
    return results


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(results, cells):
    """Lines of a table: Mbit/s and ratios of medians."""
    lines = ["| path | Linux to Linux | Pollux to Linux | ratio | Linux to Pollux | ratio |", "|---|---|---|---|---|---|"]
    for cell in cells:
        linux, sends, receives = (results[cell, pair] for pair in ("linux", "sends", "receives"))
        of_linux = statistics.median(linux)
        lines.append(f"| {cell} | {spread(linux)} | {spread(sends)} | {statistics.median(sends) / of_linux:.2f} "
                     f"| {spread(receives)} | {statistics.median(receives) / of_linux:.2f} |")
    return lines


def document(results, arguments):
    """GOODPUT.md's text."""
    return "\n".join([
        "# Goodput beside Linux's", "",
        f"Written by `tests/kernel/goodput.py BUILD` on Linux {os.uname().release.split('-')[0]}; do not edit. Bulk transfers, "
        "each alone on a `fault_wire`, which is the simulator's link in real time, through TAP devices: 10 Mbit/s with a queue of one "
        "bandwidth-delay product (at least 20 frames), loss and reordering on the data's way. Default options, CUBIC on both sides. "
        f"Mbit/s of payload after the first fifth of {arguments.seconds:g} s: the median of {arguments.rounds} transfers, the least "
        "and the most in brackets. The three kinds of transfer take turns, with the same seeds of faults. A ratio is that "
        "of the medians to Linux's own; where chance has a part, or the machine was busy, a few percent of it are chance. "
        "The simulator's figures for such paths, free of that: [tests/sim/GOODPUT.md](../sim/GOODPUT.md).", "", *table(results, CELLS)]) + "\n"


def arguments_of_command_line():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=lambda text: pathlib.Path(text).resolve(), help="meson build folder with l4echo and fault_wire")
    parser.add_argument("--rounds", type=int, default=5, help="transfers of each kind; default 5")
    parser.add_argument("--seconds", type=float, default=10, help="length of a transfer; default 10")
    parser.add_argument("--jobs", type=int, default=6, help="transfers at the same time, each on a wire of its own; default 6")
    parser.add_argument("--only", metavar="WORDS", help="paths whose name contains WORDS; prints")
    parser.add_argument("--congestion", choices=("cubic", "newreno", "bbr"), default="cubic", help="on both sides; others than CUBIC print")
    return parser.parse_args()


def main():
    arguments = arguments_of_command_line()
    if os.environ.get(INSIDE) is None:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                              sys.executable, "-u", str(HERE / "goodput.py"), *sys.argv[1:]])
    cells = {name: path for name, path in CELLS.items() if (arguments.only or "") in name}
    if not cells:
        sys.exit(f"no path has '{arguments.only}' in its name; there are: {'; '.join(CELLS)}")
    results = measure(arguments, cells)
    if arguments.only or arguments.congestion != "cubic":
        print("\n".join(table(results, cells)))
    else:
        (HERE / "GOODPUT.md").write_text(document(results, arguments), encoding="utf-8")


if __name__ == "__main__":
    main()
