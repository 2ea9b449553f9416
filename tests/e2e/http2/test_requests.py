# SPDX-License-Identifier: Apache-2.0
"""Requests over HTTP/2 by prior knowledge get the same answers as over HTTP/1.1, through the same steps."""

import time

import pytest

from tests.harness import h2_client
from tests.harness.h2_client import H2Client
from tests.harness.ladle import IS_SANITIZED
from tests.harness.origin import chunked_reply, reply


@pytest.fixture
def h2(relay):
    with H2Client(relay.ladle.address) as client:
        yield client


def test_a_request_becomes_the_http_1_request_that_says_the_same(relay, h2):
    """Method, target, host and fields reach the server as they are; the log says HTTP/2.0."""
    relay.answer = reply(b"hello", headers=[("X-Answer", "yes"), ("Connection", "x-gone"), ("X-Gone", "1")])
    answer = h2.get(path="/a%20b?c=d", headers=[("x-y", "z"), ("accept", "*/*")])
    assert (answer.status, bytes(answer.body)) == (200, b"hello")
    assert answer.get("x-answer") == "yes" and answer.get("content-length") == "5"
    assert answer.get("connection") is None and answer.get("x-gone") is None
    assert relay.last.target == "/a%20b?c=d" and relay.last.headers.get("Host") == "site.test"
    assert relay.last.headers.get("x-y") == "z" and relay.last.headers.get("Via") == "2.0 ladle"
    assert relay.ladle.access_log(1)[-1]["protocol"] == "HTTP/2.0"


def test_cookie_crumbs_are_joined(relay, h2):
    """RFC 9113 §8.2.3: several cookie fields reach the server as one."""
    h2.get(headers=[("cookie", "a=1"), ("cookie", "b=2"), ("x", "y"), ("cookie", "c=3")])
    assert relay.last.headers.all("cookie") == ["a=1; b=2; c=3"]


def test_many_requests_at_once_on_one_connection(relay, h2):
    """A hundred requests on one connection are answered, each with its own."""
    relay.answer = lambda request: reply(request.target.encode() * 100)
    streams = {h2.start(path=f"/{number}"): number for number in range(100)}
    for stream, number in streams.items():
        assert bytes(h2.response(stream).body) == b"/%d" % number * 100


def test_a_quiet_worker_answers_a_new_client_at_once(relay):
    """The first requests of a client wait for nothing: where nobody else used the loop's clock, each had waited for its next tick, up to 100 ms."""
    took = []
    with H2Client(relay.ladle.address) as client:
        for _ in range(12):
            time.sleep(0.13)  # so that each would wait for about the same time
            began = time.monotonic()
            assert client.get().status == 200
            took.append(time.monotonic() - began)
    assert min(took) < (0.05 if IS_SANITIZED else 0.02), took  # a busy machine makes some of them longer, and no wait shorter


