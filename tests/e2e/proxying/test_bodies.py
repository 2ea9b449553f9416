# SPDX-License-Identifier: Apache-2.0
"""Bodies in both directions, in every framing, and what happens when one ends too early."""

import os

import pytest

from tests.harness import waiting
from tests.harness.origin import chunked_reply, reply
from tests.harness.wire import Closed

SIZES = [0, 1, 1023, 1024, 16383, 16384, 16385, 65535, 65536, 65537, 131072, 1000000, 3000001]
MODES = ["full", "stream"]


def payload(size):
    return bytes((index * 7 + index // 256) % 256 for index in range(min(size, 65536))) * (size // 65536 + 1) if size else b""


@pytest.fixture(scope="module", params=MODES)
def _streamed(request):
    from tests.e2e.conftest import Relay
    made = Relay({"site": {"*": {"buffer": {"request": request.param, "response": "spool" if request.param == "full" else "stream"}}},
                  "timeouts": {"stall": "3s", "response": "3s"}})
    made.mode = request.param
    yield made
    made.stop()


@pytest.fixture
def streamed(_streamed):
    _streamed.answer = reply()
    return _streamed


@pytest.mark.parametrize("size", SIZES)
def test_request_body_with_a_length(streamed, size):
    """A request body arrives whole, whatever its size."""
    streamed.answer = lambda request: reply(str(len(request.body)).encode())
    body = payload(size)[:size]
    assert streamed.get("/", "POST", body=body).body == str(size).encode()
    assert streamed.last.body == body


@pytest.mark.parametrize("size", SIZES)
def test_response_body_with_a_length(streamed, size):
    """A response body arrives whole, with its length."""
    body = payload(size)[:size]
    streamed.answer = reply(body)
    response = streamed.get()
    assert response.body == body and response.headers.get("Content-Length") == str(size)


@pytest.mark.parametrize("size", [0, 1, 20000, 300000])
def test_chunked_both_ways(streamed, size):
    """Chunked request and response bodies arrive whole."""
    body = payload(size)[:size]
    pieces = [body[at : at + 7001] for at in range(0, size, 7001)]
    streamed.answer = lambda request: chunked_reply([request.body[at : at + 999] for at in range(0, len(request.body), 999)])
    with streamed.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        response = client.response()
        assert response.body == body
        assert client.request().status == 200, "the connection goes on"


def test_body_to_the_end_of_the_connection(streamed):
    """A response without a length ends with the server's connection and reaches the client delimited."""
    def answer(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100000)
        connection.close()
    streamed.answer = answer
    with streamed.client() as client:
        response = client.request()
        assert response.body == b"x" * 100000
        assert response.framing == "chunked"


def test_http_1_0_server(streamed):
    """An HTTP/1.0 server's answer is passed on as HTTP/1.1."""
    def answer(request, connection):
        connection.send(b"HTTP/1.0 200 OK\r\n\r\nold")
        connection.close()
    streamed.answer = answer
    response = streamed.get()
    assert (response.version, response.body) == (1, b"old")


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(streamed, status):
    """204 and 304 have no body and no made-up length; the connection goes on."""
    streamed.answer = b"HTTP/1.1 %d X\r\nETag: \"a\"\r\n\r\n" % status
    with streamed.client() as client:
        for _ in range(2):
            response = client.request()
            assert response.status == status and response.headers.get("ETag") == '"a"'
            assert not response.headers.has("Transfer-Encoding")


def test_trailers_of_the_request_are_passed_on(streamed):
    """Trailer fields of a chunked request reach the server; forbidden ones are dropped."""
    with streamed.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n"
                    b"3\r\nabc\r\n0\r\nX-Sum: 42\r\nContent-Length: 9\r\nHost: evil\r\nAuthorization: x\r\nTransfer-Encoding: gzip\r\n\r\n")
        assert client.response().status == 200
    assert streamed.last.trailers == [("X-Sum", "42")]
    assert streamed.last.headers.get("Host") == "site.test"


def test_trailers_of_the_response_are_passed_on(streamed):
    """Trailer fields of a chunked response reach a client that takes them; forbidden ones are dropped."""
    streamed.answer = chunked_reply([b"abc"], headers=[("Trailer", "X-Sum")], trailers=[("X-Sum", "42"), ("Content-Length", "9"), ("Set-Cookie", "a=b")])
    with streamed.client() as client:
        response = client.request(headers=[("TE", "trailers"), ("Connection", "TE")])
    assert response.body == b"abc"
    assert response.trailers == [("X-Sum", "42")]


def test_a_client_that_leaves_in_mid_body_never_looks_finished(streamed):
    """A client that leaves in mid-body cuts the server's connection; the server sees no clean end."""
    before = len(streamed.origin.requests)
    client = streamed.client()
    client.send(b"POST /cut HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    if streamed.mode == "stream":
        waiting.until(lambda: any(b"POST /cut" in connection.received for connection in streamed.origin.connections), "the head at the origin")
    client.close()
    if streamed.mode == "stream":
        bad = [connection for connection in streamed.origin.connections if b"POST /cut" in connection.received][-1]
        waiting.until(lambda: bad.reader.ended, "the server's connection to end")
        assert not bad.received.endswith(b"0\r\n\r\n")
    assert streamed.get("/next").status == 200
    assert [request.target for request in streamed.origin.requests[before:]] == ["/next"]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"])
def test_a_response_that_ends_early_is_visibly_cut(streamed, answer):
    """The client of a response that ends early is never told that it is whole."""
    def cut(request, connection):
        connection.send(answer)
        connection.close()
    streamed.answer = cut
    with streamed.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        try:
            assert client.response().status == 502
        except Closed:
            pass


def test_an_answer_before_the_body_has_ended(streamed):
    """A server that answers early loses its connection; the client gets that answer."""
    def early(request, connection):
        raise AssertionError("not reached")
    made = []
    def script(connection):
        made.append(connection)
        head = connection.reader.request_head()
        connection.origin.record(connection, head)
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        connection.is_ended_by_peer()
    streamed.answer = early
    streamed.origin.script = script
    try:
        for connection in list(streamed.origin.connections):
            connection.close()
        waiting.until(lambda: all(connection.closed_at for connection in streamed.origin.connections), "kept connections to end")
        with streamed.client() as client:
            client.send(b"POST /early HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10000000\r\n\r\n")
            body = os.urandom(100000)
            for _ in range(100):
                if not client.try_send(body):
                    break
            response = client.response()
            assert (response.status, response.body) == (413, b"big")
        assert len(made) == 1 and len(made[0].requests) == 1
        waiting.until(lambda: made[0].reader.ended, "the server's connection to be closed")
    finally:
        streamed.origin.script = None


def test_body_limit(ladle, origin):
    """A body over the limit is answered 413, announced or not, and never reaches the server."""
    server = origin()
    proxy = ladle(server, {"site": {"*": {"body": "10KiB"}}})
    assert proxy.get("/", "POST", body=b"x" * 10240).status == 200
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10241\r\n\r\n")
        assert client.response().status == 413
    with proxy.client() as client:
        client.try_send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n2801\r\n" + b"x" * 10241 + b"\r\n0\r\n\r\n")
        assert client.response().status == 413
    assert len(server.requests) == 1


def test_files_of_a_real_server_arrive_whole(ladle, nginx):
    """Files of nginx arrive byte for byte, also by Range and HEAD and If-None-Match."""
    proxy = ladle(nginx)
    with proxy.client() as client:
        for name in ("1k", "64k", "1m"):
            assert client.request("GET", f"/{name}").body == nginx.body(name)
            assert client.request("HEAD", f"/{name}").headers.get("Content-Length") == str(len(nginx.body(name)))
        part = client.request("GET", "/64k", [("Range", "bytes=100-199")])
        assert (part.status, part.body) == (206, nginx.body("64k")[100:200])
        tag = client.request("GET", "/1k").headers.get("ETag")
        assert client.request("GET", "/1k", [("If-None-Match", tag)]).status == 304
        assert client.request("GET", "/none").status == 404
