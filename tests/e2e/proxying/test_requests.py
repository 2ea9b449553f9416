# SPDX-License-Identifier: Apache-2.0
"""What a client may send and what the server then gets."""

import re
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply
from tests.harness.raw_client import RawClient

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "REPORT", "MKCOL", "PURGE", "QUERY", "M-SEARCH", "FROBNICATE"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_passed_on(relay, method):
    """Any method that is a token reaches the server as it is."""
    response = relay.get("/m", method)
    assert response.status == 200
    assert (relay.last.method, relay.last.target) == (method, "/m")


def test_head_has_the_length_and_no_body(relay):
    """A HEAD answer keeps Content-Length, has no body, and the connection goes on."""
    relay.answer = lambda request: reply(b"" if request.method == "HEAD" else b"x" * 77, length=False, headers=[("Content-Length", "77")])
    with relay.client() as client:
        first = client.request("HEAD")
        assert (first.status, first.headers.get("Content-Length")) == (200, "77")
        assert client.request("GET").body == b"x" * 77


def test_options_star(relay):
    """OPTIONS * reaches the server as OPTIONS *."""
    assert relay.get("*", "OPTIONS").status == 200
    assert (relay.last.method, relay.last.target) == ("OPTIONS", "*")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
def test_max_forwards_is_counted_down(relay, method):
    """OPTIONS and TRACE reach the server with one hop less to go."""
    assert relay.get("/m", method, headers=[("Max-Forwards", "3")]).status == 200
    assert relay.last.headers.get("Max-Forwards") == "2"


@pytest.mark.parametrize("method, target, status", [("OPTIONS", "/m", 204), ("OPTIONS", "*", 204), ("TRACE", "/m", 405)])
def test_no_further_than_max_forwards(relay, method, target, status):
    """OPTIONS and TRACE with no hop left are answered here and never reach the server."""
    before = len(relay.origin.requests)
    response = relay.get(target, method, headers=[("Max-Forwards", "0")])
    assert (response.status, "GET" in response.headers.get("Allow")) == (status, True)
    assert len(relay.origin.requests) == before


def test_max_forwards_of_other_methods_ends_nothing(relay):
    """Max-Forwards says nothing about a GET."""
    assert relay.get("/m", headers=[("Max-Forwards", "0")]).status == 200


def test_two_max_forwards_are_refused(relay):
    """Which of two Max-Forwards counts is not guessed."""
    assert relay.get("/m", "OPTIONS", headers=[("Max-Forwards", "3"), ("Max-Forwards", "0")]).status == 400


def test_absolute_form_becomes_origin_form(relay):
    """An absolute-form target reaches the server in origin-form, its authority as Host."""
    assert relay.get("http://other.test:81/a?b=c").status == 200
    assert relay.last.target == "/a?b=c"
    assert relay.last.headers.get("Host") == "other.test:81"


@pytest.mark.parametrize("target", ["https://site.test/", "HTTPS://site.test", "https://site.test?a"])
def test_an_https_target_on_a_plain_connection_is_misdirected(relay, target):
    """Who asks for an https resource without TLS is refused with 421, in the log too, and may go on with what is right."""
    before = len(relay.origin.requests)
    with relay.client() as client:
        response = client.request("GET", target)
        assert response.status == 421 and b"Misdirected" in response.body
        assert len(relay.origin.requests) == before
        assert client.request("GET", "http://site.test/").status == 200
    waiting.until(lambda: "misdirected" in [line["reason"] for line in relay.ladle.access_log()], "the line in the access log")


@pytest.mark.parametrize("proto", [("X-Forwarded-Proto", "https"), ("Forwarded", "for=9.9.9.9;proto=https")])
def test_an_https_target_by_way_of_a_trusted_proxy_is_served(ladle, origin, proto):
    """A trusted peer that says https has secured the connection; one that says http, or nothing, has not."""
    server = origin()
    proxy = ladle(server, {"trust": {"forwarded_from": ["127.0.0.1"]}})
    assert proxy.get("https://site.test/x", headers=[proto]).status == 200
    assert server.requests[0].target == "/x"
    assert proxy.get("https://site.test/x").status == 421
    assert proxy.get("https://site.test/x", headers=[("X-Forwarded-Proto", "http")]).status == 421


def test_a_strangers_proto_does_not_make_an_https_target_good(relay):
    """X-Forwarded-Proto of a peer that is not trusted changes nothing."""
    assert relay.get("https://site.test/", headers=[("X-Forwarded-Proto", "https")]).status == 421


def test_absolute_form_without_path(relay):
    """http://host has the path /."""
    assert relay.get("http://site.test").status == 200
    assert relay.last.target == "/"