@pytest.mark.parametrize("size", [0, 1, 5, 4096, 16384, 16385, 70000, 1000000])
def test_bodies_of_all_sizes_both_ways(relay, h2, size):
    """What is sent reaches the server, and what it answers reaches the client, byte for byte."""
    body = bytes(range(251)) * (size // 251 + 1)
    relay.answer = lambda request: reply(request.body[::-1])
    stream = h2.start("POST", "/", body=body[:size])
    answer = h2.response(stream)
    assert answer.status == 200 and bytes(answer.body) == body[:size][::-1]
    assert relay.last.body == body[:size]


@pytest.mark.parametrize("frames", [1, 3])
def test_a_body_that_comes_with_its_head(relay, h2, frames):
    """Head and body in one segment: the body is not lost."""
    stream, head = h2.request_frames("POST", "/", end=False)
    body = [h2.frame(h2_client.DATA, h2_client.END_STREAM if number == frames else 0, stream, b"part%d" % number) for number in range(1, frames + 1)]
    h2.send(head + b"".join(body))
    assert h2.response(stream).status == 200
    assert relay.last.body == b"".join(b"part%d" % number for number in range(1, frames + 1))


def test_a_body_in_chunks_ends_with_its_trailers(relay, h2):
    """A chunked response is sent as DATA frames, its trailers as a header block that ends the stream."""
    relay.answer = chunked_reply([b"one", b"two"], trailers=[("X-Sum", "6"), ("ETag", '"e"'), ("Content-Length", "9")])
    answer = h2.get()
    assert bytes(answer.body) == b"onetwo" and answer.get("transfer-encoding") is None
    assert answer.trailers == [("x-sum", "6"), ("etag", '"e"')]


def test_request_trailers_reach_the_server(relay, h2):
    """The request's trailers go on behind its body."""
    stream = h2.start("POST", "/t", body=b"body", trailers=[("x-sum", "4")])
    assert h2.response(stream).status == 200
    assert relay.last.body == b"body" and relay.last.trailers.get("x-sum") == "4"


def test_head_and_statuses_without_a_body(relay, h2):
    """HEAD, 204 and 304 end with their head; the length is for information."""
    relay.answer = reply(b"", headers=[("Content-Length", "1000")], length=False)
    answer = h2.get("HEAD")
    assert answer.status == 200 and answer.get("content-length") == "1000" and not answer.frames
    relay.answer = reply(b"", status=204, reason="No Content", length=False)
    answer = h2.get()
    assert answer.status == 204 and not answer.frames
    relay.answer = reply(b"", status=304, reason="Not Modified", headers=[("ETag", '"x"')], length=False)
    answer = h2.get()
    assert answer.status == 304 and answer.get("etag") == '"x"' and not answer.frames


def test_interim_responses_are_passed_on(ladle, origin):
    """103 Early Hints comes before the final head; 100 Continue is given to who expects it."""
    def script(connection):
        connection.origin.record(connection, connection.reader.request())
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.is_ended_by_peer()
    proxy = ladle(origin(script=script))
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/", headers=[("expect", "100-continue"), ("content-length", "3")], end=False)
        client.until(lambda: client.streams[stream].interim)
        assert client.streams[stream].interim == [(100, [])]
        client.send_body(stream, b"abc")
        answer = client.response(stream)
        assert answer.interim[1:] == [(103, [("link", "</a.css>")])] and bytes(answer.body) == b"ok"


def test_errors_and_fixed_answers(ladle):
    """Ladle's own answers: an error page, and a route's fixed one."""
    proxy = ladle(settings={"site": {"site.test": {"upstream": "http://127.0.0.1:1", "route": [{"path": "/fixed", "respond": {"status": 200, "body": "fine"}}]}}})
    with H2Client(proxy.address) as client:
        answer = client.get(path="/fixed")
        assert answer.status == 200 and bytes(answer.body) == b"fine"
        answer = client.get(path="/fixed", method="HEAD")
        assert answer.status == 200 and answer.get("content-length") == "4" and not answer.body
        answer = client.get()
        assert answer.status == 502 and b"502" in answer.body
        assert client.get(authority="other.test").status == 404


def test_a_cut_response_is_reset_never_ended(ladle, origin):
    """A server that ends before its length: RST_STREAM, and the connection goes on."""
    def answer(request, connection):
        if request.target == "/cut":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            connection.close()
            return None
        return reply()
    proxy = ladle(origin(answer))
    with H2Client(proxy.address) as client:
        stream = client.get(path="/cut")
        assert stream.status == 200 and not stream.ended and stream.reset == h2_client.INTERNAL_ERROR
        assert client.get().status == 200


def test_a_reset_stream_ends_its_request_alone(ladle, origin):
    """RST_STREAM from the client closes the server's connection and is logged as client_left; other streams go on."""
    def answer(request, connection):
        if request.target == "/hangs":
            connection.is_ended_by_peer()
            return None
        return reply()
    proxy = ladle(origin(answer))
    with H2Client(proxy.address) as client:
        stream = client.start(path="/hangs")
        client.ping()
        client.reset(stream)
        assert client.get().status == 200
        lines = proxy.access_log(2)
    assert {line["target"]: line["reason"] for line in lines} == {"/hangs": "client_left", "/": "ok"}


def test_hits_of_the_cache(ladle, origin):
    """Stored responses of all sizes are served over HTTP/2, from memory and from files, whole and in ranges."""
    bodies = {f"/{size}": bytes(range(256)) * (size // 256 + 1) for size in (10, 3000, 40000, 300000, 3000000)}
    server = origin(lambda request: reply(bodies[request.target], headers=[("Cache-Control", "max-age=60")]))
    proxy = ladle(server, {"site": {"*": {"cache": True}}})
    with H2Client(proxy.address) as client:
        for target, body in bodies.items():
            for _ in range(3):
                answer = client.get(path=target)
                assert bytes(answer.body) == body
            assert "hit" in answer.get("cache-status")
            answer = client.get(path=target, headers=[("range", "bytes=100-2099")])
            assert bytes(answer.body) == body[100:2100]
    assert len(server.requests) == len(bodies)


def test_protocols_of_a_listener(ladle, origin):
    """A listener that does not speak HTTP/2 takes its preface for a bad request; one that speaks nothing else refuses HTTP/1."""
    server = origin()
    from tests.harness import waiting
    port = waiting.free_port()
    proxy = ladle(server, {"listen": {"old": {"bind": [f"127.0.0.1:{port}"], "protocols": ["h1"]}}}, start=False)
    proxy.configure({"listen": {"new": {"bind": [f"127.0.0.1:{proxy.port}"], "protocols": "h2"}}, "site": {"*": {"listen": ["old", "new"]}}})
    proxy.start()
    with H2Client(proxy.address) as client:
        assert client.get().status == 200
    assert proxy.get().status == 505
    with H2Client(("127.0.0.1", port)) as client:
        assert client.sock.recv(100).startswith(b"HTTP/1.1 ")


def test_http_1_after_part_of_the_preface(ladle, origin):
    """What begins like the preface and is not it is an HTTP/1 request."""
    proxy = ladle(origin())
    with proxy.client() as client:
        client.trickle(b"PRI", 0.02)
        client.send(b"NT / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert client.response().status == 200
