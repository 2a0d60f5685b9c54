#!/usr/bin/env python3
"""Checks rfc9293.tsv against the tests that exist and writes COMPLIANCE.md from it.

    tests/rfc/compliance.py BUILD            writes COMPLIANCE.md
    tests/rfc/compliance.py --check BUILD    fails when a row is wrong or COMPLIANCE.md is stale

A row: id, level, requirement, status, tests, note. `tested`: the named tests show it (GoogleTest's Suite.Name or
Suite.Name/parameter, or kernel:Class.test_name). `gap`: not met or not shown yet, and the note says what is missing.
`declined`: left out for good, and the note says why. A MUST without a test and without a note is an error, like a test nobody can find.
"""
import argparse
import ast
import csv
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE / "rfc9293.tsv"
DOCUMENT = HERE / "COMPLIANCE.md"
STATUS = {"tested": "tested", "gap": "**gap**", "declined": "declined"}


def read_rows():
    with open(TABLE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


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


def document(rows):
    """COMPLIANCE.md's text."""
    lines = ["# RFC 9293, requirement by requirement", "",
             "Written by `tests/rfc/compliance.py` from `rfc9293.tsv`; edit that. The ids and levels are RFC 9293's "
             "(Appendix B), the wording is ours.", "", "| level | " + " | ".join(STATUS) + " |", "|---|---|---|---|"]
    for level in dict.fromkeys(row["level"].split()[0] for row in rows):
        of_level = [row["status"] for row in rows if row["level"].split()[0] == level]
        lines.append(f"| {level} | " + " | ".join(str(of_level.count(status)) for status in STATUS) + " |")
    lines += ["", "| id | level | requirement | status | shown by, or why not |", "|---|---|---|---|---|"]
    for row in rows:
        shown = "<br>".join(f"`{name}`" for name in tests_of(row))
        why = "<br>".join(part for part in (shown, row["note"].replace("|", "\\|")) if part)
        lines.append(f"| {row['id']} | {row['level']} | {row['requirement']} | {STATUS.get(row['status'])} | {why} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", help="build folder with the test programs")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when COMPLIANCE.md is stale")
    arguments = parser.parse_args()
    rows = read_rows()
    known = gtest_names(arguments.build) | kernel_names()
    passed = failed = 0
    for row in rows:
        wrong = list(faults(row, known))
        for fault in wrong:
            print(f"FAILED {row['id']} {fault}")
        passed += not wrong
        failed += bool(wrong)
    text = document(rows)
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
