# SPDX-License-Identifier: Apache-2.0
"""Requests to servers that speak HTTP/2 are what they are to others; responses reach both kinds of clients."""

import ssl

import pytest

from tests.e2e.http2_servers.conftest import metric
from tests.harness import waiting
from tests.harness.h2_client import CANCEL, H2Client


def test_a_request_has_its_pseudo_fields_and_no_connection_fields(h2_origin, before):
    """Method, path, authority and fields; nothing that is for one connection; what the proxy adds."""
    origin = h2_origin()
    proxy = before(origin)
    answer = proxy.get("/a?b=c", headers=[("X-One", "1"), ("Keep-Alive", "x"), ("Cookie", "a=1"), ("TE", "trailers")], host="site.test")
    assert (answer.status, answer.body) == (200, b"ok")
    request = origin.last
    assert [name for name, _ in request.fields[:4]] == [":method", ":path", ":scheme", ":authority"]
    assert [request.get(name) for name in (":method", ":path", ":scheme", ":authority")] == ["GET", "/a?b=c", "http", "site.test"]
    assert request.get("x-one") == "1" and request.get("cookie") == "a=1" and request.get("te") == "trailers"
    assert all(request.get(name) is None for name in ("host", "connection", "keep-alive", "transfer-encoding", "upgrade"))
    assert request.get("via") == "1.1 ladle" and request.get("x-forwarded-for") == "127.0.0.1" and request.get("x-request-id")
    assert request.ended


@pytest.mark.parametrize("size", [0, 1, 70000, 3000000])
@pytest.mark.parametrize("client", ["h1", "h2"])
def test_bodies_of_all_sizes_both_ways(h2_origin, before, nginx_h2, size, client):
    """What is sent reaches the server, what it answers reaches the client, byte for byte."""
    origin = h2_origin(lambda stream: stream.reply(str(len(stream.body)).encode()))
    proxy = before(origin)
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    if client == "h1":
        assert proxy.get("/", "POST", body=body).body == str(size).encode()
    else:
        with H2Client(proxy.address) as connection:
            assert bytes(connection.response(connection.start("POST", "/", body=body)).body) == str(size).encode()
    assert bytes(origin.last.body) == body and origin.last.get("content-length") == str(size)
    nginx_h2.add(f"s{size}", size)
    proxy = before(nginx_h2)
    assert proxy.get(f"/s{size}").body == nginx_h2.body(f"s{size}")


