#!/usr/bin/env python3
"""Runs the goodput simulations and writes GOODPUT.md and goodput.svg from them.

    tests/sim/goodput.py BUILD            writes both
    tests/sim/goodput.py --check BUILD    fails when a floor is missed or GOODPUT.md no longer tells the truth

A figure of GOODPUT.md is true while the present run is within TOLERANCE of it: runs are exact, but every change of TCP's
behaviour moves them a little.
"""
import argparse
import csv
import itertools
import math
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE / "GOODPUT.md"
PLOT = HERE / "goodput.svg"
TOLERANCE = 0.10
FIELDS = ("group", "name", "flows", "controller", "bound", "floor", "goodput", "jain", "jain_floor", "retransmitted", "timeouts", "waiting")
CONTROLLERS = {"cubic": "CUBIC", "newreno": "NewReno", "bbr": "BBR"}
ABOUT = {
    "loss, 20 ms": "Random loss, 10 Mbit/s, 20 ms.",
    "loss, 100 ms": "Random loss, 10 Mbit/s, 100 ms.",
    "round trip": "Round trips, 10 Mbit/s, no loss but by a full queue of one bandwidth-delay product (at least 20 frames).",
    "round trip, 0.1 % loss": "The same with 0.1 % random loss.",
    "queue": "Queues at the bottleneck, 10 Mbit/s, 20 ms (16 frames are one bandwidth-delay product), and how many frames wait there as "
             "a mean over those that arrive.",
    "reordering": "Frames that are held back and overtaken, 10 Mbit/s, 20 ms.",
    "bursts of loss": "Runs of frames lost in a row, 10 Mbit/s, 20 ms.",
    "lost ACKs": "Loss on the way back, 10 Mbit/s, 20 ms.",
    "flows": "Flows that share 20 Mbit/s, 40 ms, and Jain's index of their shares (1: all equal).",
    "shared": "One flow of each kind on 10 Mbit/s; the bound is the fair share.",
}


def measure(build):
    """One dictionary a row, in the program's order."""
    program = pathlib.Path(build, "tests/sim/sim_goodput")
    text = subprocess.run([program], capture_output=True, text=True, check=True, timeout=600).stdout
    rows = []
    for values in csv.reader(text.splitlines(), delimiter="\t"):
        row = dict(zip(FIELDS, values, strict=True))
        for field in FIELDS[4:]:
            row[field] = float(row[field])
        rows.append(row)
    return rows


def paired(rows):
    """The controllers' rows by group and name."""
    table = {}
    for row in rows:
        table.setdefault((row["group"], row["name"]), {})[row["controller"]] = row
    return table


def cell(row, extra):
    text = f"{row['goodput']:.2f} ({100 * row['goodput'] / row['bound']:.0f} %)"
    return text + (f" | {row['jain']:.2f}" if extra == "Jain" else f" | {row['waiting']:.0f}" if extra == "waiting" else "")


