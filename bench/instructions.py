"""Instructions that the server's stack executes for one unit of work, counted by callgrind.

  python3 bench/instructions.py BUILD             prints them beside the stored figures
  python3 bench/instructions.py --check BUILD     and fails where one is more than 3 % above its stored figure
  python3 bench/instructions.py --update BUILD    stores what was counted: commit it with the reason
  -k WORD: only workloads whose name contains WORD. BUILD is a meson folder of --buildtype=release.

The workloads are those of bench/instructions.cc. Virtual time makes runs repeatable to a fraction of a per cent; a
different compiler or DPDK moves the figures. The last line is "N passed, N failed".
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
STORED = HERE / "instructions.json"
TOLERANCE = 0.03
COUNTED = "pollux_bench_counted_turn"


def count(program, workload):
    """Instructions of the server's turns per unit."""
    with tempfile.TemporaryDirectory(prefix="pollux-instructions-") as folder:
        done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
                               f"--toggle-collect={COUNTED}", program, workload], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    units = re.search(r": (\d+) units, ", done.stdout)
    if done.returncode != 0 or not collected or not units:
        sys.exit(f"{workload}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return int(collected[1]) / int(units[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("-k", metavar="WORD", default="")
    arguments = parser.parse_args()
    program = arguments.build / "bench/bench_instructions"
    listed = subprocess.run([program, "--list"], check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    stored = json.loads(STORED.read_text())
    passed = failed = 0
    for name, unit in (line.split("\t") for line in listed):
        if arguments.k not in name:
            continue
        counted = count(program, name)
        before = stored.get(name)
        ratio = counted / before if before else float("nan")
        bad = not before or ratio > 1 + TOLERANCE
        passed, failed = passed + (not bad), failed + bad
        verdict = "" if not bad else "  MORE" if before else "  not stored"
        print(f"{name:15} {counted:8.0f} per {unit:27} stored {before or 0:6}  {100 * (ratio - 1):+6.1f} %{verdict}", flush=True)
        if arguments.update:
            stored[name] = round(counted)
    if arguments.update:
        STORED.write_text(json.dumps(stored, indent=2) + "\n")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0 and arguments.check)


if __name__ == "__main__":
    main()
