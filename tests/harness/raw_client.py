# SPDX-License-Identifier: Apache-2.0
"""A client that sends exactly the bytes it is given and reads answers strictly (wire.py)."""

import socket
import struct
import time

from . import waiting
from .wire import Closed, Reader, WireError


class RawClient:
    """One connection. `address` is (host, port) or a Unix socket's path."""

    def __init__(self, address, timeout=waiting.PATIENCE, receive_buffer=None, source=None):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(address)
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def try_send(self, data):
        """Sends what the peer lets us; False if it had closed."""
        try:
            self.send(data)
            return True
        except OSError:
            return False

    def trickle(self, data, pause):
        for at in range(len(data)):
            self.send(data[at : at + 1])
            time.sleep(pause)

    def response(self, method="GET"):
        return self.reader.response(method)

    def request(self, method="GET", target="/", headers=(), body=None, host="site.test"):
        """Sends one well-formed request and returns its answer."""
        lines = [f"{method} {target} HTTP/1.1"]
        if host is not None:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None and not any(name.lower() in ("transfer-encoding", "content-length") for name, _ in headers):
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        return self.response(method)

    def shut_write(self):
        self.sock.shutdown(socket.SHUT_WR)

    def is_closed(self, within=waiting.PATIENCE):
        """True if the peer ends the connection within that time and sends nothing more; bytes that come raise WireError."""
        self.sock.settimeout(within)
        if self.reader.buffer:
            raise WireError(f"unexpected bytes: {bytes(self.reader.buffer[:200])!r}")
        try:
            more = self.reader.at_start()
        except TimeoutError:
            return False
        if more:
            raise WireError(f"unexpected bytes: {bytes(self.reader.buffer[:200])!r}")
        return True

    def drain(self, within=waiting.PATIENCE):
        """All bytes until the peer ends, or until nothing came for `within` seconds; and how it ended."""
        self.sock.settimeout(within)
        try:
            self.reader.to_end()
            how = "closed"
        except Closed:
            how = "reset"
        except TimeoutError:
            how = "open"
        return bytes(self.reader.received), how

    def reset(self):
        """Closes with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()