@pytest.mark.parametrize("target", ["/a/../b", "/a//b", "/%41%2f%2e", "/./", "/a;b=c?d=e&f=%20", "/?", "/a?", "//x"])
def test_the_target_is_never_changed(relay, target):
    """What the server gets is the target byte for byte, unless the configuration says otherwise."""
    assert relay.get(target).status == 200
    assert relay.last.target == target


def test_host_is_kept(relay):
    """Host reaches the server as the client wrote it."""
    relay.get(host="Site.Test:8080")
    assert relay.last.headers.get("Host") == "Site.Test:8080"


def test_http_1_0_client_gets_a_delimited_answer_and_the_end(relay):
    """An HTTP/1.0 client is answered and its connection closed."""
    with relay.client() as client:
        client.send(b"GET /old HTTP/1.0\r\nHost: site.test\r\n\r\n")
        response = client.response()
        assert response.status == 200 and response.body == b"ok"
        assert client.is_closed()
    assert relay.last.version == 1, "the server is spoken to in HTTP/1.1"


def test_http_1_0_client_may_keep_the_connection(relay):
    """Connection: keep-alive of an HTTP/1.0 client is honoured when the answer has a length."""
    with relay.client() as client:
        for _ in range(3):
            client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\nConnection: keep-alive\r\n\r\n")
            response = client.response()
            assert response.body == b"ok"
            assert response.headers.get("Connection").lower() == "keep-alive"


def test_http_1_0_client_never_gets_chunks(relay):
    """A chunked answer of the server reaches an HTTP/1.0 client unchunked."""
    relay.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with relay.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")
        response = client.response()
        assert not response.headers.has("Transfer-Encoding")
        assert response.body == b"abcde"