def document(rows):
    """GOODPUT.md's text."""
    lines = ["# Goodput", "",
             "Written by `tests/sim/goodput.py BUILD`; do not edit. Bulk transfers between two stacks with default options (but "
             "buffers that fit the path) over simulated links, in Mbit/s of payload after the first fifth of the run; where chance has a "
             "part, the middle one of five runs. In brackets the share of the bound: what the link carries, or, where random loss "
             "allows less, the controller's own model (Padhye et al. for NewReno, RFC 9438 5.1 for CUBIC; both are averages, not "
             "limits). BBR is not meant to answer to random loss and is held to what the link carries. `tests/run goodput` fails when "
             "a figure falls below its floor or differs from this page by more than "
             f"{100 * TOLERANCE:.0f} %.", "", "![goodput against loss](goodput.svg)"]
    for group, members in itertools.groupby(paired(rows).items(), key=lambda item: item[0][0]):
        extra = {"flows": "Jain", "queue": "waiting"}.get(group, "")
        heads = ["bound", "{}", extra, "floor"] if extra else ["bound", "{}", "floor"]
        columns = [head.format(controller) for controller in CONTROLLERS.values() for head in heads]
        lines += ["", f"## {group[0].upper()}{group[1:]}", "", ABOUT[group], "",
                  "| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
        for (_, name), of in members:
            parts = [f"{of[c]['bound']:.2f} | {cell(of[c], extra)} | {of[c]['floor']:.0f} %" if c in of
                     else " | " * (len(heads) - 1) for c in CONTROLLERS]
            lines.append(f"| {name} | " + " | ".join(parts) + " |")
    return "\n".join(lines) + "\n"


# --- The plot ---------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, MARGIN = 640, 360, 56
LOSSES = {"0.01 %": 0.01, "0.1 %": 0.1, "1 %": 1, "3 %": 3, "10 %": 10}


def x_of(loss):
    return MARGIN + (math.log10(loss) + 2) / 3 * (WIDTH - 2 * MARGIN)


def y_of(rate, top=10):
    return HEIGHT - MARGIN - rate / top * (HEIGHT - 2 * MARGIN)


def curve(points, colour, dashes, label):
    path = " ".join(f"{x_of(loss):.1f},{y_of(rate):.1f}" for loss, rate in points)
    style = f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    x, y = x_of(points[0][0]) + 6, y_of(points[0][1]) - 5
    return f'<polyline points="{path}" {style}><title>{label}</title></polyline>', (x, y)


def plot(rows):
    """goodput.svg's text: goodput against random loss."""
    table = paired(rows)
    shapes, legend = [], []
    styles = [("loss, 20 ms", "cubic", "#0b6", ""), ("loss, 20 ms", "newreno", "#06b", ""), ("loss, 20 ms", "bbr", "#b50", ""),
              ("loss, 100 ms", "cubic", "#0b6", "6 4"), ("loss, 100 ms", "newreno", "#06b", "6 4"),
              ("loss, 100 ms", "bbr", "#b50", "6 4")]
    for number, (group, controller, colour, dashes) in enumerate(styles):
        label = f"{CONTROLLERS[controller]}, {group.split(', ')[1]}"
        points = [(loss, table[(group, name)][controller]["goodput"]) for name, loss in LOSSES.items()]
        shape, _ = curve(points, colour, dashes, label)
        shapes.append(shape)
        y = MARGIN + 8 + 18 * number
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        legend.append(f'<line x1="{WIDTH - 190}" y1="{y}" x2="{WIDTH - 160}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>'
                      f'<text x="{WIDTH - 152}" y="{y + 4}">{label}</text>')
    grid = [f'<line x1="{MARGIN}" y1="{y_of(rate):.1f}" x2="{WIDTH - MARGIN}" y2="{y_of(rate):.1f}" stroke="#ddd"/>'
            f'<text x="{MARGIN - 8}" y="{y_of(rate) + 4:.1f}" text-anchor="end">{rate}</text>' for rate in range(0, 11, 2)]
    grid += [f'<text x="{x_of(loss):.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{name}</text>'
             for name, loss in LOSSES.items()]
    body = "\n".join(grid + shapes + legend)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n'
            f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">random loss</text>\n'
            f'<text x="{MARGIN}" y="{MARGIN - 20}">goodput, Mbit/s of 10</text>\n</svg>\n')


# --- Checks -----------------------------------------------------------------------------------------------------

def figures(text):
    """Every measured figure of a document, by group and row."""
    found, group = {}, ""
    for line in text.splitlines():
        if line.startswith("## "):
            group = line[3:].lower()
        for number, value in enumerate(re.findall(r"([\d.]+) \(\d+ %\)", line) if line.startswith("|") else []):
            found[(group, line.split("|")[1].strip(), number)] = float(value)
    return found


def below_floor(row):
    """What a row misses, or nothing."""
    if row["goodput"] < row["floor"] / 100 * row["bound"]:
        return f"{row['goodput']:.2f} Mbit/s, below {row['floor']:.0f} % of {row['bound']:.2f}"
    if row["jain"] < row["jain_floor"]:
        return f"Jain's index {row['jain']:.2f}, below {row['jain_floor']:.2f}"
    return None


def check(rows):
    """Prints what is wrong; the numbers of good and bad figures."""
    faults = [f"{row['group']}: {row['name']}: {row['controller']}: {fault}" for row in rows if (fault := below_floor(row))]
    passed = len(rows) - len(faults)
    told = figures(DOCUMENT.read_text(encoding="utf-8")) if DOCUMENT.exists() else {}
    now = figures(document(rows))
    stale = [key for key in told.keys() | now.keys()
             if key not in told or key not in now or abs(told[key] - now[key]) > TOLERANCE * max(told[key], now[key])]
    faults += [f"GOODPUT.md: {key[0]}: {key[1]}: says {told.get(key)}, is {now.get(key)}: run tests/sim/goodput.py BUILD"
               for key in sorted(stale)]
    for fault in faults:
        print("FAILED", fault)
    return passed + len(now) - len(stale), len(faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="build folder with tests/sim/sim_goodput")
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    rows = measure(arguments.build)
    if not arguments.check:
        DOCUMENT.write_text(document(rows), encoding="utf-8")
        PLOT.write_text(plot(rows), encoding="utf-8")
    passed, failed = check(rows)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
