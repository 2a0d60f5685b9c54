"""Lets the compiler of BUILD-FOLDER look at every source that nobody built there: compiles.py BUILD-FOLDER

The sanitizers' build leaves programs, benchmarks and device tests out, to save time; their warnings count all the same.
The last line is "N passed, N failed".
"""
import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys


def check(entry):
    """Returns the source and what the compiler had to say of it, None for nothing."""
    words = shlex.split(entry["command"])
    for option, length in (("-MQ", 2), ("-MF", 2), ("-o", 2), ("-MD", 1)):
        at = words.index(option)
        del words[at:at + length]
    done = subprocess.run([*words, "-fsyntax-only"], cwd=entry["directory"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return entry["file"], done.stdout if done.returncode else None


def main():
    folder = pathlib.Path(sys.argv[1])
    entries = json.loads((folder / "compile_commands.json").read_text())
    left_out = {e["file"]: e for e in entries if not (folder / e["output"]).exists()}
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, said in pool.map(check, left_out.values()):
            if said is not None:
                failed += 1
                print(f"  FAILED {name}\n{said[-2000:]}")
    print(f"{len(left_out) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