def test_a_streamed_body_without_a_length_and_its_trailers(h2_origin, before):
    """A chunked request reaches the server as it comes, trailers behind it; the response's trailers come back."""
    origin = h2_origin(lambda stream: stream.reply(b"body", trailers=[("x-sum", "6"), ("vary", "x")]))
    proxy = before(origin, route={"buffer": {"request": "stream"}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n3\r\none\r\n")
        waiting.until(lambda: origin.requests and origin.last.body == b"one", "the first part")
        assert not origin.last.ended and origin.last.get("content-length") is None
        client.send(b"3\r\ntwo\r\n0\r\nX-A: 1\r\n\r\n")
        answer = client.response()
    assert origin.last.body == b"onetwo" and ("x-a", "1") in origin.last.trailers
    assert answer.body == b"body" and answer.trailers.get("x-sum") == "6" and answer.trailers.get("vary") is None
    with H2Client(proxy.address) as client:
        assert client.get().trailers == [("x-sum", "6")]


@pytest.mark.parametrize("status, method", [(200, "HEAD"), (204, "GET"), (304, "GET")])
def test_answers_without_a_body(h2_origin, before, status, method):
    """HEAD, 204 and 304 end with their head; a length is for information."""
    origin = h2_origin(lambda stream: stream.head(status, [("content-length", "5")] if status != 204 else [], end=True))
    proxy = before(origin)
    with proxy.client() as client:
        for _ in range(2):
            answer = client.request(method, "/")
            assert answer.status == status and answer.body == b""
            assert answer.headers.get("Content-Length") == (None if status == 204 else "5")


def test_interim_responses_are_passed_on(h2_origin, before):
    """100 and 103 come through, then the final response."""
    def play(stream):
        stream.head(103, [("link", "</a>; rel=preload")])
        stream.head(103, [("link", "</b>; rel=preload")])
        stream.reply(b"end")
    proxy = before(h2_origin(play))
    with H2Client(proxy.address) as client:
        answer = client.get()
        assert [status for status, _ in answer.interim] == [103, 103] and bytes(answer.body) == b"end"


def test_expect_continue_goes_to_the_server(h2_origin, before):
    """The body follows the server's own 100."""
    def on_head(stream):
        if stream.get("expect") == "100-continue":
            assert not stream.body
            stream.head(100)
    origin = h2_origin(lambda stream: stream.reply(bytes(stream.body)), on_head=on_head)
    proxy = before(origin, route={"buffer": {"request": "stream"}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.reader.response_head().status == 100
        client.send(b"body")
        assert client.response().body == b"body"


def test_requests_share_a_connection(h2_origin, before):
    """A hundred requests at once go over one connection, each with its own answer; as many more than the server allows over others."""
    held = []
    origin = h2_origin(held.append, settings=[(3, 40)])
    proxy = before(origin)
    with H2Client(proxy.address) as client:
        streams = {client.start(path=f"/{number}"): number for number in range(100)}
        waiting.until(lambda: len(held) == 100, "all requests at the server")
        assert 3 <= len(origin.connections) <= 4 and all(len(connection.streams) <= 40 for connection in origin.connections)
        for stream in held:
            stream.reply(stream.get(":path").encode() * 50)
        for stream, number in streams.items():
            assert bytes(client.response(stream).body) == b"/%d" % number * 50
    assert metric(proxy, "server_h2_connections") == len(origin.connections)


def test_one_connection_is_made_for_requests_that_come_at_once(h2_origin, before):
    """Requests that find no connection wait for the one that the first of them makes."""
    origin = h2_origin()
    proxy = before(origin)
    with H2Client(proxy.address) as client:
        streams = [client.start() for _ in range(50)]
        assert all(client.response(stream).status == 200 for stream in streams)
    assert len(origin.connections) == 1


def test_a_slow_client_stops_only_itself(h2_origin, before):
    """A response that nobody reads waits in its window; another one on the same connection goes on, and memory is bounded."""
    size = 60000
    def play(stream):
        stream.reply(b"x" * size if stream.get(":path") == "/large" else b"small")
    proxy = before(h2_origin(play), settings={"budget": {"spool_memory": "1MiB", "spool_disk": "1MiB"}})
    with H2Client(proxy.address, windows=False, settings=[(4, 10)]) as slow, H2Client(proxy.address) as quick:
        for _ in range(60):
            slow.start(path="/large")
        for _ in range(20):
            assert bytes(quick.get().body) == b"small"


def test_a_client_that_leaves_resets_its_stream(h2_origin, before):
    """RST_STREAM (CANCEL) for what nobody wants any more; the connection stays."""
    origin = h2_origin(on_head=lambda stream: None)
    proxy = before(origin)
    with H2Client(proxy.address) as client:
        stream = client.start()
        waiting.until(lambda: origin.requests, "the request")
        client.reset(stream)
        waiting.until(lambda: origin.last.code == CANCEL, "the reset")
        origin.on_end = lambda stream: stream.reply()
        assert client.get().status == 200
    assert len(origin.connections) == 1


def test_an_upgrade_is_not_asked_of_an_http_2_server(h2_origin, before):
    """There is no Upgrade in HTTP/2: the server sees a plain request, and its plain answer comes back."""
    origin = h2_origin()
    answer = before(origin).get("/", headers=[("Upgrade", "websocket")])
    assert answer.status == 200 and origin.last.get("upgrade") is None


def h2_tls(pair, protocols=("h2",)):
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.load_cert_chain(*pair)
    if protocols:
        settings.set_alpn_protocols(list(protocols))
    return settings


def test_tls_with_alpn(h2_origin, before, authority, pair):
    """Over TLS both sides agree on h2; the scheme is https."""
    origin = h2_origin(tls=h2_tls(pair))
    proxy = before(origin, tls={"ca": authority.pem})
    assert proxy.get().body == b"ok"
    assert origin.last.get(":scheme") == "https" and origin.connections[0].sock.selected_alpn_protocol() == "h2"


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
def test_tls_without_h2_is_a_502_that_says_so(h2_origin, before, authority, pair, protocols):
    """A server that does not agree to h2 by ALPN: 502, and a line in the log."""
    proxy = before(h2_origin(tls=h2_tls(pair, protocols)), tls={"ca": authority.pem})
    assert proxy.get().status == 502
    waiting.until(lambda: "does not speak HTTP/2: it did not agree to it (ALPN)" in proxy.output(), "the log line")
    assert proxy.access_log(1)[-1]["reason"] == "server_not_h2"


def test_a_server_that_answers_in_http_1_is_a_502_that_says_so(h2_origin, before):
    """What comes is no SETTINGS frame, but a status line."""
    proxy = before(h2_origin(speaks_h2=False))
    assert proxy.get().status == 502
    waiting.until(lambda: "does not speak HTTP/2: it answered in HTTP/1" in proxy.output(), "the log line")
    assert proxy.access_log(1)[-1]["reason"] == "server_not_h2"
