# SPDX-License-Identifier: Apache-2.0
"""Many connections that all ask at once. When the first byte of an answer came is told by the kernel (SO_TIMESTAMPNS: when the segment
reached the client's socket), so that it does not depend on how fast this interpreter gets round to reading a thousand sockets."""

import selectors
import socket
import struct
import time

from tests.harness.origin import reply

SO_TIMESTAMPNS = 35
MESSAGE = 64  # bytes of ancillary data

FRESH = [("Cache-Control", "max-age=600")]


def answer_of(size, byte=b"x"):
    return reply(byte * size, headers=FRESH)


class Member:
    """One connection of the crowd: what it got. `first_at` in seconds of CLOCK_REALTIME, None = nothing came."""

    def __init__(self, address):
        self.sock = socket.create_connection(address, 30)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.port = self.sock.getsockname()[1]
        self.sock.setblocking(False)
        self.forget()

    def forget(self):
        self.first_at = None
        self.got = b""
        self.is_cut = False

    def read(self):
        """Takes in what is there; True when the answer is whole or the connection ended."""
        try:
            if self.first_at is None:
                data, ancillary, _, _ = self.sock.recvmsg(1, MESSAGE)  # one byte: the stamp is that of the last segment read
                for _, kind, value in ancillary:
                    if kind == SO_TIMESTAMPNS:
                        seconds, nanoseconds = struct.unpack("qq", value)
                        self.first_at = seconds + nanoseconds / 1e9
                self.got = data
            else:
                data = self.sock.recv(1 << 20)
                self.got += data
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.is_cut = not data
        return self.is_cut or self.is_whole()

    @property
    def head(self):
        return self.got.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self):
        return self.got.partition(b"\r\n\r\n")[2]

    def field(self, name):
        return next((line.partition(":")[2].strip() for line in self.head.split("\r\n") if line.lower().startswith(name + ":")), "")

    def is_whole(self):
        return b"\r\n\r\n" in self.got and len(self.body) >= int(self.field("content-length") or 0)

    @property
    def is_filler(self):
        """Whether its request is the one that went to the server."""
        status = self.field("cache-status")
        return "fwd=" in status and "collapsed" not in status


class Crowd:
    def __init__(self, address, count):
        self.members = [Member(address) for _ in range(count)]

    def ask(self, path):
        request = b"GET %s HTTP/1.1\r\nHost: site.test\r\n\r\n" % path.encode()
        for member in self.members:
            member.forget()
            member.sock.send(request)

    def collect(self, within=60.0):
        """Reads until every answer is whole, every connection ended, or the time is over."""
        with selectors.DefaultSelector() as waiting:
            for member in self.members:
                waiting.register(member.sock, selectors.EVENT_READ, member)
            end = time.monotonic() + within
            while waiting.get_map() and time.monotonic() < end:
                for key, _ in waiting.select(0.2):
                    if key.data.read():
                        waiting.unregister(key.fileobj)

    def stop(self):
        for member in self.members:
            member.sock.close()
