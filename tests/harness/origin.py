# SPDX-License-Identifier: Apache-2.0
"""A raw scripted origin server: answers each request by a function or with given bytes, and records exactly what it received.

An answer is bytes, or a function of the request returning bytes, or a function of (request, connection) that sends by itself
(delay, cut, reset, trickle) and returns None. A script `def play(connection)` takes a whole connection over instead."""

import inspect
import os
import socket
import struct
import threading
import time

from . import waiting
from .wire import Closed, Reader, WireError


def reply(body=b"ok", status=200, reason="OK", headers=(), length=True):
    """Bytes of a plain answer."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked_reply(pieces, status=200, headers=(), trailers=()):
    """Bytes of a chunked answer, one chunk a piece."""
    lines = [f"HTTP/1.1 {status} OK", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in headers]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    tail = "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body + b"0\r\n" + tail + b"\r\n"


class Connection:
    """One connection from the proxy, with all that came over it."""

    def __init__(self, origin, sock, number):
        self.origin = origin
        self.sock = sock
        self.number = number
        self.reader = Reader(sock)
        self.requests = []
        self.error = None
        self.opened_at = time.monotonic()
        self.closed_at = None
        self.last_sent_at = None

    @property
    def received(self):
        return bytes(self.reader.received)

    def send(self, data):
        self.sock.sendall(data)
        self.last_sent_at = time.monotonic()

    def trickle(self, data, pause, step=1):
        for at in range(0, len(data), step):
            self.send(data[at : at + step])
            time.sleep(pause)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def is_ended_by_peer(self, within=waiting.PATIENCE):
        """Reads on until the proxy ends the connection."""
        self.sock.settimeout(within)
        try:
            self.reader.to_end()
        except Closed:
            pass
        except TimeoutError:
            return False
        return True


class Origin:
    """Listens at once; use as a context. `received` is every byte of every connection, `requests` what parsed."""

    def __init__(self, answer=None, script=None, unix=None, host="127.0.0.1", port=0, timeout=4 * waiting.PATIENCE):
        self.answer = reply() if answer is None else answer
        self.script = script
        self.timeout = timeout
        self.connections = []
        self.requests = []
        self.lock = threading.Condition()
        self.stopping = False
        family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(unix if unix else (host, port))
        if unix:
            os.chmod(unix, 0o777)
            self.text, self.url, self.port = f"unix:{unix}", f"http://unix:{unix}", None
        else:
            self.port = self.sock.getsockname()[1]
            self.text = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
            self.url = f"http://{self.text}"
        self.sock.listen(1024)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            connection.close()

    def _accept(self):
        while not self.stopping:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.timeout)
            with self.lock:
                if self.stopping:  # stop() has closed those that it knew
                    sock.close()
                    return
                connection = Connection(self, sock, len(self.connections))
                self.connections.append(connection)
                self.lock.notify_all()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            if self.script:
                self.script(connection)
            else:
                while connection.reader.at_start():
                    if not self._exchange(connection):
                        break
        except (WireError, TimeoutError, OSError, ValueError) as error:
            connection.error = error
        finally:
            connection.close()
            connection.closed_at = time.monotonic()
            with self.lock:
                self.lock.notify_all()

    def record(self, connection, request):
        """For scripts: remembers a request they have read."""
        with self.lock:
            connection.requests.append(request)
            self.requests.append(request)
            self.lock.notify_all()

    def _exchange(self, connection):
        request = connection.reader.request_head()
        request.arrived_at = time.monotonic()
        if request.headers.get("expect", "").lower() == "100-continue":
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.reader.request_body(request)
        self.record(connection, request)
        answer = self.answer
        if callable(answer):
            arguments = (request, connection) if len(inspect.signature(answer).parameters) > 1 else (request,)
            answer = answer(*arguments)
        if answer is not None:
            connection.send(answer)
        return answer is not False and connection.sock.fileno() >= 0

    @property
    def received(self):
        return b"".join(connection.received for connection in list(self.connections))

    def wait_requests(self, count, deadline=None):
        waiting.until(lambda: len(self.requests) >= count, f"{count} requests at the origin (came: {len(self.requests)})", deadline)
        return self.requests

    def wait_connections(self, count, deadline=None):
        waiting.until(lambda: len(self.connections) >= count, f"{count} connections at the origin", deadline)
        return self.connections
