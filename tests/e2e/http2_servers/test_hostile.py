# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 servers that break the rules, by accident or to hurt: 502 or a cut answer with a reason, never a wrong answer, never growing memory."""

import struct
import threading
import time

import pytest

from tests.e2e.http2_servers.conftest import metric
from tests.harness import waiting
from tests.harness.h2_client import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, PING, PUSH_PROMISE, SETTINGS, WINDOW_UPDATE)
from tests.harness.ladle import IS_SANITIZED, memory_kib

frame = H2Client.frame


def is_logged(proxy):
    """Whether all requests so far stand in the access log."""
    return metric(proxy, "log_lines") == metric(proxy, "requests")


def block(stream, fields):
    return stream.connection.encoder.encode(fields)


BAD_HEADS = {
    "no status": [("x", "y")],
    "two statuses": [(":status", "200"), (":status", "200")],
    "a status behind a field": [("x", "y"), (":status", "200")],
    "a status of two digits": [(":status", "20")],
    "a status of letters": [(":status", "abc")],
    "a status below 100": [(":status", "099")],
    "an unknown pseudo-field": [(":status", "200"), (":path", "/")],
    "a connection field": [(":status", "200"), ("connection", "close")],
    "transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "upgrade": [(":status", "200"), ("upgrade", "websocket")],
    "upper case": [(":status", "200"), ("X-Upper", "y")],
    "a blank in a name": [(":status", "200"), ("x y", "z")],
    "CR LF in a value": [(":status", "200"), ("x", "a\r\nset-cookie: b=1")],
    "NUL in a value": [(":status", "200"), ("x", "a\0b")],
    "LF in a value": [(":status", "200"), ("x", "a\nb")],
    "two lengths": [(":status", "200"), ("content-length", "2"), ("content-length", "2")],
    "a length that is no number": [(":status", "200"), ("content-length", "2x")],
    "101": [(":status", "101")],
    "too much": [(":status", "200"), *[(f"x-{number}", "y" * 1000) for number in range(60)]],
    "too many fields": [(":status", "200"), *[(f"x{number}", "y") for number in range(2000)]],
}


@pytest.fixture(scope="module")
def evil(request):
    """(proxy, origin): the origin plays `origin.play(stream)` for /evil and answers everything else."""
    from tests.e2e.http2_servers.conftest import TIMEOUTS
    from tests.harness.h2_origin import H2Origin
    from tests.harness.ladle import Ladle
    origin = H2Origin(lambda stream: origin.play(stream) if stream.get(":path") == "/evil" else stream.reply())
    proxy = Ladle(None, {"site": {"*": {"upstream": "app"}}, "upstream": {"app": {"servers": [origin.text], "protocol": "h2"}}, "timeouts": TIMEOUTS})
    yield proxy, origin
    proxy.stop()
    origin.stop()


@pytest.mark.parametrize("name", BAD_HEADS)
def test_a_bad_head_is_a_502(evil, name):
    """Nothing of it reaches a client, and the connection serves others, or is left."""
    proxy, origin = evil
    def play(stream):
        encoded = block(stream, BAD_HEADS[name])
        pieces = [encoded[at:at + 16000] for at in range(0, len(encoded), 16000)]
        frames = [frame(HEADERS if at == 0 else CONTINUATION, END_HEADERS if at == len(pieces) - 1 else 0, stream.number, piece)
                  for at, piece in enumerate(pieces)]
        stream.connection.send(*frames, frame(DATA, END_STREAM, stream.number, b"ok"))
    origin.play = play

    def reasons():
        return [line["reason"] for line in proxy.access_log() if line["target"] == "/evil"]
    logged = len(waiting.until(lambda: is_logged(proxy) and [reasons()], "the lines of before")[0])
    answer = proxy.get("/evil")
    assert answer.status == 502 and answer.headers.get("x") is None
    assert proxy.get("/good").status == 200
    reason = waiting.until(lambda: reasons()[logged:], "its line")[0]
    assert reason in ("server_bad_head", "server_bad_framing", "server_bad_interim", "server_reset")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("length, body", [("5", b"four"), ("3", b"four"), ("0", b"x")])
def test_a_length_that_is_not_the_body_s(evil, length, body, method):
    """Too short or too long: the answer is cut, or a 502; it never looks whole. HEAD has no body at all."""
    proxy, origin = evil
    origin.play = lambda stream: stream.head(200, [("content-length", length)]).data(body, end=True)
    with H2Client(proxy.address) as client:
        answer = client.get(method, "/evil")
        whole = answer.ended and answer.status == 200
        assert not whole or (method == "HEAD" or len(answer.body) == int(length)) and bytes(answer.body) in (b"", body[:int(length)])
        if length == "5" and method == "GET":
            assert answer.status == 502 or answer.reset is not None
    assert proxy.get("/good").status == 200


