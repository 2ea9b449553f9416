# SPDX-License-Identifier: Apache-2.0
"""Frames that RFC 9113 forbids end the connection, or their stream, with the code it names; what it says to ignore is ignored."""

import struct

import pytest

from tests.harness.h2_client import (COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, HEADERS,
                                     H2Client, INITIAL_WINDOW_SIZE, PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS,
                                     STREAM_CLOSED, WINDOW_UPDATE)


def raw(kind, flags=0, stream=0, payload=b""):
    return lambda client: client.frame(kind, flags, stream, payload)


def block(client, **more):
    return client.request_frames(**more)[1][9:]


def number(value):
    return struct.pack(">I", value)


CONNECTION_ERRORS = {
    "DATA on stream 0": (raw(DATA, 0, 0, b"x"), (PROTOCOL_ERROR,)),
    "DATA on an idle stream": (raw(DATA, 0, 5, b"x"), (PROTOCOL_ERROR, STREAM_CLOSED)),
    "HEADERS on stream 0": (lambda c: c.frame(HEADERS, END_HEADERS, 0, block(c)), (PROTOCOL_ERROR,)),
    "HEADERS on an even stream": (lambda c: c.frame(HEADERS, END_HEADERS, 2, block(c)), (PROTOCOL_ERROR,)),
    "PRIORITY on stream 0": (raw(PRIORITY, 0, 0, b"\0" * 5), (PROTOCOL_ERROR,)),
    "RST_STREAM on stream 0": (raw(RST_STREAM, 0, 0, number(8)), (PROTOCOL_ERROR,)),
    "RST_STREAM on an idle stream": (raw(RST_STREAM, 0, 7, number(8)), (PROTOCOL_ERROR,)),
    "RST_STREAM of a wrong size": (lambda c: c.request_frames()[1] + c.frame(RST_STREAM, 0, 1, b"123"), (FRAME_SIZE_ERROR,)),
    "SETTINGS on a stream": (raw(SETTINGS, 0, 1), (PROTOCOL_ERROR,)),
    "SETTINGS of a wrong size": (raw(SETTINGS, 0, 0, b"123"), (FRAME_SIZE_ERROR,)),
    "an acknowledgement with content": (raw(SETTINGS, 1, 0, b"123456"), (FRAME_SIZE_ERROR,)),
    "a window beyond its maximum": (raw(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 2**31)), (FLOW_CONTROL_ERROR,)),
    "a frame size below its minimum": (raw(SETTINGS, 0, 0, struct.pack(">HI", 5, 100)), (PROTOCOL_ERROR,)),
    "ENABLE_PUSH of 2": (raw(SETTINGS, 0, 0, struct.pack(">HI", 2, 2)), (PROTOCOL_ERROR,)),
    "PUSH_PROMISE from a client": (raw(PUSH_PROMISE, END_HEADERS, 1, number(2)), (PROTOCOL_ERROR,)),
    "PING on a stream": (raw(PING, 0, 1, b"12345678"), (PROTOCOL_ERROR,)),
    "PING of a wrong size": (raw(PING, 0, 0, b"1234"), (FRAME_SIZE_ERROR,)),
    "GOAWAY on a stream": (raw(GOAWAY, 0, 1, b"\0" * 8), (PROTOCOL_ERROR,)),
    "WINDOW_UPDATE of nothing": (raw(WINDOW_UPDATE, 0, 0, number(0)), (PROTOCOL_ERROR,)),
    "WINDOW_UPDATE of nothing on a stream": (lambda c: c.request_frames(end=False)[1] + c.frame(WINDOW_UPDATE, 0, 1, number(0)), (PROTOCOL_ERROR,)),
    "WINDOW_UPDATE of a wrong size": (raw(WINDOW_UPDATE, 0, 0, b"123"), (FRAME_SIZE_ERROR,)),
    "a connection window that overflows": (raw(WINDOW_UPDATE, 0, 0, number(2**31 - 1)), (FLOW_CONTROL_ERROR,)),
    "CONTINUATION without HEADERS": (raw(CONTINUATION, END_HEADERS, 1, b""), (PROTOCOL_ERROR,)),
    "another frame inside a header block": (lambda c: c.frame(HEADERS, 0, 1, block(c)) + c.frame(PING, 0, 0, b"12345678"), (PROTOCOL_ERROR,)),
    "padding longer than its frame": (lambda c: c.request_frames(end=False)[1] + c.frame(DATA, PADDED, 1, b"\x09ab"), (PROTOCOL_ERROR,)),
    "a frame larger than allowed": (lambda c: c.request_frames(end=False)[1] + c.frame(DATA, 0, 1, b"x" * 16385), (FRAME_SIZE_ERROR,)),
    "a header block that cannot be decoded": (raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\xff"), (COMPRESSION_ERROR,)),
}


