# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 on the wire, read strictly: what is malformed raises WireError, so a test cannot overlook it."""

import re
import socket
from dataclasses import dataclass, field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"(" + TOKEN + rb"):[\t ]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[\t ]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?")


class WireError(Exception):
    """The peer sent something that is not HTTP/1."""


class Closed(WireError):
    """The peer ended (cleanly or by reset) where more was due."""


class Headers(list):
    """Field lines in order, as (name, value) strings; lookups ignore case."""

    def all(self, name):
        return [value for key, value in self if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        if len(values) > 1:
            raise AssertionError(f"{name} came {len(values)} times: {values}")
        return values[0] if values else default

    def has(self, name):
        return bool(self.all(name))


@dataclass
class Message:
    """A request or a response as it came: start-line parts, fields, body, trailers, and the bytes of its head."""

    version: int = 1
    method: str = ""
    target: str = ""
    status: int = 0
    reason: str = ""
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    trailers: Headers = field(default_factory=Headers)
    head: bytes = b""
    framing: str = "none"
    chunks: list = field(default_factory=list)
    interim: list = field(default_factory=list)

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")


class Reader:
    """Strict reader over a connected socket. `received` keeps every byte that ever came."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()
        self.received = bytearray()
        self.ended = None

    def _more(self):
        if self.ended:
            raise Closed(self.ended)
        try:
            piece = self.sock.recv(262144)
        except socket.timeout:
            raise TimeoutError("nothing came in time") from None
        except OSError as error:
            self.ended = f"reset: {error}"
            raise Closed(self.ended) from None
        if not piece:
            self.ended = "end of stream"
            raise Closed(self.ended)
        self.buffer += piece
        self.received += piece

    def line(self):
        while b"\r\n" not in self.buffer:
            if b"\n" in self.buffer:
                raise WireError(f"bare LF in {bytes(self.buffer[:200])!r}")
            self._more()
        end = self.buffer.index(b"\r\n")
        text = bytes(self.buffer[:end])
        if b"\n" in text or b"\r" in text:
            raise WireError(f"bare CR or LF in {text[:200]!r}")
        del self.buffer[: end + 2]
        return text

    def exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def to_end(self):
        """Everything until the peer ends; a reset raises."""
        try:
            while True:
                self._more()
        except Closed:
            if self.ended != "end of stream":
                raise
        taken = bytes(self.buffer)
        self.buffer.clear()
        return taken

    def fields(self):
        headers = Headers()
        while True:
            text = self.line()
            if not text:
                return headers
            match = _FIELD.fullmatch(text)
            if not match:
                raise WireError(f"bad field line {text[:200]!r}")
            headers.append((match[1].decode("latin-1"), match[2].decode("latin-1")))

    def at_start(self):
        """True when a next message begins; False when the peer ended cleanly before one."""
        while not self.buffer:
            try:
                self._more()
            except Closed:
                return False
        return True

    def chunked(self, message):
        body = bytearray()
        while True:
            text = self.line()
            match = _CHUNK.fullmatch(text)
            if not match:
                raise WireError(f"bad chunk line {text[:100]!r}")
            size = int(match[1], 16)
            if size == 0:
                message.body = bytes(body)
                message.trailers = self.fields()
                return
            piece = self.exactly(size)
            body += piece
            message.chunks.append(piece)
            if self.exactly(2) != b"\r\n":
                raise WireError("chunk not followed by CRLF")

    @staticmethod
    def _length(headers):
        lengths = headers.all("content-length")
        if len(lengths) > 1 or (lengths and not re.fullmatch("[0-9]{1,19}", lengths[0])):
            raise WireError(f"bad content-length {lengths}")
        codings = headers.all("transfer-encoding")
        if codings and (codings != ["chunked"] or lengths):
            raise WireError(f"ambiguous framing: {codings} {lengths}")
        return int(lengths[0]) if lengths else None

    def request_head(self):
        text = self.line()
        start = bytes(text)
        match = _REQUEST_LINE.fullmatch(text)
        if not match:
            raise WireError(f"bad request line {text[:200]!r}")
        before = len(self.received) - len(self.buffer)
        headers = self.fields()
        head = start + b"\r\n" + bytes(self.received[before : len(self.received) - len(self.buffer)])
        return Message(int(match[3]), match[1].decode(), match[2].decode("latin-1"), headers=headers, head=head)

    def request_body(self, message):
        length = self._length(message.headers)
        if message.headers.has("transfer-encoding"):
            message.framing = "chunked"
            self.chunked(message)
        elif length is not None:
            message.framing = "length"
            message.body = self.exactly(length)
        return message

    def request(self):
        return self.request_body(self.request_head())

    def response_head(self):
        text = self.line()
        match = _STATUS_LINE.fullmatch(text)
        if not match:
            raise WireError(f"bad status line {text[:200]!r}")
        before = len(self.received) - len(self.buffer)
        headers = self.fields()
        head = text + b"\r\n" + bytes(self.received[before : len(self.received) - len(self.buffer)])
        return Message(int(match[1]), status=int(match[2]), reason=match[3].decode("latin-1"), headers=headers, head=head)

    def response(self, method="GET"):
        """The next final response with its interim ones before it in `.interim`."""
        interim = []
        while True:
            message = self.response_head()
            if 100 <= message.status < 200 and message.status != 101:
                interim.append(message)
                continue
            message.interim = interim
            break
        length = self._length(message.headers)
        if method == "HEAD" or message.status in (101, 204, 304) or (method == "CONNECT" and message.status < 300):
            return message
        if message.headers.has("transfer-encoding"):
            message.framing = "chunked"
            self.chunked(message)
        elif length is not None:
            message.framing = "length"
            message.body = self.exactly(length)
        else:
            message.framing = "eof"
            message.body = self.to_end()
        return message
