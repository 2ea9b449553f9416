# SPDX-License-Identifier: Apache-2.0
"""The cases of h2spec (its sections "generic", "http2" and "hpack") that test_frames.py, test_malformed.py and test_flow_control.py do not have, as frames:
for each what RFC 9113 or RFC 7541 lets a server answer, and nothing else."""

import struct

import hpack
import pytest

from tests.harness import waiting
from tests.harness.h2_client import (COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, H2Client,
                                     HEADERS, INITIAL_WINDOW_SIZE, PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS,
                                     STREAM_CLOSED, WINDOW_UPDATE)

GOOD = [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")]
POST = [(":method", "POST"), *GOOD[1:]]


def number(value):
    return struct.pack(">I", value)


def setting(name, value):
    return struct.pack(">HI", name, value)


def encoded(_, fields=GOOD):
    return hpack.Encoder().encode(fields)  # refers to no block before it


def opened(client, *frames, fields=POST):
    """A request on stream 1 whose body is still to come, then these frames."""
    return b"".join([client.frame(HEADERS, END_HEADERS, 1, encoded(client, fields)), *frames])


def whole(client, *frames):
    """A whole request on stream 1, then these frames."""
    return b"".join([client.frame(HEADERS, END_HEADERS | END_STREAM, 1, encoded(client)), *frames])


def reset(client, *frames):
    """A stream 1 that its client has reset, then these frames."""
    return opened(client, client.frame(RST_STREAM, 0, 1, number(8)), *frames)


def hpacked(block):
    """A request whose header block is a good one with these bytes behind it."""
    return lambda client: client.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82\x86\x84\x41\x09site.test" + block)


# name: (frames, the codes of GOAWAY that are right, the codes of RST_STREAM that are right, whether it may go on as if nothing had come)
CASES = {
    # RFC 9113 §4
    "4.1: the reserved bit of a frame's stream": (lambda c: c.frame(PING, 0, 0x80000000, b"12345678"), (), (), True),
    "4.2: a frame of 2^14 bytes": (lambda c: opened(c, c.frame(DATA, END_STREAM, 1, b"x" * 16384)), (), (), True),
    "4.2: HEADERS larger than allowed": (lambda c: c.frame(HEADERS, END_HEADERS | END_STREAM, 1, encoded(c) + encoded(c, [("x", "~" * 22000)])), (FRAME_SIZE_ERROR,), (), False),
    "4.3: PRIORITY inside a header block": (lambda c: c.frame(HEADERS, END_STREAM, 1, encoded(c)) + c.frame(PRIORITY, 0, 1, b"\0\0\0\0\1"), (PROTOCOL_ERROR,), (), False),
    "4.3: HEADERS of another stream inside a header block": (lambda c: c.frame(HEADERS, END_STREAM, 1, encoded(c)) + c.frame(HEADERS, END_HEADERS | END_STREAM, 3, encoded(c)),
                                                             (PROTOCOL_ERROR,), (), False),
    # §5.1
    "5.1: WINDOW_UPDATE on an idle stream": (lambda c: c.frame(WINDOW_UPDATE, 0, 1, number(100)), (PROTOCOL_ERROR,), (), False),
    "5.1: CONTINUATION on an idle stream": (lambda c: c.frame(CONTINUATION, END_HEADERS, 1, encoded(c)), (PROTOCOL_ERROR,), (), False),
    "5.1: DATA behind the request's end": (lambda c: whole(c, c.frame(DATA, END_STREAM, 1, b"x")), (STREAM_CLOSED,), (STREAM_CLOSED,), False),
    "5.1: HEADERS behind the request's end": (lambda c: whole(c, c.frame(HEADERS, END_HEADERS | END_STREAM, 1, encoded(c))), (STREAM_CLOSED,), (STREAM_CLOSED,), False),
    "5.1: CONTINUATION behind the request's end": (lambda c: whole(c, c.frame(CONTINUATION, END_HEADERS, 1, encoded(c))), (STREAM_CLOSED, PROTOCOL_ERROR), (STREAM_CLOSED,), False),
    "5.1: DATA on a stream that its client reset": (lambda c: reset(c, c.frame(DATA, END_STREAM, 1, b"x")), (STREAM_CLOSED,), (STREAM_CLOSED,), True),
    "5.1: HEADERS on a stream that its client reset": (lambda c: reset(c, c.frame(HEADERS, END_HEADERS | END_STREAM, 1, encoded(c))), (STREAM_CLOSED,), (STREAM_CLOSED,), True),
    "5.1: CONTINUATION on a stream that its client reset": (lambda c: reset(c, c.frame(CONTINUATION, END_HEADERS, 1, encoded(c))), (STREAM_CLOSED, PROTOCOL_ERROR), (), False),
    "5.1: WINDOW_UPDATE and RST_STREAM on a closed stream": (lambda c: reset(c, c.frame(WINDOW_UPDATE, 0, 1, number(1)), c.frame(RST_STREAM, 0, 1, number(8))), (), (), True),
    "5.1.1: a stream below the last": (lambda c: c.frame(HEADERS, END_HEADERS | END_STREAM, 5, encoded(c)) + c.frame(HEADERS, END_HEADERS | END_STREAM, 3, encoded(c)),
                                       (PROTOCOL_ERROR,), (), False),
    # RFC 7540 §5.3.1, which RFC 9113 has done away with: h2spec still asks for PROTOCOL_ERROR; of PRIORITY we look at nothing but its length
    "5.3: HEADERS that depend on their own stream": (lambda c: c.frame(HEADERS, END_HEADERS | END_STREAM | 0x20, 1, number(1) + b"\x10" + encoded(c)), (PROTOCOL_ERROR,), (), True),
    "5.3: PRIORITY that depends on its own stream": (lambda c: whole(c, c.frame(PRIORITY, 0, 1, number(1) + b"\x10")), (PROTOCOL_ERROR,), (PROTOCOL_ERROR,), True),
    # §5.4, §5.5
    "5.5: an unknown frame inside a header block": (lambda c: c.frame(HEADERS, END_STREAM, 1, encoded(c)) + c.frame(0xBB, 0, 1, b"x"), (PROTOCOL_ERROR,), (), False),
    # §6
    "6.1: DATA on a stream whose end has come": (lambda c: opened(c, c.frame(DATA, END_STREAM, 1, b"x"), c.frame(DATA, END_STREAM, 1, b"x")), (STREAM_CLOSED,), (STREAM_CLOSED,), False),
    "6.2: padding longer than HEADERS": (lambda c: c.frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\xff" + encoded(c)), (PROTOCOL_ERROR,), (), False),
    "6.3: PRIORITY of a wrong size": (lambda c: opened(c, c.frame(PRIORITY, 0, 1, b"\0" * 4)), (FRAME_SIZE_ERROR,), (FRAME_SIZE_ERROR,), False),
    "6.5: MAX_FRAME_SIZE above its maximum": (lambda c: c.frame(SETTINGS, 0, 0, setting(5, 2**24)), (PROTOCOL_ERROR,), (), False),
    "6.5: ENABLE_CONNECT_PROTOCOL of 2": (lambda c: c.frame(SETTINGS, 0, 0, setting(8, 2)), (PROTOCOL_ERROR,), (), True),
    "6.5.3: one setting twice in a frame": (lambda c: c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 100) + setting(INITIAL_WINDOW_SIZE, 1)), (), (), True),
    "6.8: GOAWAY with an unknown code": (lambda c: c.frame(GOAWAY, 0, 0, number(0) + number(0xFF)), (), (), True),
    "6.9.2: a new initial window that makes a stream's overflow": (
        lambda c: opened(c, c.frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1 - 65535)), c.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 65536))), (FLOW_CONTROL_ERROR,), (FLOW_CONTROL_ERROR,), False),
    "6.10: CONTINUATION on stream 0": (lambda c: c.frame(HEADERS, END_STREAM, 1, encoded(c)) + c.frame(CONTINUATION, END_HEADERS, 0, b""), (PROTOCOL_ERROR,), (), False),
    "6.10: CONTINUATION behind END_HEADERS": (lambda c: opened(c, c.frame(CONTINUATION, END_HEADERS, 1, b"")), (PROTOCOL_ERROR,), (), False),
    "6.10: CONTINUATION behind DATA": (lambda c: opened(c, c.frame(DATA, 0, 1, b"x"), c.frame(CONTINUATION, END_HEADERS, 1, b"")), (PROTOCOL_ERROR,), (), False),
    "6.10: CONTINUATION of another stream": (lambda c: c.frame(HEADERS, END_STREAM, 1, encoded(c)) + c.frame(CONTINUATION, END_HEADERS, 3, b""), (PROTOCOL_ERROR,), (), False),
    "7: RST_STREAM with an unknown code": (lambda c: opened(c, c.frame(RST_STREAM, 0, 1, number(0xFF))), (), (), True),
    # §8
    "8.1: a second head that does not end the stream": (lambda c: opened(c, c.frame(HEADERS, END_HEADERS, 1, encoded(c, [("x", "y")]))), (), (PROTOCOL_ERROR,), False),
    "8.1: a pseudo-field in the trailers": (lambda c: opened(c, c.frame(HEADERS, END_HEADERS | END_STREAM, 1, encoded(c, [(":method", "GET")]))), (), (PROTOCOL_ERROR,), False),
    "8.1: a body shorter than its length": (lambda c: opened(c, c.frame(DATA, END_STREAM, 1, b"x"), fields=[*POST, ("content-length", "2")]), (), (PROTOCOL_ERROR,), False),
    "8.1: a body longer than its length": (lambda c: opened(c, c.frame(DATA, 0, 1, b"xx"), c.frame(DATA, END_STREAM, 1, b"xx"), fields=[*POST, ("content-length", "3")]), (), (PROTOCOL_ERROR,), False),
    "8.4: PUSH_PROMISE from a client": (lambda c: opened(c, c.frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + encoded(c))), (PROTOCOL_ERROR,), (), False),
    # RFC 7541
    "hpack 2.3.3: an index past both tables": (hpacked(b"\xc6"), (COMPRESSION_ERROR,), (), False),
    "hpack 2.3.3: the name of such an index": (hpacked(b"\x7f\x07\x01x"), (COMPRESSION_ERROR,), (), False),
    "hpack 4.2: a change of the table's size behind a field": (hpacked(b"\x20"), (COMPRESSION_ERROR,), (), False),
    "hpack 5.2: padding of more than 7 bits": (hpacked(b"\x40\x01x\x82\xff\xff"), (COMPRESSION_ERROR,), (), False),
    "hpack 5.2: padding of zeros": (hpacked(b"\x40\x01x\x81\x18"), (COMPRESSION_ERROR,), (), False),
    "hpack 5.2: EOS inside a text": (hpacked(b"\x40\x01x\x85\xff\xff\xff\xff\xff"), (COMPRESSION_ERROR,), (), False),
    "hpack 6.1: index 0": (hpacked(b"\x80"), (COMPRESSION_ERROR,), (), False),
    "hpack 6.3: a table larger than allowed": (lambda c: c.frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\xff\x03" + b"\x82\x86\x84\x41\x09site.test"), (COMPRESSION_ERROR,), (), False),
}


