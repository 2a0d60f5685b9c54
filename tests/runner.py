"""Builds what the suites need, runs them, prints progress and a summary; tests/run starts it.

The last line is "N passed, N failed" and counts test cases, not executables. A suite that cannot run, runs
nothing or skips a case has failed.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("POLLUX_BUILD", ROOT / "build"))
LOGS = BUILD / "test-logs"
CORES = len(os.sched_getaffinity(0))
COUNTS = re.compile(r"^(\d+) passed, (\d+) failed$", re.M)

# As it is shipped and measured, and with everything that watches for mistakes.
CONFIGURATIONS = {
    "release": {"CXX": "g++", "options": ["-Dbuildtype=release"]},
    "sanitize": {
        "CXX": "clang++-19",
        "options": ["-Dbuildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false",
                    "-Ddcheck=enabled", "-Dfuzz=true", "-Ddefault_library=static", "-Dcpp_args=-g1"],
        "targets": ["checked"],
    },
}


@dataclasses.dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    notes: list = dataclasses.field(default_factory=list)

    def fail(self, note, count=1):
        self.failed += count
        self.notes.append(note)
        return self

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.notes += other.notes


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def run(command, log, timeout, env=None, show=lambda line: True):
    """Runs a command into a log file, passing on the lines that `show` picks. Returns exit status and text."""
    LOGS.mkdir(parents=True, exist_ok=True)
    text = []
    process = subprocess.Popen([str(word) for word in command], cwd=ROOT, env={**os.environ, **(env or {})},
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", start_new_session=True)

    def on_timeout(*_):
        text.append(f"stopped: still running after {timeout} s\n")
        stop(process)

    signal.signal(signal.SIGALRM, on_timeout)
    signal.alarm(timeout)
    try:
        with open(LOGS / log, "w") as out:
            for line in process.stdout:
                out.write(line)
                text.append(line)
                if show(line):
                    print("   ", line, end="", flush=True)
        status = process.wait()
    finally:
        signal.alarm(0)
        stop(process)
    return status, "".join(text)


def stop(process):
    """Ends a command and what it started (they share its session), giving it 10 s to clean up."""
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def every(seconds):
    """A `show` for chatty commands: a line now and then."""
    last = [time.monotonic()]

    def show(_line):
        if time.monotonic() - last[0] < seconds:
            return False
        last[0] = time.monotonic()
        return True
    return show


class Builds:
    """Configures and compiles a configuration the first time a suite asks for it."""

    def __init__(self):
        self.done = {}

    def get(self, name):
        """The build folder, or None when it does not build."""
        if name not in self.done:
            self.done[name] = self.build(name)
        return self.done[name]

    def build(self, name):
        folder = BUILD / f"test-{name}"
        configuration = CONFIGURATIONS[name]
        env = {"CXX": configuration["CXX"], "CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}
        say(f"building {name} ({configuration['CXX']} {' '.join(configuration['options'])})")
        start = time.monotonic()
        again = ["--reconfigure"] if (folder / "build.ninja").exists() else []
        status, text = run(["meson", "setup", *again, f"--prefix={folder}/prefix", *configuration["options"], folder],
                           f"setup-{name}.log", 300, env, show=lambda line: False)
        if status == 0:
            status, text = run(["ninja", "-C", folder, f"-j{CORES}", *configuration.get("targets", [])], f"build-{name}.log", 1500, env, every(10))
        if status != 0:
            print(text[-6000:])
            say(f"{name} does not build")
            return None
        say(f"built {name} in {time.monotonic() - start:.0f} s")
        return folder


builds = Builds()


def counted(command, log, timeout, env=None, show=lambda line: True):
    """A program that prints "N passed, N failed" itself."""
    status, text = run(command, log, timeout, env, show)
    counts = COUNTS.findall(text)
    if not counts:
        print(text[-3000:])
        return Outcome().fail(f"{log}: exit status {status}, and no count of tests")
    outcome = Outcome(int(counts[-1][0]), int(counts[-1][1]))
    outcome.notes += [line.strip() for line in text.splitlines() if re.match(r"[\s\d.s]*(FAILED|ERROR|SKIP) ", line)]
    if outcome.passed + outcome.failed == 0:
        outcome.fail(f"{log}: no test ran")
    if status != 0 and outcome.failed == 0:
        outcome.fail(f"{log}: exit status {status}")
    return outcome


def meson_tests(configuration, suites, timeout, env=None, parallel=CORES):
    """Runs suites registered with meson and counts their GoogleTest cases."""
    folder = builds.get(configuration)
    if folder is None:
        return Outcome().fail(f"{configuration} does not build")
    outcome = Outcome()
    for suite in suites:
        base = f"pollux-{suite}"
        results = folder / "meson-logs" / f"{base}.json"
        junit = folder / "meson-logs" / f"{base}.junit.xml"
        for stale in (results, junit):
            stale.unlink(missing_ok=True)
        run(["meson", "test", "-C", folder, "--no-rebuild", "--suite", suite, "--logbase", base,
             "--num-processes", parallel, "--print-errorlogs"], f"{suite}-{configuration}.log", timeout, env,
            show=lambda line: re.match(r"\s*\d+/\d+ |.*(FAILED|ERROR)", line))
        if not junit.exists() or not results.exists():
            outcome.fail(f"{suite}: no test ran")
            continue
        outcome.add(read_results(suite, results, junit))
    return outcome


def read_results(suite, results, junit):
    """Counts meson's records of one suite: cases from the JUnit file, ends of processes from the JSON file."""
    outcome = Outcome()
    for case in ET.parse(junit).getroot().iter("testcase"):
        name = f"{case.get('classname') or suite}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.fail(f"{name} failed")
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            outcome.fail(f"{name} did not run")
        else:
            outcome.passed += 1
    ended_badly = []
    for line in results.read_text().splitlines():
        test = json.loads(line)
        if test["result"] != "OK":
            ended_badly.append(f"{test['name']}: {test['result']}, exit status {test['returncode']}")
    # A process may end badly after its cases passed (a leak, a crash at exit) or without telling of any.
    for note in ended_badly[outcome.failed:]:
        outcome.fail(note)
    if outcome.passed + outcome.failed == 0:
        outcome.fail(f"{suite}: no test ran")
    return outcome


