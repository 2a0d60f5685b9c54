"""tcpdump in the namespace."""
import subprocess


class Capture:
    """tcpdump until the first packet that `expression` matches, on every interface: one that goes down would end it."""

    def __init__(self, expression):
        words = ["tcpdump", "-Z", "root", "-nn", "-vv", "-l", "-c", "1", "-i", "any", expression]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        for line in self.process.stderr:
            if "listening on" in line:
                break

    def text(self):
        try:
            out, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, _ = self.process.communicate()
        return out
