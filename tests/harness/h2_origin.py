# SPDX-License-Identifier: Apache-2.0
"""An HTTP/2 origin that sends exactly the frames it is told to, and keeps what came. Header compression is python3-hpack's.

`on_head(stream)` is called when a request's head is complete, `on_end(stream)` at its end; `script(connection)` takes a whole connection
over instead, behind the preface and its own SETTINGS."""

import socket
import struct
import threading

import hpack

from . import waiting
from .h2_client import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
                        Frame, H2Client)


class OriginStream:
    """One request, and the frames that answer it."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.fields, self.trailers = [], []
        self.body = bytearray()
        self.ended = False
        self.code = None     # of the proxy's RST_STREAM

    def get(self, name):
        return next((value for known, value in self.fields if known == name), None)

    def head(self, status=200, headers=(), end=False, pseudo=None):
        fields = [(":status", str(status))] if pseudo is None else list(pseudo)
        self.connection.headers(self.number, [*fields, *headers], end)
        return self

    def data(self, body, end=False):
        """DATA frames; waits for nothing, so it has to be less than the proxy's windows."""
        pieces = [body[at:at + 16384] for at in range(0, len(body), 16384)] or [b""]
        for at, piece in enumerate(pieces):
            self.connection.send(H2Client.frame(DATA, END_STREAM if end and at == len(pieces) - 1 else 0, self.number, piece))
        return self

    def tail(self, trailers):
        self.connection.headers(self.number, trailers, True)
        return self

    def reply(self, body=b"ok", status=200, headers=(), trailers=None):
        self.head(status, headers, end=not body and trailers is None)
        if body:
            self.data(body, end=trailers is None)
        if trailers is not None:
            self.tail(trailers)
        return self

    def reset(self, code):
        self.connection.send(H2Client.frame(RST_STREAM, 0, self.number, struct.pack(">I", code)))


class OriginConnection:
    def __init__(self, origin, sock):
        self.origin, self.sock = origin, sock
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.lock = threading.Lock()
        self.streams = {}
        self.pings = 0
        self.goaway = None    # the code of the proxy's GOAWAY
        self.granted = {}     # by stream, 0 for the connection: bytes of the proxy's WINDOW_UPDATE
        self.buffer = bytearray()
        self.block = b""
        self.ended = False

    def send(self, *frames):
        with self.lock:
            try:
                self.sock.sendall(b"".join(frames))
            except OSError:
                pass

    def headers(self, stream, fields, end):
        with self.lock:  # the compression's state follows the order of the frames
            block = self.encoder.encode(fields)
            try:
                self.sock.sendall(H2Client.frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))
            except OSError:
                pass

    def say_goaway(self, last, code=0):
        self.send(H2Client.frame(GOAWAY, 0, 0, struct.pack(">II", last, code)))

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def read(self, size):
        while len(self.buffer) < size:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionResetError
            self.buffer += more
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def read_frame(self):
        head = self.read(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        return Frame(kind, flags, stream & 0x7FFFFFFF, self.read(int.from_bytes(head[:3], "big")))

    def run(self):
        try:
            if not self.origin.speaks_h2:
                self.sock.recv(65536)
                self.sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return
            assert self.read(len(PREFACE)) == PREFACE
            self.send(H2Client.frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *entry) for entry in self.origin.settings)))
            if self.origin.script:
                self.origin.script(self)
                return
            while True:
                self.take(self.read_frame())
        except OSError:
            pass
        finally:
            self.ended = True
            self.close()

    def take(self, frame):
        """Keeps account of a frame, and answers it as `origin` says."""
        stream = self.streams.get(frame.stream)
        if frame.type == SETTINGS and not frame.flags & ACK:
            self.send(H2Client.frame(SETTINGS, ACK, 0))
        elif frame.type == PING and not frame.flags & ACK:
            self.pings += 1
            if self.origin.answers_pings:
                self.send(H2Client.frame(PING, ACK, 0, frame.payload))
        elif frame.type == GOAWAY:
            self.goaway = struct.unpack(">I", frame.payload[4:8])[0]
        elif frame.type == WINDOW_UPDATE:
            self.granted[frame.stream] = self.granted.get(frame.stream, 0) + struct.unpack(">I", frame.payload)[0]
        elif frame.type == RST_STREAM and stream:
            stream.code = struct.unpack(">I", frame.payload)[0]
        elif frame.type == DATA and stream:
            stream.body += frame.payload
            if frame.payload and self.origin.windows:
                size = struct.pack(">I", len(frame.payload))
                self.send(H2Client.frame(WINDOW_UPDATE, 0, 0, size), H2Client.frame(WINDOW_UPDATE, 0, frame.stream, size))
        elif frame.type in (HEADERS, CONTINUATION):
            self.block = frame.payload if frame.type == HEADERS else self.block + frame.payload
            if not frame.flags & END_HEADERS:
                return
            fields = self.decoder.decode(self.block)
            if stream is None:
                stream = self.streams[frame.stream] = OriginStream(self, frame.stream)
                stream.fields = fields
                self.origin.requests.append(stream)
                if self.origin.on_head:
                    self.origin.on_head(stream)
            else:
                stream.trailers = fields
        if frame.type in (DATA, HEADERS) and frame.flags & END_STREAM and stream:
            stream.ended = True
            if self.origin.on_end:
                self.origin.on_end(stream)


class H2Origin:
    """Listens when made. `requests` has all requests of all connections, `connections` those."""

    def __init__(self, on_end=None, on_head=None, script=None, settings=(), tls=None, windows=True, answers_pings=True, speaks_h2=True):
        if not (on_end or on_head or script):
            on_end = OriginStream.reply
        self.on_end, self.on_head, self.script = on_end, on_head, script
        self.settings, self.tls, self.windows, self.answers_pings, self.speaks_h2 = settings, tls, windows, answers_pings, speaks_h2
        self.requests, self.connections = [], []
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = waiting.free_port()
        self.sock.bind(("127.0.0.1", self.port))
        self.sock.listen(256)
        self.text = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def last(self):
        return self.requests[-1]

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock = self.tls.wrap_socket(sock, server_side=True) if self.tls else sock
        except OSError:
            sock.close()
            return
        connection = OriginConnection(self, sock)
        self.connections.append(connection)
        connection.run()

    def stop(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for connection in self.connections:
            connection.close()