@pytest.mark.parametrize("case", CONNECTION_ERRORS)
def test_a_connection_error(relay, case):
    """GOAWAY with the code, and the end."""
    make, codes = CONNECTION_ERRORS[case]
    with H2Client(relay.ladle.address) as client:
        client.ping()
        client.try_send(make(client))
        client.to_end()
        assert client.goaways and client.goaways[-1][1] in codes, client.goaways


def test_a_preface_that_goes_on_with_something_else(relay):
    """The first frame must be SETTINGS."""
    with H2Client(relay.ladle.address, preface=None) as client:
        client.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + client.frame(PING, 0, 0, b"12345678"))
        client.to_end()
        assert client.goaways[-1][1] == PROTOCOL_ERROR


STREAM_ERRORS = {
    "a stream window that overflows": (lambda c, s: c.frame(WINDOW_UPDATE, 0, s, number(2**31 - 1)), FLOW_CONTROL_ERROR),
    "trailers that do not end the stream": (lambda c, s: c.frame(HEADERS, END_HEADERS, s, c.encoder.encode([("x", "y")])), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", STREAM_ERRORS)
def test_a_stream_error(relay, case):
    """RST_STREAM with the code; the connection goes on."""
    make, code = STREAM_ERRORS[case]
    with H2Client(relay.ladle.address) as client:
        stream = client.start("POST", "/", end=False)
        client.send(make(client, stream))
        assert client.response(stream).reset == code
        assert client.get().status == 200


IGNORED = {
    "an unknown frame": raw(0xBB, 0xFF, 0, b"what?"),
    "an unknown frame on a stream": raw(0xBB, 0xFF, 5, b"what?"),
    "an unknown setting": raw(SETTINGS, 0, 0, struct.pack(">HI", 0xFFFF, 7)),
    "PRIORITY on an idle stream": raw(PRIORITY, 0, 11, b"\0\0\0\0\x10"),
    "unknown flags": raw(PING, 0xFE, 0, b"12345678"),
    "an acknowledgement nobody waits for": raw(PING, 1, 0, b"whatever"),
    "a malformed priority": lambda c: c.request_frames(headers=[("priority", "u=99, i=?!")])[1],
}


@pytest.mark.parametrize("case", IGNORED)
def test_what_is_ignored(relay, case):
    """The connection goes on as if nothing had come."""
    with H2Client(relay.ladle.address) as client:
        client.send(IGNORED[case](client))
        assert client.get().status == 200 and not client.goaways


def test_a_request_in_pieces(relay):
    """Padding, a priority inside HEADERS, CONTINUATION, and bytes that come one at a time."""
    with H2Client(relay.ladle.address) as client:
        fields = block(client, headers=[("x", "y")])
        head = client.frame(HEADERS, 0x20 | PADDED | END_STREAM, 1, b"\x03" + b"\0\0\0\0\x10" + fields[:4] + b"\0" * 3)
        for at in range(len(head)):
            client.sock.sendall(head[at:at + 1])
        # nghttp2 counts each piece of a CONTINUATION frame's head as one more of the eight that may follow: these come whole.
        client.send(client.frame(CONTINUATION, 0, 1, fields[4:9]), client.frame(CONTINUATION, END_HEADERS, 1, fields[9:]))
        assert client.response(1).status == 200 and relay.last.headers.get("x") == "y"