def promise(stream):
    head = block(stream, [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/pushed")])
    stream.connection.send(frame(PUSH_PROMISE, END_HEADERS, stream.number, struct.pack(">I", 2) + head))


BREACHES = {
    "PUSH_PROMISE": promise,
    "DATA before HEADERS": lambda stream: stream.data(b"x"),
    "DATA on stream 0": lambda stream: stream.connection.send(frame(DATA, 0, 0, b"x")),
    "HEADERS of an unknown stream": lambda stream: stream.connection.send(frame(HEADERS, END_HEADERS, 1001, block(stream, [(":status", "200")]))),
    "a frame that is too large": lambda stream: stream.connection.send(frame(DATA, 0, stream.number, b"x" * 20000)),
    "garbage for header compression": lambda stream: stream.connection.send(frame(HEADERS, END_HEADERS, stream.number, b"\xff" * 40)),
    "CONTINUATION alone": lambda stream: stream.connection.send(frame(CONTINUATION, END_HEADERS, stream.number, b"")),
    "an endless head": lambda stream: stream.connection.send(frame(HEADERS, 0, stream.number, b""), *[frame(CONTINUATION, 0, stream.number, b"")] * 5000),
    "windows past 2^31": lambda stream: stream.connection.send(*[frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1))] * 2),
    "a SETTINGS of odd length": lambda stream: stream.connection.send(frame(SETTINGS, 0, 0, b"12345")),
    "a flood of SETTINGS": lambda stream: stream.connection.send(*[frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535))] * 20000),
    "a flood of PING": lambda stream: stream.connection.send(*[frame(PING, 0, 0, b"12345678")] * 50000),
    "a flood of empty DATA": lambda stream: stream.head().connection.send(*[frame(DATA, 0, stream.number, b"")] * 50000),
    "a thousand interim responses": lambda stream: [stream.head(103, [("x", "y" * 100)]) for _ in range(1000)],
    "more than the window": lambda stream: stream.head().data(b"x" * 5000000),
    "SETTINGS with 100 entries": lambda stream: stream.connection.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535) * 100)),
    "trailers with :status": lambda stream: stream.head().data(b"x").tail([(":status", "200")]),
    "trailers without an end": lambda stream: (stream.head().data(b"x"), stream.connection.headers(stream.number, [("a", "b")], False)),
    "trailers of 100 KB": lambda stream: stream.head().data(b"x").tail([(f"x-{number}", "y" * 1000) for number in range(100)]),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_ends_the_stream_or_the_connection(evil, name):
    """The request is answered with 502, or its answer is cut; the next request finds a connection, and memory is what it was."""
    proxy, origin = evil
    assert proxy.get("/good").status == 200
    worker = next(iter(proxy.workers().values()))
    before = memory_kib(worker)
    origin.play = BREACHES[name]
    with H2Client(proxy.address) as client:
        answer = client.get("POST", "/evil", body=b"")
        assert answer.status == 502 or answer.reset is not None, (answer.status, answer.body)
    waiting.until(lambda: proxy.get("/good").status == 200, "a good answer")
    if not IS_SANITIZED:
        assert memory_kib(worker) - before < 8192


def test_floods_are_counted_and_logged(evil):
    """What a server does to us has a counter, and the log says which server."""
    proxy, origin = evil
    cut = metric(proxy, "server_h2_cut")
    origin.play = BREACHES["a flood of SETTINGS"]
    assert proxy.get("/evil", "POST", body=b"x").status == 502
    waiting.until(lambda: metric(proxy, "server_h2_cut") > cut, "the counter")
    assert metric(proxy, "server_h2_glitches") >= 100
    waiting.until(lambda: "an HTTP/2 connection to a server ended badly" in proxy.output(), "the log line")


def test_tiny_windows_hold_no_more_than_the_spool_does(h2_origin, before):
    """A server that opens its windows by a few bytes gets the body all the same; what waits counts as spooled."""
    def grow(stream):
        def drip():
            while not stream.ended:
                stream.connection.send(*[frame(WINDOW_UPDATE, 0, number, struct.pack(">I", 997)) for number in (0, stream.number)])
                threading.Event().wait(0.0005)
        threading.Thread(target=drip, daemon=True).start()
    origin = h2_origin(on_end=lambda stream: stream.reply(b"%d" % len(stream.body)), on_head=grow, windows=False, settings=[(4, 1)])
    proxy = before(origin)
    assert proxy.get("/", "POST", body=b"x" * 200000).body == b"200000"


def test_a_server_that_allows_no_streams(h2_origin, before):
    """MAX_CONCURRENT_STREAMS 0: a 502 after two connections, no endless waiting."""
    origin = h2_origin(settings=[(3, 0)])
    proxy = before(origin)
    for _ in range(20):
        assert proxy.get().status == 502
    assert len(origin.connections) <= 4 and not origin.requests, "it is left alone for a while"
    waiting.until(lambda: all(connection.ended for connection in origin.connections), "nothing of it to be kept")
    origin.settings = [(3, 100)]
    waiting.until(lambda: proxy.get().status == 200, "the server to be asked again")


def test_a_server_that_allows_streams_later(h2_origin, before):
    """It stops all requests for a moment, and goes on: the connection is kept, and used again."""
    origin = h2_origin()
    proxy = before(origin)
    assert proxy.get().status == 200
    connection = origin.connections[0]
    connection.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)))
    time.sleep(0.1)
    connection.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)))
    time.sleep(0.1)
    assert proxy.get().status == 200 and len(origin.connections) == 1
