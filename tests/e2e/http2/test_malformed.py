# SPDX-License-Identifier: Apache-2.0
"""What HTTP/1 could read in two ways never reaches a server: refused with a status, or the stream is reset (RFC 9113 §8)."""

import threading
import time

import pytest

from tests.harness.h2_client import DATA, END_HEADERS, END_STREAM, HEADERS, H2Client, PROTOCOL_ERROR
from tests.harness.origin import reply

GOOD = [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/")]


def with_pseudo(**changes):
    fields = {name[1:]: value for name, value in GOOD} | changes
    return [(":" + name, value) for name, value in fields.items() if value is not None]


REFUSED = {
    "no method": with_pseudo(method=None),
    "no scheme": with_pseudo(scheme=None),
    "no path": with_pseudo(path=None),
    "empty path": with_pseudo(path=""),
    "no authority and no host": with_pseudo(authority=None),
    "path without a slash": with_pseudo(path="x"),
    "absolute path": with_pseudo(path="http://site.test/"),
    "space in the path": with_pseudo(path="/a b"),
    "request line in the path": with_pseudo(path="/ HTTP/1.1\r\nx: y"),
    "line feed in the path": with_pseudo(path="/a\nb"),
    "space in the method": with_pseudo(method="GET /x"),
    "odd scheme": with_pseudo(scheme="gopher"),
    "user in the authority": with_pseudo(authority="me@site.test"),
    "path twice": [*GOOD, (":path", "/two")],
    "unknown pseudo-field": [*GOOD, (":odd", "1")],
    ":status": [*GOOD, (":status", "200")],
    "pseudo-field behind a field": [*GOOD[:3], ("a", "b"), GOOD[3]],
    "connection": [*GOOD, ("connection", "close")],
    "keep-alive": [*GOOD, ("keep-alive", "timeout=5")],
    "proxy-connection": [*GOOD, ("proxy-connection", "close")],
    "transfer-encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "upgrade": [*GOOD, ("upgrade", "websocket")],
    "te": [*GOOD, ("te", "gzip")],
    "capital letter": [*GOOD, ("X-Y", "1")],
    "space in a name": [*GOOD, ("x y", "1")],
    "colon in a name": [*GOOD, ("x:y", "1")],
    "line break in a value": [*GOOD, ("x", "1\r\nevil: 2")],
    "line feed in a value": [*GOOD, ("x", "1\nevil: 2")],
    "NUL in a value": [*GOOD, ("x", "1\0")],
    "another host": [*GOOD, ("host", "other.test")],
    "host twice": [*GOOD, ("host", "site.test"), ("host", "site.test")],
    "length without a body": [*GOOD, ("content-length", "5")],
    "two lengths": [*GOOD, ("content-length", "0"), ("content-length", "0")],
    "odd length": [*GOOD, ("content-length", "+0")],
    "connect": [(":method", "CONNECT"), (":authority", "site.test:80")],
    "connect to a protocol of its own": [*with_pseudo(method="CONNECT"), (":protocol", "h2c")],
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_request_is_refused(relay, case):
    """Refused with 4xx or RST_STREAM; no server hears of it; the connection goes on, unless the error is one of the connection."""
    asked = len(relay.origin.requests)
    with H2Client(relay.ladle.address) as client:
        stream, frame = client.request_frames(pseudo=REFUSED[case])
        client.send(frame)
        answer = client.response(stream)
        assert answer.reset == PROTOCOL_ERROR or answer.status in (400, 405), (answer.reset, answer.status)
        assert client.get().status == 200
    assert len(relay.origin.requests) == asked + 1


@pytest.mark.parametrize("sent", [b"12345", b"1"])
def test_a_body_that_is_not_its_length(relay, sent):
    """More or less DATA than Content-Length said: the stream is reset, and no server gets a request that looks whole."""
    asked = len(relay.origin.requests)
    with H2Client(relay.ladle.address) as client:
        stream, frame = client.request_frames(pseudo=[*with_pseudo(method="POST"), ("content-length", "3")], end=False)
        client.send(frame, client.frame(DATA, END_STREAM, stream, sent))
        assert client.response(stream).reset == PROTOCOL_ERROR
        client.ping()
    assert len(relay.origin.requests) == asked


@pytest.mark.parametrize("case", ["no path", "connection", "another host"])
def test_a_malformed_request_takes_no_other_along(ladle, origin, case):
    """A request under way is answered long after a malformed one of the same connection: that one's head is over."""
    go = threading.Event()
    proxy = ladle(origin(lambda request: go.wait(60) and reply()), {"timeouts": {"header": "300ms"}})
    with H2Client(proxy.address) as client:
        stream = client.start()
        client.send(client.request_frames(pseudo=REFUSED[case])[1])
        time.sleep(1)
        go.set()
        assert client.response(stream).status == 200


def test_a_host_that_says_the_same_is_one_host(relay):
    """Host beside an equal :authority is sent once; Host alone will do."""
    with H2Client(relay.ladle.address) as client:
        assert client.get(headers=[("host", "SITE.test")]).status == 200
        assert relay.last.headers.all("host") == ["site.test"]
        assert client.get(pseudo=[*with_pseudo(authority=None), ("host", "site.test")]).status == 200
        assert relay.last.headers.all("host") == ["site.test"]


def test_an_https_target_needs_a_secured_connection(relay):
    """:scheme https without TLS is answered with 421, as in HTTP/1."""
    with H2Client(relay.ladle.address) as client:
        assert client.get(scheme="https").status == 421


def test_limits_of_the_head(ladle, origin):
    """Too large a head, too many fields, too long a target: 431 and 414, and the connection goes on."""
    proxy = ladle(origin(), {"defence": {"request": {"head": "4KiB", "headers": 20, "uri": "1KiB"}}})
    with H2Client(proxy.address) as client:
        assert client.get(headers=[("x", "y" * 5000)]).status == 431
        assert client.get(headers=[(f"x{number}", "y") for number in range(30)]).status == 431
        for _ in range(3):  # RFC 9113 §8.2.3: each cookie may be a field of its own
            assert client.get(headers=[("cookie", f"name{number}=a value of some length") for number in range(300)]).status == 431
        assert client.get(path="/" + "a" * 2000).status == 414
        assert client.get().status == 200


def test_bad_trailers(relay):
    """A pseudo-field in the trailers resets the stream."""
    with H2Client(relay.ladle.address) as client:
        stream = client.start("POST", "/", end=False)
        client.send(client.frame(DATA, 0, stream, b"x"))
        client.send(client.frame(HEADERS, END_HEADERS | END_STREAM, stream, client.encoder.encode([(":path", "/evil")])))
        assert client.response(stream).reset == PROTOCOL_ERROR
        assert client.get().status == 200