def test_a_cut_body_is_never_shown_whole_to_http_1_0(relay):
    """When the server's chunked body breaks, an HTTP/1.0 client sees a reset, not a clean end."""
    def cut(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        connection.close()
    relay.answer = cut
    with relay.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")
        data, how = client.drain()
        assert how == "reset" or data.startswith(b"HTTP/1.1 502"), (data, how)


def test_many_requests_on_one_connection(relay):
    """A client's connection carries one request after the other, and so does the server's."""
    before = len(relay.origin.connections)
    with relay.client() as client:
        for number in range(50):
            assert client.request("GET", f"/{number}").body == b"ok"
    assert len(relay.origin.connections) - before <= 1


def test_pipelined_requests_are_answered_in_order(relay):
    """Twenty requests sent at once are answered one by one in order."""
    relay.answer = lambda request: reply(request.target.encode())
    with relay.client() as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: site.test\r\n\r\n" % number for number in range(20)))
        assert [client.response().body for _ in range(20)] == [b"/%d" % number for number in range(20)]


def test_pipelined_requests_with_bodies_and_methods(relay):
    """Pipelining holds with bodies, chunked bodies and HEAD in between."""
    relay.answer = lambda request: reply(b"" if request.method == "HEAD" else request.body, length=request.method != "HEAD",
                                         headers=[("Content-Length", "9")] if request.method == "HEAD" else [])
    with relay.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 3\r\n\r\nabc"
                    b"HEAD / HTTP/1.1\r\nHost: site.test\r\n\r\n"
                    b"PUT / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
                    b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert client.response().body == b"abc"
        assert client.response("HEAD").headers.get("Content-Length") == "9"
        assert client.response().body == b"de"
        assert client.response().body == b""


def test_a_request_that_comes_byte_by_byte(relay):
    """Where the pieces are cut makes no difference."""
    with relay.client() as client:
        client.trickle(b"POST /t HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: v\r\n\r\n", 0.002)
        assert client.response().status == 200
    assert relay.last.body == b"hello"


def test_nothing_after_connection_close_is_served(relay):
    """A request after one with Connection: close is not served."""
    before = len(relay.origin.requests)
    with relay.client() as client:
        client.send(b"GET /1 HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: site.test\r\n\r\n")
        response = client.response()
        assert response.headers.get("Connection").lower() == "close"
        data, _ = client.drain()
        assert data.count(b"HTTP/1.1 ") == 1
    assert [request.target for request in relay.origin.requests[before:]] == ["/1"]


def test_a_half_closed_client_is_still_answered(relay):
    """A client that has sent all it has and closed its sending side gets its answer."""
    with relay.client() as client:
        client.send(b"GET /half HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
        client.shut_write()
        assert client.response().body == b"ok"


def test_a_client_that_leaves_frees_the_server(ladle, origin):
    """When the client resets while the server thinks, the server's connection is closed."""
    started = []
    def slow(request, connection):
        started.append(connection)
        connection.is_ended_by_peer(60)
        return b""
    proxy = ladle(origin(slow), {"timeouts": {"response": "60s"}})
    client = proxy.client()
    client.send(b"GET /leave HTTP/1.1\r\nHost: site.test\r\n\r\n")
    connection = waiting.until(lambda: started and started[0], "the request at the origin")
    client.reset()
    waiting.until(lambda: connection.reader.ended, "the proxy to end the server's connection")


def test_small_timeouts_answer_408(relay):
    """A head that does not arrive within timeouts.header is answered 408 and the connection closed."""
    with relay.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: si")
        assert client.response().status == 408
        assert client.is_closed()


def test_an_idle_connection_is_closed_after_its_timeout(ladle, origin):
    """A client's connection between requests lives for timeouts.idle, and ends without an answer."""
    proxy = ladle(origin(), {"timeouts": {"idle": "500ms", "header": "60s"}})
    with proxy.client() as client:
        assert client.request("GET").status == 200
        began = time.monotonic()
        assert client.sock.recv(100) == b""
        assert 0.4 < time.monotonic() - began < 20


def test_clients_beyond_the_total_wait(ladle, origin):
    """defence.connections.total: one client more waits in the kernel's queue and is served when another leaves."""
    proxy = ladle(origin(), {"defence": {"connections": {"total": 2}}})
    with proxy.client() as first, proxy.client() as second:
        assert (first.request("GET").status, second.request("GET").status) == (200, 200)
        with proxy.client() as third:
            third.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
            metrics = proxy.status()["metrics"]
            assert (metrics["connections_open"], metrics["connections_accepted"]) == (2, 2)
            first.close()
            assert third.response().status == 200
    assert proxy.status()["metrics"]["accept_paused"] >= 1


def test_a_trickled_head_does_not_reset_the_clock(relay):
    """One byte every 100 ms does not keep a head alive beyond timeouts.header (2 s here)."""
    with relay.client() as client:
        client.sock.settimeout(0.1)
        sent = 0
        for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 100:
            if not client.try_send(bytes([byte])):
                break
            sent += 1
            try:
                client.reader._more()  # noqa: SLF001
                break
            except TimeoutError:
                continue
        assert sent < 60
        client.sock.settimeout(waiting.PATIENCE)
        assert client.response().status == 408


def test_a_stalled_body_answers_408_and_never_reaches_the_server(relay):
    """A body that stops is answered 408; the server does not learn of the request."""
    before = len(relay.origin.requests)
    with relay.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\nabc")
        assert client.response().status == 408
        assert client.is_closed()
    assert len(relay.origin.requests) == before


def test_via_and_request_id_are_set(relay):
    """The server gets Via: 1.1 ladle and a request id; the client gets Via."""
    response = relay.get()
    assert re.fullmatch(r"1\.1 \S+", relay.last.headers.get("Via"))
    assert len(relay.last.headers.get("X-Request-Id")) >= 8
    assert re.match(r"1\.1 ", response.headers.get("Via", "1.1 x"))


def test_via_is_appended(relay):
    """A Via that came stays, ours behind it."""
    relay.get(headers=[("Via", "1.0 fred")])
    assert re.fullmatch(r"1\.0 fred, 1\.1 \S+", ", ".join(relay.last.headers.all("Via")))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_ipv4_and_ipv6_listeners(ladle, origin, address):
    """Clients come by IPv4 and by IPv6."""
    server = origin()
    port = waiting.free_port()
    text = f"[{address}]" if ":" in address else address
    running = ladle(server, {"site": {"*": {"listen": f"http://{text}:{port}"}}})
    with RawClient((address, port)) as client:
        assert client.request().body == b"ok"
    assert server.requests[0].headers.get("X-Forwarded-For") == address
    assert running.pid


def test_listening_on_a_unix_socket(ladle, origin):
    """A site may listen on a Unix socket."""
    proxy = ladle(origin(), start=False)
    path = proxy.path("web.sock")
    proxy.configure({"site": {"*": {"listen": [f"http://unix:{path}", f"http://127.0.0.1:{proxy.port}"]}}})
    proxy.start()
    with RawClient(path) as client:
        assert client.request().body == b"ok"
    assert proxy.get().body == b"ok"


def test_ipv6_server(ladle, origin):
    """A server may have an IPv6 address."""
    assert ladle(origin(host="::1")).get().body == b"ok"


def test_server_on_a_unix_socket(ladle, origin, tmp_path_factory):
    """A server may listen on a Unix socket."""
    import tempfile
    import os
    folder = tempfile.mkdtemp(prefix="ladle-sock-")
    os.chmod(folder, 0o755)
    server = origin(unix=folder + "/app.sock")
    assert ladle(server).get().body == b"ok"
    assert server.requests[0].headers.get("Host") == "site.test"