def outcome(client):
    """What came of it: ("goaway", code), ("reset", code) of stream 1, or "goes on"."""
    for ping in (b"still on", b"and on.."):  # an answer to the first overtakes other frames
        client.try_send(client.frame(PING, 0, 0, ping))
        while ping not in client.pings:
            if client.read_frame() is None:
                return ("goaway", client.goaways[-1][1]) if client.goaways else "closed"
            if client.goaways and client.goaways[-1][1] != 0:
                return ("goaway", client.goaways[-1][1])
    stream = client.streams.get(1)
    return ("reset", stream.reset) if stream is not None and stream.reset is not None else "goes on"


@pytest.mark.parametrize("case", CASES)
def test_a_case(relay, case):
    """One case of the table: GOAWAY, RST_STREAM or nothing at all, as the RFC has it; and the proxy serves on."""
    make, goaways, resets, may_go_on = CASES[case]
    with H2Client(relay.ladle.address) as client:
        client.ping()
        client.try_send(make(client))
        found = outcome(client)
        right = {("goaway", code) for code in goaways} | {("reset", code) for code in resets} | ({"goes on", "closed"} if may_go_on else set())
        assert found in right, found
    assert relay.get().status == 200


def test_a_response_within_a_window_of_one_byte(relay):
    """§6.9.1: with a window of one byte the body comes in a frame of one byte, and the next when the window opens."""
    with H2Client(relay.ladle.address, settings=[(INITIAL_WINDOW_SIZE, 1)], windows=False) as client:
        stream = client.start()
        client.until(lambda: client.streams[stream].frames)
        assert client.streams[stream].frames == [1]
        client.open_window(stream, 1)
        assert client.response(stream).frames == [1, 1] and bytes(client.streams[stream].body) == b"ok"


