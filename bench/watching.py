"""What it costs to be watched: the TCP echo of 64 octets with and without counters, flight recorder and the place for taps.

  python3 bench/watching.py [--rounds N] [FOLDER]   builds a copy of this tree for each of them, without it, and measures
  python3 bench/watching.py --dry-run               only says whether they can still be taken out

Each copy (in FOLDER, default a temporary one) lacks one thing: the edits below take it out of the code, and each must match
exactly once. Two figures each, against the tree as it is: instructions per round trip (callgrind, repeatable), and cycles per
round trip, where rounds of all copies take turns and the median of the rounds' ratios is printed.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from instructions import count

ROOT = pathlib.Path(__file__).resolve().parents[1]
COUNTERS, LOOP = "lib/base/counters.h", "drivers_glue/core_loop.h"
# name: (file, what is there, what takes its place)
WITHOUT = {
    "counters": [
        (COUNTERS, "void add(Counter counter, std::uint64_t n = 1) noexcept { values_[static_cast<std::size_t>(counter)] += n; }",
         "void add(Counter, std::uint64_t = 1) noexcept {}"),
        (COUNTERS, "void drop(DropReason reason, std::uint64_t n = 1) noexcept { drops_[static_cast<std::size_t>(reason)] += n; }",
         "void drop(DropReason, std::uint64_t = 1) noexcept {}"),
        (LOOP, "const auto took_ns = static_cast<std::uint64_t>((now - turn_began_).ns());\n    turn_began_ = now;", ""),
        (LOOP, "if (took_ns >= account_from_ns_) [[unlikely]] account(now, took_ns);", ""),
        (LOOP, "const bool busy = --turns_to_timed_ == 0 ? timed_stages(now) : stages(now, NoWatch());",
         "const bool busy = stages(now, NoWatch());"),
        (LOOP, "++counters_.idle_turns;", ""),
        (LOOP, "++counters_.rx_full;", ""),
        ("lib/tcp/timers.cc", "if (timers_pending_) [[unlikely]] counters_.add(Counter::timers_behind);", ""),
        (LOOP, "if (!more_waits_) ++counters_.time_squeeze;", ""),
        (LOOP, "if (batch.size() != 0) [[unlikely]] ++counters_.tx_refused;", ""),
    ],
    "flight recorder": [
        ("lib/base/flight_recorder.h",
         "void record(const FlightRecord& record) noexcept {\n    if (capacity_ != 0) records_[count_++ & (capacity_ - 1)] = record;\n  }",
         "void record(const FlightRecord&) noexcept {}"),
    ],
    "taps": [
        (LOOP, "if (tap_ == nullptr) [[likely]]\n        stack_.input(i, {burst_.data(), n}, now);\n      else\n"
               "        tap_->input(stack_, i, {burst_.data(), n}, now);", "stack_.input(i, {burst_.data(), n}, now);"),
    ],
}
CONNECTIONS = (1, 64)


def edited(edits):
    """{file: its text without what `edits` take out}"""
    texts = {}
    for file, old, new in edits:
        text = texts.get(file) or (ROOT / file).read_text()
        if text.count(old) != 1:
            sys.exit(f"{file}: expected once, found {text.count(old)} times: {old}")
        texts[file] = text.replace(old, new)
    return texts


def build(folder, edits):
    """A release build of a copy of the tree in `folder`; where its benchmarks are."""
    texts = edited(edits)
    for file in subprocess.run(["git", "-C", ROOT, "ls-files"], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if file in texts:
            (folder / file).write_text(texts[file])
        else:
            shutil.copy2(ROOT / file, folder / file)
    log = folder / "build.log"
    with open(log, "w") as out:
        for command in (["meson", "setup", "build", "--buildtype=release", "-Dtests=false"] if not (folder / "build").exists() else ["true"],
                        ["ninja", "-C", "build", "bench/bench_echo_ring", "bench/bench_instructions"]):
            if subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT).returncode != 0:
                sys.exit(f"{folder}: does not build:\n{log.read_text()[-3000:]}")
    return folder / "build/bench"


def cycles(bench, connections):
    """Per round trip, by bench_echo_ring."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([bench / "bench_echo_ring", "--connections", str(connections), "--repetitions", "1", "--json", file.name],
                       check=True, stdout=subprocess.DEVNULL, timeout=120)
        return json.load(open(file.name))["rows"][0]["cycles_per_round_trip"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    for edits in WITHOUT.values():
        edited(edits)
    if arguments.dry_run:
        print(f"{len(WITHOUT)} can be taken out")
        return
    with tempfile.TemporaryDirectory(prefix="pollux-watching-") as temporary:
        folder = arguments.folder or pathlib.Path(temporary)
        whole = build(folder / "whole", [])
        without = {name: build(folder / name.replace(" ", "-"), edits) for name, edits in WITHOUT.items()}
        print(f"{'':16} {'connections':>11} {'instructions with':>18} {'without':>8} {'cost':>7} {'cycles with':>12} {'without':>8} {'cost, median':>13}")
        for connections in CONNECTIONS:
            rounds = []
            for _ in range(arguments.rounds):
                rounds.append({name: cycles(bench, connections) for name, bench in [("whole", whole), *without.items()]})
            all_instructions = count(whole / "bench_instructions", f"echo-{connections}")
            for name, bench in without.items():
                fewer = count(bench / "bench_instructions", f"echo-{connections}")
                ratio = statistics.median(r["whole"] / r[name] for r in rounds)
                print(f"{name:16} {connections:11} {all_instructions:18.1f} {fewer:8.1f} {100 * (all_instructions / fewer - 1):+6.2f}% "
                      f"{statistics.median(r['whole'] for r in rounds):12.1f} {statistics.median(r[name] for r in rounds):8.1f} "
                      f"{100 * (ratio - 1):+12.2f}%", flush=True)


if __name__ == "__main__":
    main()
