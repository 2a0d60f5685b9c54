"""VLANs for a kernel that has no 8021q module: TAP devices whose frames a process of its own tags onto the wire."""
import fcntl
import os
import select
import signal
import socket
import struct

import harness
from harness import command

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
VLAN_VALID = 1 << 4
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
FRAME_MAX = 1 << 14


class Trunk:
    """One TAP device named vlanN for each VLAN id, up and joined to `wire` by tagging. `frames`: seen from the wire, by tag."""

    def __init__(self, ids, wire=harness.DEVICE):
        self.taps = {}
        for vlan in ids:
            self.taps[vlan] = os.open("/dev/net/tun", os.O_RDWR)
            fcntl.ioctl(self.taps[vlan], TUNSETIFF, struct.pack("16sH22x", f"vlan{vlan}".encode(), IFF_TAP | IFF_NO_PI))
            command("ip", "link", "set", f"vlan{vlan}", "txqueuelen", 65536, "up")
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.wire.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE: bursts wait here
        self.wire.bind((wire, 0))
        self.wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.process = os.fork()
        if self.process == 0:
            try:
                self.relay()
            finally:
                os._exit(1)

    def relay(self):
        poll = select.poll()
        by_fd = {fd: struct.pack("!HH", 0x8100, vlan) for vlan, fd in self.taps.items()}
        for fd in (*by_fd, self.wire.fileno()):
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self.wire.fileno():
                    self.untag()
                    continue
                frame = os.read(fd, FRAME_MAX)
                self.wire.send(frame[:12] + by_fd[fd] + frame[12:])

    def untag(self):
        """The kernel has taken the tag off and says so beside the frame."""
        frame, extra, _, address = self.wire.recvmsg(FRAME_MAX, 256)
        if address[2] == PACKET_OUTGOING:
            return
        for level, kind, data in extra:
            status, _, _, _, _, tci = struct.unpack("IIIHHH", data[:18])
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA) and status & VLAN_VALID and tci & 0xfff in self.taps:
                os.write(self.taps[tci & 0xfff], frame)

    def close(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        self.wire.close()
        for fd in self.taps.values():
            os.close(fd)
