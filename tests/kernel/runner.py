"""Runs the test modules, a line for each test, each bounded in time, and prints the sum."""
import signal
import sys
import time
import unittest

SECONDS_MAX = 60  # of one test; one that says so (`seconds_max`) may take longer


class TooLong(Exception):
    pass


class Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.passed = 0
        self.bad = 0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        signal.alarm(getattr(getattr(test, test._testMethodName), "seconds_max", SECONDS_MAX))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def line(self, test, verdict):
        print(f"  {verdict:<6} {time.monotonic() - getattr(self, 'began', time.monotonic()):6.2f} s  {test.id()}")

    def failure(self, test, error, verdict):
        self.bad += 1
        self.line(test, verdict)
        print("    " + self._exc_info_to_string(error, test).rstrip().replace("\n", "\n    "))

    def addSuccess(self, test):
        self.passed += 1
        self.line(test, "ok")

    def addFailure(self, test, error):
        self.failure(test, error, "FAILED")

    def addError(self, test, error):
        self.failure(test, error, "ERROR")

    def addSkip(self, test, reason):
        self.bad += 1
        self.line(test, "SKIP")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.failure(subtest, error, "FAILED")


def chosen(suite, word):
    """The tests of a suite whose id contains `word`."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from chosen(test, word)
        elif word is None or word in test.id():
            yield test


def too_long(*_):
    raise TooLong("still running after its time")


def run(folder, word):
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    suite = unittest.TestSuite(chosen(unittest.defaultTestLoader.discover(str(folder), "test_*.py"), word))
    result = Result()
    suite.run(result)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{result.passed} passed, {result.bad} failed")
    return 0 if result.passed and not result.bad else 1
