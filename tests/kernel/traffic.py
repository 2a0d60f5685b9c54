"""Echo traffic over kernel sockets, compared octet for octet, with what it took. Used by the tests and quickstart."""
import hashlib
import pathlib
import random
import selectors
import socket
import threading
import time

NOISE = random.Random(7).randbytes(1 << 20)


class Outcome:
    """What one kind of traffic came to."""

    def __init__(self):
        self.sent = 0
        self.received = 0
        self.seconds = 0.0
        self.round_trips = []  # seconds
        self.differences = []  # texts

    def quantile(self, q):
        times = sorted(self.round_trips)
        return times[min(int(q * len(times)), len(times) - 1)]


def tcp(address, port, timeout=30):
    return socket.create_connection((address, port), timeout)


def one_flow(s, size, piece=1 << 18, when_received=(0, None)):
    """Sends `size` octets on a connected socket and closes that half, while reading the echo to its end.

    `when_received`: after so many octets of the echo, something to do once."""
    after, action = when_received
    outcome, sent, received = Outcome(), hashlib.sha256(), hashlib.sha256()

    def send():
        at = 0
        while outcome.sent < size:
            data = NOISE[at:at + min(piece, size - outcome.sent)]
            at = (at + len(data)) % len(NOISE)
            s.sendall(data)
            sent.update(data)
            outcome.sent += len(data)
        s.shutdown(socket.SHUT_WR)
    began = time.monotonic()
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    while data := s.recv(1 << 18):
        received.update(data)
        outcome.received += len(data)
        if action is not None and outcome.received >= after:
            action()
            action = None
    sender.join(10)
    outcome.seconds = time.monotonic() - began
    if sent.digest() != received.digest():
        outcome.differences.append(f"{outcome.sent} octets sent and {outcome.received} received, with another SHA-256")
    return outcome


def many_flows(address, port, count, size, seconds=60, sndbuf=None, when_open=lambda: None):
    """`count` connections, all open before the first octet; each sends `size` octets of its own (at most 512 KiB).

    `sndbuf` bounds what each has under way: without it, 200 windows queue up for longer than a retransmission timeout
    on a busy machine."""
    outcome, flows, poll = Outcome(), {}, selectors.DefaultSelector()
    for i in range(count):
        s = tcp(address, port)
        if sndbuf is not None:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        s.setblocking(False)
        data = NOISE[i * 1000:i * 1000 + size]
        flows[s] = {"number": i, "left": memoryview(data), "sent": hashlib.sha256(data), "received": hashlib.sha256()}
        poll.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
    when_open()
    began = time.monotonic()
    while flows and time.monotonic() < began + seconds:
        for key, events in poll.select(1):
            s, flow = key.fileobj, flows[key.fileobj]
            if events & selectors.EVENT_WRITE:
                n = s.send(flow["left"][:65536])
                flow["left"] = flow["left"][n:]
                outcome.sent += n
                if not flow["left"]:
                    s.shutdown(socket.SHUT_WR)
                    poll.modify(s, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                data = s.recv(65536)
                flow["received"].update(data)
                outcome.received += len(data)
                if not data:
                    poll.unregister(s)
                    s.close()
                    del flows[s]
                    if flow["sent"].digest() != flow["received"].digest():
                        outcome.differences.append(f"flow {flow['number']}: another SHA-256")
    outcome.seconds = time.monotonic() - began
    for s, flow in flows.items():
        outcome.differences.append(f"flow {flow['number']}: not finished after {seconds} s")
        s.close()
    poll.close()
    return outcome


def round_trips(s, count, size):
    """Messages one after another on a connected socket, TCP or UDP."""
    outcome = Outcome()
    for i in range(count):
        data = NOISE[i:i + size]
        began = time.monotonic()
        s.sendall(data)
        echo = s.recv(65536)
        while s.type == socket.SOCK_STREAM and 0 < len(echo) < size:
            piece = s.recv(65536)
            echo += piece
            if not piece:
                break
        outcome.round_trips.append(time.monotonic() - began)
        outcome.sent += size
        outcome.received += len(echo)
        if echo != data:
            outcome.differences.append(f"message {i} of {size} octets came back different")
    outcome.seconds = sum(outcome.round_trips)
    return outcome


def datagram_sizes(address, port, sizes):
    """A datagram of every size, one after another."""
    outcome = Outcome()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect((address, port))
        for size in sizes:
            one = round_trips(s, 1, size)
            outcome.sent += one.sent
            outcome.received += one.received
            outcome.round_trips += one.round_trips
            outcome.differences += one.differences
    outcome.seconds = sum(outcome.round_trips)
    return outcome


def kernel_counters():
    """What nstat shows: the kernel's SNMP and TcpExt counters of this namespace."""
    counters = {}
    for path in ("/proc/net/snmp", "/proc/net/netstat"):
        lines = pathlib.Path(path).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            prefix = names.split(":")[0]
            for name, value in zip(names.split()[1:], values.split()[1:]):
                counters[prefix + name] = int(value)
    return counters


# Any of these growing on a wire that loses nothing means that one side's TCP misbehaved.
TROUBLE = ("TcpRetransSegs", "TcpInErrs", "TcpExtTCPTimeouts", "TcpExtTCPLostRetransmit", "TcpExtTCPFastRetrans",
           "TcpExtTCPSlowStartRetrans", "TcpExtTCPLossProbes", "TcpExtTCPSpuriousRTOs", "TcpExtTCPOFOQueue",
           "TcpExtTCPDSACKOldSent", "TcpExtTCPAbortOnData", "TcpExtPAWSEstab", "TcpExtTCPChallengeACK",
           "TcpExtTCPSYNChallenge", "TcpExtTCPRcvQDrop", "TcpExtTCPBacklogDrop")
