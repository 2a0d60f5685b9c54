#!/usr/bin/env python3
"""Checks the sources against the architecture's rules, each rule against samples, and the tools. Ends with a count."""
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import rules  # noqa: E402
import tools_test  # noqa: E402
from samples import SAMPLES  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def project_files():
    """Text files that git knows or would add."""
    listed = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = {}
    for path in filter(None, listed.split("\0")):
        data = (ROOT / path).read_bytes() if (ROOT / path).is_file() else b"\0"
        if b"\0" not in data and not path.startswith("tests/fuzz/corpus"):
            files[path] = data.decode(errors="replace")
    return files


def sample_faults(rule):
    """What is wrong with the rule itself."""
    if rule.__name__ not in SAMPLES:
        return ["it has no samples"]
    bad, good = SAMPLES[rule.__name__]
    missed = [f"misses sample {i}: {files}" for i, files in enumerate(bad) if not list(rule(rules.Tree(files)))]
    wrong = [f"flags good sample {i}: {found}" for i, files in enumerate(good)
             if (found := list(rule(rules.Tree(files))))]
    return missed + wrong


def main():
    tree = rules.Tree(project_files())
    passed = failed = 0
    for rule in rules.RULES:
        for what, faults in ((f"{rule.__name__}: {rule.__doc__.splitlines()[0]}", list(rule(tree))),
                             (f"{rule.__name__} fires on its samples", sample_faults(rule))):
            print("FAILED" if faults else "ok    ", what)
            for fault in faults:
                print("        ", fault[:400])
            passed += not faults
            failed += bool(faults)
    tools = unittest.TextTestRunner(stream=sys.stdout).run(unittest.defaultTestLoader.loadTestsFromModule(tools_test))
    wrong = len(tools.failures) + len(tools.errors) + len(tools.skipped)
    print(f"{passed + tools.testsRun - wrong} passed, {failed + wrong} failed")
    failed += wrong
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