def with_build(configuration, command, log, timeout):
    """A program that gets a build folder as its argument and prints its own count."""
    folder = builds.get(configuration)
    if folder is None:
        return Outcome().fail(f"{configuration} does not build")
    return counted([*command, folder], log, timeout)


@dataclasses.dataclass
class Suite:
    name: str
    what: str
    slow: bool
    run: callable


def suites(quick):
    tests = ROOT / "tests"
    scale = {"POLLUX_SEEDS": "50"} if quick else {}
    return [
        Suite("tidy", "the architecture's rules, read off the sources", False,
              lambda: counted(["python3", tests / "tidy/tidy.py"], "tidy.log", 300)),
        Suite("unit", "each layer on its own", False, lambda: meson_tests("release", ["unit"], 300)),
        Suite("state", "TCP state and segment -> state and reply", False,
              lambda: meson_tests("release", ["state"], 300)),
        Suite("script", "packet scripts: conversations by topic, written from the RFCs", False,
              lambda: meson_tests("release", ["script"], 300)),
        Suite("sim", "stacks over simulated links, many seeds", False,
              lambda: meson_tests("release", ["sim"], 900, scale)),
        Suite("goodput", "bulk transfers over many paths, against floors and bounds", False,
              lambda: with_build("release", ["python3", tests / "sim/goodput.py", "--check"], "goodput.log", 600)),
        Suite("vdev", "EAL and virtual devices", False, lambda: meson_tests("release", ["vdev"], 600, parallel=1)),
        Suite("kernel", "Linux as the peer", False,
              lambda: with_build("release", [tests / "kernel/run"] + (["--quick"] if quick else []), "kernel.log", 1200)),
        Suite("igb", "the real igb driver, in a virtual machine with two emulated cards", False,
              lambda: with_build("release", [tests / "igb/run"], "igb.log", 900)),
        Suite("install", "an outside user's build against the installed library", False,
              lambda: with_build("release", [tests / "install/run"], "install.log", 600)),
        Suite("package", "the Debian packages, built, checked and installed", False,
              lambda: counted([tests / "package/run"], "package.log", 1800)),
        Suite("rfc", "the RFC tables against the tests there are", False,
              lambda: with_build("release", ["python3", tests / "rfc/compliance.py", "--check"], "rfc.log", 120)),
        Suite("instructions", "what the server's stack executes per unit of work, against stored figures", False,
              lambda: with_build("release", ["python3", ROOT / "bench/instructions.py", "--check"], "instructions.log", 600)),
        Suite("sanitize", "unit, state, script and sim under ASan and UBSan (clang)", True,
              lambda: meson_tests("sanitize", ["unit", "state", "script", "sim"], 1200, scale)),
        Suite("clang", "what the sanitizers' build leaves out compiles with clang without a warning", True,
              lambda: with_build("sanitize", ["python3", tests / "tidy/compiles.py"], "clang.log", 600)),
        Suite("fuzz", "parsers and whole-stack input under libFuzzer", True,
              lambda: meson_tests("sanitize", ["fuzz"], 600)),
    ]


def report(outcomes):
    print(f"\n{'suite':<10} {'passed':>7} {'failed':>7} {'seconds':>8}")
    total = Outcome()
    for name, outcome, seconds in outcomes:
        print(f"{name:<10} {outcome.passed:>7} {outcome.failed:>7} {seconds:>8.1f}")
        total.add(outcome)
    for note in total.notes:
        print("  failed:", note)
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 1 if total.failed or not total.passed else 0


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__.splitlines()[0])
    parser.add_argument("suite", nargs="*", help="run only these")
    parser.add_argument("--quick", action="store_true", help="leave out the slow suites and the long cases")
    parser.add_argument("--list", action="store_true", help="print the suites and end")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that run() stops its child
    known = suites(arguments.quick)
    if arguments.list:
        for suite in known:
            print(f"{suite.name:<10} {suite.what}{' (slow)' if suite.slow else ''}")
        return 0
    unknown = set(arguments.suite) - {suite.name for suite in known}
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; --list prints them")
    outcomes = []
    for suite in known:
        if arguments.suite and suite.name not in arguments.suite:
            continue
        if arguments.quick and suite.slow and not arguments.suite:
            continue
        say(f"== {suite.name}: {suite.what}")
        start = time.monotonic()
        outcome = suite.run()
        outcomes.append((suite.name, outcome, time.monotonic() - start))
        say(f"{suite.name}: {outcome.passed} passed, {outcome.failed} failed")
    return report(outcomes)


if __name__ == "__main__":
    sys.exit(main())
