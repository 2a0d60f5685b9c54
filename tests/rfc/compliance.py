#!/usr/bin/env python3
"""Checks the tables rfc*.tsv against the tests that exist and writes COMPLIANCE.md from them.

    tests/rfc/compliance.py BUILD            writes COMPLIANCE.md
    tests/rfc/compliance.py --check BUILD    fails when a row is wrong or COMPLIANCE.md is stale

A row: id, level, requirement, status, tests, note. `tested`: the named tests show it (GoogleTest's Suite.Name or
Suite.Name/parameter, or kernel:Class.test_name; a packet script TOPIC/NAME.script is script_TOPIC.NAME). `gap`: not met or not shown yet, and the note says what is missing.
`declined`: left out for good, and the note says why. A MUST without a test and without a note is an error, like a test nobody can find.
"""
import argparse
import ast
import csv
import itertools
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE / "COMPLIANCE.md"
TITLES = {"9293": "TCP", "5681": "congestion control", "5961": "blind attacks", "6298": "retransmission timer",
          "6675": "loss recovery by SACK", "7323": "window scale and timestamps", "8985": "RACK-TLP", "9438": "CUBIC"}
STATUS = {"tested": "tested", "gap": "**gap**", "declined": "declined"}


def read_tables():
    """RFC number -> its rows; RFC 9293 first, then by number."""
    tables = {}
    for path in sorted(HERE.glob("rfc*.tsv"), key=lambda path: (path.stem != "rfc9293", int(path.stem[3:]))):
        with open(path, encoding="utf-8", newline="") as file:
            tables[path.stem[3:]] = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return tables


def gtest_names(build):
    """Suite.Name and Suite.Name/parameter of every GoogleTest case in the built programs, without instantiations."""
    names = set()
    for program in sorted(pathlib.Path(build, "tests").glob("*/*")):
        if program.parent.name not in ("unit", "state", "script", "sim", "vdev") or not program.is_file() \
                or not program.stat().st_mode & 0o100:
            continue
        listed = subprocess.run([program, "--gtest_list_tests"], capture_output=True, text=True, check=True, timeout=60)
        suite = ""
        for line in listed.stdout.splitlines():
            word = line.split("#")[0].strip()
            if word.endswith(".") and not line.startswith(" "):
                suite = [part for part in word.rstrip(".").split("/") if not part.isdigit()][-1]
            elif line.startswith("  "):
                names |= {f"{suite}.{word}", f"{suite}.{word.split('/')[0]}"}
    return names


def kernel_names():
    """kernel:Class.test_name of every test method under tests/kernel."""
    names = set()
    for path in (HERE.parent / "kernel").glob("**/*.py"):
        for group in ast.walk(ast.parse(path.read_text())):
            if isinstance(group, ast.ClassDef):
                names |= {f"kernel:{group.name}.{node.name}" for node in group.body
                          if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}
    return names


def claims(name):
    """The requirements that a test's name says it shows: Must5And6Options -> MUST-5, MUST-6."""
    words = {"Must": "MUST", "Shld": "SHLD", "May": "MAY", "Rec": "REC"}
    for word, number, second in re.findall(r"(Must|Shld|May|Rec)(\d+)(?:And(\d+))?", name):
        yield from (f"{words[word]}-{n}" for n in (number, second) if n)


def tests_of(row):
    return row["tests"].split()


def faults(row, known):
    """What is wrong with a row."""
    if row["status"] not in STATUS:
        yield f"status {row['status']!r} is none of {', '.join(STATUS)}"
    if row["status"] == "tested" and not tests_of(row):
        yield "is marked tested and names no test"
    if row["status"] != "tested" and not row["note"].strip():
        yield "has neither a test nor a written reason"
    for name in tests_of(row):
        if name not in known:
            yield f"names {name}, which does not exist"
    for name in sorted(known):
        if row["id"] in claims(name.split("/")[-1]) and not {name, name.split("/")[0]} & set(tests_of(row)):
            yield f"does not name {name}, whose name says it shows it"


def section(rfc, rows):
    """One RFC's part of COMPLIANCE.md."""
    lines = ["", f"## RFC {rfc}: {TITLES[rfc]}", "", "| level | " + " | ".join(STATUS) + " |", "|---|---|---|---|"]
    for level in dict.fromkeys(row["level"].split()[0] for row in rows):
        of_level = [row["status"] for row in rows if row["level"].split()[0] == level]
        lines.append(f"| {level} | " + " | ".join(str(of_level.count(status)) for status in STATUS) + " |")
    lines += ["", "| id | level | requirement | status | shown by, or why not |", "|---|---|---|---|---|"]
    for row in rows:
        shown = "<br>".join(f"`{name}`" for name in tests_of(row))
        why = "<br>".join(part for part in (shown, row["note"].replace("|", "\\|")) if part)
        lines.append(f"| {row['id']} | {row['level']} | {row['requirement']} | {STATUS.get(row['status'])} | {why} |")
    return lines


def document(tables):
    """COMPLIANCE.md's text."""
    lines = ["# RFCs, requirement by requirement", "",
             "Written by `tests/rfc/compliance.py` from `rfc*.tsv`; edit those. The levels are the RFCs', the wording is ours. "
             "The ids of RFC 9293 are its own (Appendix B); the others have the section's number. Those tables hold every MUST "
             "that speaks to an implementation and the SHOULDs that shape behaviour."]
    for rfc, rows in tables.items():
        lines += section(rfc, rows)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="build folder with the test programs")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when COMPLIANCE.md is stale")
    arguments = parser.parse_args()
    tables = read_tables()
    known = gtest_names(arguments.build) | kernel_names()
    passed = failed = 0
    for row in itertools.chain.from_iterable(tables.values()):
        wrong = list(faults(row, known))
        for fault in wrong:
            print(f"FAILED {row['id']} {fault}")
        passed += not wrong
        failed += bool(wrong)
    text = document(tables)
    if not arguments.check:
        DOCUMENT.write_text(text, encoding="utf-8")
    if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == text:
        passed += 1
    else:
        failed += 1
        print("FAILED COMPLIANCE.md is stale: run tests/rfc/compliance.py BUILD")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
