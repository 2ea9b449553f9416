# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 client that sends exactly the frames it is told to, and keeps account of what comes back. Header compression is python3-hpack's."""

import socket
import struct
from collections import namedtuple

import hpack

from . import waiting

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 5, 6, 7, 8, 9, 11
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, ENABLE_CONNECT_PROTOCOL = 3, 4, 8

Frame = namedtuple("Frame", "type flags stream payload")


class Stream:
    """What came on one stream."""

    def __init__(self):
        self.interim = []      # statuses with their headers
        self.status = None
        self.headers = []
        self.trailers = []
        self.body = bytearray()
        self.frames = []       # the lengths of its DATA frames
        self.ended = False
        self.reset = None      # the code of RST_STREAM

    def get(self, name):
        return next((value for known, value in self.headers if known == name), None)


class H2Frames:
    """What one connection's client may send, as bytes: its header compression and its streams' numbers go on from frame to frame."""

    def __init__(self):
        self.encoder = hpack.Encoder()
        self.streams = {}
        self.next_stream = 1

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload

    def opening(self, settings=(), preface=PREFACE):
        """What a connection begins with."""
        return preface + self.frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in settings))

    def stream_number(self):
        self.next_stream += 2
        return self.next_stream - 2

    def request_frames(self, method="GET", path="/", headers=(), authority="site.test", scheme="http", end=True, stream=None, pseudo=()):
        """(stream, HEADERS frame); `pseudo` replaces the pseudo-fields altogether."""
        stream = stream or self.stream_number()
        fields = list(pseudo) or [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
        self.streams[stream] = Stream()
        block = self.encoder.encode([*fields, *headers])
        return stream, self.frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)


class H2Client(H2Frames):
    """One connection. acks: answer SETTINGS and PING; windows: open windows as data comes; source: its own address."""

    def __init__(self, address, settings=(), acks=True, windows=True, timeout=waiting.PATIENCE, receive_buffer=None, preface=PREFACE, source=None):
        super().__init__()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.decoder = hpack.Decoder()
        self.acks, self.windows = acks, windows
        self.settings = {}
        self.pings = []
        self.goaways = []      # (last stream, code)
        self.granted = {}      # by stream, 0 for the connection: bytes of WINDOW_UPDATE
        self.sent = {}         # likewise: bytes of DATA
        self.ended = False
        self.buffer = bytearray()
        self.block = None      # a header block that CONTINUATION goes on with
        if preface:
            self.send(self.opening(settings, preface))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset_connection(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # --- sending ---
    def send(self, *frames):
        self.sock.sendall(b"".join(frames))

    def try_send(self, *frames):
        try:
            self.send(*frames)
            return True
        except OSError:
            return False

    def start(self, *arguments, body=None, trailers=None, **more):
        """Sends a request and returns its stream's number."""
        stream, frame = self.request_frames(*arguments, end=more.pop("end", body is None and trailers is None), **more)
        self.send(frame)
        if body is not None:
            self.send_body(stream, body, end=trailers is None)
        if trailers is not None:
            self.send(self.frame(HEADERS, END_HEADERS | END_STREAM, stream, self.encoder.encode(trailers)))
        return stream

    def room(self, stream):
        """Bytes of DATA that the server's windows allow now."""
        own = self.settings.get(INITIAL_WINDOW_SIZE, 65535) + self.granted.get(stream, 0) - self.sent.get(stream, 0)
        return min(own, 65535 + self.granted.get(0, 0) - self.sent.get(0, 0))

    def send_part(self, stream, part, end=False):
        """One DATA frame, whatever the windows say."""
        self.send(self.frame(DATA, END_STREAM if end else 0, stream, part))
        for number in (0, stream):
            self.sent[number] = self.sent.get(number, 0) + len(part)

    def send_body(self, stream, body, end=True):
        """DATA frames within the server's windows; waits for them to open."""
        left = memoryview(body)
        while left or not body:
            size = min(len(left), 16384)
            self.until(lambda: not left or self.room(stream) > 0)
            size = min(size, max(0, self.room(stream)))
            self.send_part(stream, bytes(left[:size]), end and size == len(left))
            left = left[size:]
            if not body:
                break

    def open_window(self, stream, size):
        self.send(self.frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size)))

    def reset(self, stream, code=CANCEL):
        self.send(self.frame(RST_STREAM, 0, stream, struct.pack(">I", code)))

    # --- receiving ---
    def read_frame(self):
        """The next frame; None at the connection's end."""
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                self.ended = True
                return None
            self.buffer += more
        size = int.from_bytes(self.buffer[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        payload = bytes(self.buffer[9:9 + size])
        del self.buffer[:9 + size]
        frame = Frame(kind, flags, stream & 0x7FFFFFFF, payload)
        self._account(frame)
        return frame

    def _account(self, frame):
        stream = self.streams.setdefault(frame.stream, Stream()) if frame.stream else None
        if frame.type == SETTINGS and not frame.flags & ACK:
            for at in range(0, len(frame.payload), 6):
                name, value = struct.unpack(">HI", frame.payload[at:at + 6])
                self.settings[name] = value
            if self.acks:
                self.try_send(self.frame(SETTINGS, ACK, 0))
        elif frame.type == PING:
            if frame.flags & ACK:
                self.pings.append(frame.payload)
            elif self.acks:
                self.try_send(self.frame(PING, ACK, 0, frame.payload))
        elif frame.type == GOAWAY:
            last, code = struct.unpack(">II", frame.payload[:8])
            self.goaways.append((last & 0x7FFFFFFF, code))
        elif frame.type == WINDOW_UPDATE:
            self.granted[frame.stream] = self.granted.get(frame.stream, 0) + struct.unpack(">I", frame.payload)[0]
        elif frame.type == RST_STREAM:
            stream.reset = struct.unpack(">I", frame.payload)[0]
        elif frame.type == DATA:
            stream.body += frame.payload
            stream.frames.append(len(frame.payload))
            if self.windows and frame.payload:
                size = struct.pack(">I", len(frame.payload))
                self.try_send(self.frame(WINDOW_UPDATE, 0, 0, size), self.frame(WINDOW_UPDATE, 0, frame.stream, size))
        elif frame.type in (HEADERS, CONTINUATION):
            self._account_block(frame, stream)
        if frame.type in (DATA, HEADERS) and frame.flags & END_STREAM:
            stream.ended = True

    def _account_block(self, frame, stream):
        self.block = frame.payload if frame.type == HEADERS else self.block + frame.payload
        if not frame.flags & END_HEADERS:
            return
        fields = self.decoder.decode(self.block)
        if fields and fields[0][0] == ":status":
            status = int(fields[0][1])
            if status < 200:
                stream.interim.append((status, fields[1:]))
            else:
                stream.status, stream.headers = status, fields[1:]
        else:
            stream.trailers = fields

    def until(self, condition):
        """Reads frames until the condition holds; AssertionError if the connection ends before."""
        while not condition():
            assert self.read_frame() is not None, f"the connection ended; GOAWAY: {self.goaways}"
        return self

    def response(self, stream):
        """Waits for the stream's end, or its reset."""
        answer = self.streams[stream]
        self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    def get(self, *arguments, **more):
        return self.response(self.start(*arguments, **more))

    def to_end(self):
        """Reads until the connection ends."""
        while self.read_frame() is not None:
            pass
        return self

    def ping(self):
        """A round trip."""
        count = len(self.pings)
        self.send(self.frame(PING, 0, 0, b"ping" + struct.pack(">I", count)))
        self.until(lambda: len(self.pings) > count)