def test_a_window_that_is_made_smaller_than_what_was_sent(relay):
    """§6.9.2: a window may become negative; nothing comes until it is above zero again."""
    with H2Client(relay.ladle.address, settings=[(INITIAL_WINDOW_SIZE, 1)], windows=False) as client:
        stream = client.start()
        client.until(lambda: client.streams[stream].frames)
        client.send(client.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
        client.open_window(stream, 1)
        client.ping()
        assert client.streams[stream].frames == [1]
        client.open_window(stream, 1)
        assert client.response(stream).frames == [1, 1]


def test_more_streams_than_allowed(relay):
    """§5.1.2: a stream beyond MAX_CONCURRENT_STREAMS is refused, or its client is."""
    with H2Client(relay.ladle.address) as client:
        client.ping()
        most = client.settings[3]
        last = None
        for _ in range(most + 1):
            last = client.start("POST", "/", end=False)
        while client.read_frame() is not None and client.streams[last].reset is None:
            pass
        assert client.streams[last].reset in (REFUSED_STREAM, PROTOCOL_ERROR) or client.goaways[-1][1] == PROTOCOL_ERROR


def test_an_invalid_preface(relay):
    """§3.4: whatever begins otherwise is no HTTP/2: it is closed, with an HTTP/1 answer at the most."""
    with H2Client(relay.ladle.address, preface=None) as client:
        client.sock.sendall(b"INVALID CONNECTION PREFACE\r\n\r\n")
        client.sock.settimeout(waiting.PATIENCE)
        assert client.sock.recv(4096)[:9] in (b"HTTP/1.1 ", b"")
