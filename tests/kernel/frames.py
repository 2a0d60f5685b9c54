"""Frames built octet by octet, right or wrong on purpose, and a raw socket to put them on the wire."""
import socket
import struct

import harness


def mac_octets(text):
    return bytes(int(part, 16) for part in text.split(":"))


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip4(payload, protocol=6, src=harness.KERNEL, dst=harness.STACK, version=4, ihl=None, length=None, frag=0x4000,
        ttl=64, options=b"", check=None):
    words = 5 + len(options) // 4
    length = words * 4 + len(payload) if length is None else length
    header = struct.pack("!BBHHHBBH4s4s", version << 4 | (words if ihl is None else ihl), 0, length, 1, frag, ttl,
                         protocol, 0, socket.inet_aton(src), socket.inet_aton(dst)) + options
    check = checksum(header) if check is None else check
    return header[:10] + struct.pack("!H", check) + header[12:] + payload


def pseudo(protocol, size, src, dst):
    return socket.inet_aton(src) + socket.inet_aton(dst) + struct.pack("!BBH", 0, protocol, size)


def tcp(flags, sport=55555, dport=7, seq=1000, ack=0, offset=None, window=65535, options=b"", payload=b"", check=None,
        src=harness.KERNEL, dst=harness.STACK):
    bits = sum({"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}[f] for f in flags)
    offset = 5 + len(options) // 4 if offset is None else offset
    data = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff, offset << 4, bits, window, 0, 0)
    data += options + payload
    check = checksum(pseudo(6, len(data), src, dst) + data) if check is None else check
    return data[:16] + struct.pack("!H", check) + data[18:]


def udp(payload=b"x", sport=55555, dport=7, length=None, check=None, src=harness.KERNEL, dst=harness.STACK):
    length = 8 + len(payload) if length is None else length
    data = struct.pack("!HHHH", sport, dport, length, 0) + payload
    check = (checksum(pseudo(17, len(data), src, dst) + data) or 0xffff) if check is None else check
    return data[:6] + struct.pack("!H", check) + data[8:]


def icmp(kind, code=0, rest=b"\0\1\0\1", payload=b"pollux", check=None):
    data = struct.pack("!BBH", kind, code, 0) + rest + payload
    check = checksum(data) if check is None else check
    return data[:2] + struct.pack("!H", check) + data[4:]


def arp(operation, sender_mac, sender_ip, target_ip, hardware=1):
    return struct.pack("!HHBBH6s4s6s4s", hardware, 0x800, 6, 4, operation, sender_mac, socket.inet_aton(sender_ip),
                       bytes(6), socket.inet_aton(target_ip))


class Wire:
    """The kernel's end of the TAP device, below IP."""

    def __init__(self, interface=harness.DEVICE):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.bind((interface, 0))
        self.socket.settimeout(2)
        self.ours = self.socket.getsockname()[4]
        neighbour = harness.command("ip", "neigh", "show", harness.STACK, "dev", interface).stdout
        self.stack = mac_octets(neighbour.split("lladdr ")[1].split()[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ethernet(self, payload, kind=0x800, dst=None, src=None):
        return (dst or self.stack) + (src or self.ours) + struct.pack("!H", kind) + payload

    def send(self, frame):
        self.socket.send(frame)

    def receive(self, wanted, seconds=2):
        """The first frame from the stack for which wanted(frame) holds; None when none comes."""
        self.socket.settimeout(seconds)
        try:
            for _ in range(10000):
                frame = self.socket.recv(2048)
                if frame[6:12] == self.stack and wanted(frame):
                    return frame
        except TimeoutError:
            pass
        return None
