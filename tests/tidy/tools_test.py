"""The tools that judge must themselves be right: the C++ reader, the count of test results, the RFC table's checks."""
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from source import code_only, functions

TESTS = pathlib.Path(__file__).resolve().parent.parent


def load(path):
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, TESTS / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ReadsCpp(unittest.TestCase):
    def test_comments_strings_and_directives_are_blanked_and_lines_kept(self):
        text = '#define X \\\n  throw\nint a = 1\'000; // throw\n/* throw\n*/ auto s = "throw\\""; auto r = R"x(throw)x";\n'
        self.assertNotIn("throw", code_only(text))
        self.assertIn("1'000", code_only(text))
        self.assertEqual(code_only(text).count("\n"), text.count("\n"))

    def test_finds_functions_and_not_what_looks_like_them(self):
        text = ("namespace a {\nint table[] = {1, 2};\nenum class E : int { x };\nstruct S final : T {\n  S() : a_{1}, b_(2) {}\n"
                "  int f(X x = {}) const noexcept {\n    if (x) { auto l = [] { return 1; }; }\n    return 1;\n  }\n  int v{3};\n};\n"
                "template <typename T>\nauto g(T t) noexcept(false) -> int { return 1; }\n}\nTEST(A, B) { f(); }\n")
        found = functions(text)
        self.assertEqual([f.name for f in found], ["S", "f", "g", "TEST(A, B)"])
        self.assertEqual([f.is_noexcept for f in found], [False, True, False, False])
        self.assertEqual((found[1].first_line, found[1].lines), (6, 4))


class CountsResults(unittest.TestCase):
    def count(self, junit, *tests):
        runner = load("runner.py")
        with tempfile.TemporaryDirectory() as folder:
            results, report = pathlib.Path(folder, "r.json"), pathlib.Path(folder, "r.xml")
            results.write_text("".join(json.dumps(test) + "\n" for test in tests))
            report.write_text(f"<testsuites><testsuite>{junit}</testsuite></testsuites>")
            outcome = runner.read_results("unit", results, report)
        return outcome.passed, outcome.failed

    ok = {"name": "unit/x", "result": "OK", "returncode": 0}
    bad = {"name": "unit/x", "result": "FAIL", "returncode": 1}

    def test_cases_are_counted_one_by_one(self):
        self.assertEqual(self.count('<testcase name="a"/><testcase name="b"/>', self.ok), (2, 0))
        self.assertEqual(self.count('<testcase name="a"/><testcase name="b"><failure/></testcase>', self.bad), (1, 1))

    def test_a_process_that_ends_badly_after_its_cases_passed_fails(self):
        self.assertEqual(self.count('<testcase name="a"/>', self.bad), (1, 1))

    def test_a_process_that_ends_badly_fails_beside_another_ones_failed_case(self):
        other = {"name": "unit/y", "result": "TIMEOUT", "returncode": -9}
        self.assertEqual(self.count('<testcase name="a"/><testcase name="b"><failure/></testcase>', self.bad, other), (1, 2))

    def test_skipped_and_disabled_cases_and_empty_suites_fail(self):
        self.assertEqual(self.count('<testcase name="a"><skipped/></testcase>', self.ok), (0, 1))
        self.assertEqual(self.count('<testcase name="a" status="notrun"/>', self.ok), (0, 1))
        self.assertEqual(self.count("", self.ok), (0, 1))

    def test_programs_that_print_their_count_are_believed_only_with_a_good_exit(self):
        runner = load("runner.py")
        runner.print = lambda *_, **__: None
        with tempfile.TemporaryDirectory() as folder:
            runner.LOGS = pathlib.Path(folder)

            def outcome(script):
                result = runner.counted(["sh", "-c", script], "x.log", 5, show=lambda line: False)
                return result.passed, result.failed

            self.assertEqual(outcome("echo 3 passed, 1 failed; exit 1"), (3, 1))
            self.assertEqual(outcome("echo 3 passed, 0 failed; exit 1"), (3, 1))
            self.assertEqual(outcome("echo 0 passed, 0 failed"), (0, 1))
            self.assertEqual(outcome("echo hello"), (0, 1))


class ChecksTheRfcTable(unittest.TestCase):
    def test_each_way_a_row_can_be_wrong(self):
        compliance = load("rfc/compliance.py")
        for status, tests, note, good in (
                ("tested", "A.B", "", True), ("gap", "", "why", True), ("declined", "", "why", True),
                ("tested", "", "why", False), ("gap", "", "", False), ("declined", "", " ", False),
                ("tested", "A.B C.D", "", False), ("done", "A.B", "", False)):
            row = {"id": "MUST-1", "status": status, "tests": tests, "note": note}
            self.assertEqual(not list(compliance.faults(row, {"A.B"})), good, row)

    def test_a_test_that_claims_a_requirement_is_named(self):
        compliance = load("rfc/compliance.py")
        known = {"A.B", "A.Must10DoesIt", "C.D", "C.D/RowMust5And6x"}
        self.assertEqual(list(compliance.claims("Must43And44XAndMay2")), ["MUST-43", "MUST-44", "MAY-2"])
        for requirement, tests, good in (("MUST-10", "A.Must10DoesIt", True), ("MUST-10", "A.B", False),
                                         ("MUST-1", "A.B", True), ("MUST-6", "C.D/RowMust5And6x", True),
                                         ("MUST-6", "A.B", False), ("MUST-5", "C.D", True)):
            row = {"id": requirement, "status": "tested", "tests": tests, "note": ""}
            self.assertEqual(not list(compliance.faults(row, known)), good, row)


class Watching(unittest.TestCase):
    def test_what_the_benchmark_takes_out_is_still_there(self):
        done = subprocess.run([sys.executable, TESTS.parent / "bench/watching.py", "--dry-run"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
