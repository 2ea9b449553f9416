# SPDX-License-Identifier: Apache-2.0
"""Mirroring: which requests are copied, and what a copy looks like to the mirror."""

import json

import pytest

from tests.harness import waiting
from tests.harness.h2_client import H2Client
from tests.harness.h2_origin import H2Origin
from tests.harness.origin import reply


def metric(proxy, name):
    return proxy.status()["metrics"][name]


def group(ladle, server, shadow, site=None, mirror="shadow", workers=1, **more):
    return ladle(None, {"server": {"workers": workers}, "upstream": {"app": {"servers": [server.url]}, "shadow": {"servers": [shadow.url]}},
                        "site": {"*": {"upstream": "app", "mirror": mirror, **(site or {})}}, **more})


def settled(proxy, count, answered=None):
    """Waits until so many copies have ended in one way or another."""
    def ended():
        metrics = proxy.status()["metrics"]
        return sum(metrics[f"mirror_{how}"] for how in ("answered", "failed", "skipped_busy", "skipped_body", "skipped_no_server")) >= count
    waiting.until(ended, f"{count} copies to end")
    if answered is not None:
        assert metric(proxy, "mirror_answered") == answered
    assert metric(proxy, "mirror_in_work") == 0


def lines_of(request):
    return sorted((name.lower(), value) for name, value in request.headers if name.lower() != "x-mirrored")


@pytest.mark.parametrize("size", [None, 0, 10, 500_000])
def test_a_copy_is_what_the_server_gets_and_says_what_it_is(ladle, origin, size):
    """Method, rewritten target, fields and body of the copy are the server's; only the copy has X-Mirrored, whatever the client sends."""
    server, shadow = origin(), origin(lambda request: reply(b"never seen" * 1000, 500))
    proxy = group(ladle, server, shadow, {"route": [{"path": "/v2/*", "strip": "/v2", "headers": {"request_set": {"X-Env": "prod"}}}]})
    method, body = ("GET", None) if size is None else ("POST", (bytes(range(256)) * 2000)[:size])
    headers = [("Cookie", "a=1; b=2"), ("X-Own", "yes"), ("X-Mirrored", "no"), ("Accept", "text/html")]
    with proxy.client() as client:
        response = client.request(method, "/v2/a%20b?c=%2f", headers, body)
    assert (response.status, response.body) == (200, b"ok")
    copy, request = shadow.wait_requests(1)[0], server.requests[0]
    assert (copy.method, copy.target, copy.body) == (method, "/a%20b?c=%2f", body or b"")
    assert (request.method, request.target, request.body) == (method, "/a%20b?c=%2f", body or b"")
    assert lines_of(copy) == lines_of(request)
    assert copy.headers.get("x-mirrored") == "1" and not request.headers.has("x-mirrored")
    assert copy.headers.get("host") == "site.test" and copy.headers.get("x-env") == "prod"
    settled(proxy, 1, answered=1)


@pytest.mark.parametrize("name", ["X_Mirrored", "x-mirrored", "X_mirrored"])
def test_clients_cannot_make_a_request_look_like_a_copy(ladle, origin, name):
    """A field that servers may read as X-Mirrored does not reach the real one, neither in the head nor as a trailer."""
    server, shadow = origin(), origin()
    proxy = group(ladle, server, shadow)
    with proxy.client() as client:
        client.send(f"POST / HTTP/1.1\r\nHost: site.test\r\n{name}: yes\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{name}: yes\r\n\r\n".encode())
        assert client.response().status == 200
    request = server.requests[0]
    assert "mirrored" not in str(lines_of(request) + request.trailers).lower()
    assert shadow.wait_requests(1)[0].headers.get("x-mirrored") == "1"


def test_a_mirror_that_leads_back_here_ends(ladle, origin):
    """The mirror is this very proxy: the copy is served as a request and not copied again."""
    server = origin()
    proxy = ladle(server)
    proxy.configure({"upstream": {"app": {"servers": [server.url]}, "here": {"servers": [f"http://127.0.0.1:{proxy.port}"]}},
                     "site": {"*": {"upstream": "app", "mirror": "here"}}})
    reloaded = proxy.reload()
    assert reloaded.returncode == 0, reloaded.stderr
    for number in range(3):
        proxy.get()
        waiting.until(lambda: metric(proxy, "mirror_answered") == number + 1, "the copy's answer")
    assert len(server.requests) == 6 and metric(proxy, "requests") == 6


def test_a_chunked_body_with_trailers_is_copied_whole(ladle, origin):
    """A body that came in chunks, and its trailers, reach the mirror as they reach the server."""
    server, shadow = origin(), origin()
    proxy = group(ladle, server, shadow)
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                    b"5\r\nhello\r\n7\r\n, world\r\n0\r\nX-Sum: 12\r\n\r\n")
        assert client.response().status == 200
    copy, request = shadow.wait_requests(1)[0], server.requests[0]
    assert copy.body == request.body == b"hello, world"
    assert copy.trailers == request.trailers == [("X-Sum", "12")]
    assert lines_of(copy) == lines_of(request)


def test_a_cookie_that_keeps_clients_is_taken_out_of_copies_too(ladle, origin):
    """The copy has the cookies that the server gets, without the sticky one between them."""
    server, shadow = origin(), origin()
    proxy = ladle(None, {"upstream": {"app": {"servers": [server.url], "sticky": "srv"}, "shadow": {"servers": [shadow.url], "sticky": "other"}},
                         "site": {"*": {"upstream": "app", "mirror": "shadow"}}})
    response = proxy.get(headers=[("Cookie", "a=1; srv=0123456789abcdef; b=2")])
    assert [value.split("=")[0] for name, value in response.headers if name.lower() == "set-cookie"] == ["srv"]
    copy = shadow.wait_requests(1)[0]
    assert copy.headers.get("cookie") == server.requests[0].headers.get("cookie") == "a=1; b=2"


def test_a_share_is_copied(ladle, origin):
    """Of 300 requests a share of half is about that; 0% copies none, and a route may do without."""
    server, shadow = origin(), origin()
    routes = [{"path": "/none", "mirror": {"share": "0%"}}, {"path": "/unset", "mirror": "unset"}]
    proxy = group(ladle, server, shadow, {"route": routes}, {"to": "shadow", "share": "50%"})
    with proxy.client() as client:
        for path in ["/none", "/unset"] * 10 + ["/half"] * 300:
            assert client.request("GET", path).status == 200
    waiting.until(lambda: metric(proxy, "mirror_in_work") == 0, "the copies to end")
    assert 100 <= len(shadow.requests) <= 200 and {request.target for request in shadow.requests} == {"/half"}
    assert len(server.requests) == 320


def test_what_the_cache_answers_is_not_copied(ladle, origin):
    """A miss goes to a server and is copied; hits do neither."""
    server, shadow = origin(reply(headers=[("Cache-Control", "max-age=60")])), origin()
    proxy = group(ladle, server, shadow, {"cache": True})
    for _ in range(5):
        assert proxy.get("/cached").status == 200
    assert proxy.get("/another").status == 200
    shadow.wait_requests(2)
    settled(proxy, 2, answered=2)
    assert [request.target for request in shadow.requests] == ["/cached", "/another"] and len(server.requests) == 2


def test_an_upgrade_is_not_copied(ladle, origin):
    """A request for another protocol goes to the server alone."""
    def answer(request, connection):
        if request.headers.has("upgrade"):
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            return None
        return reply()
    server, shadow = origin(answer), origin()
    proxy = group(ladle, server, shadow)
    with proxy.client() as client:
        assert client.request("GET", "/ws", [("Connection", "upgrade"), ("Upgrade", "websocket")]).status == 101
    assert proxy.get("/plain").status == 200
    settled(proxy, 1, answered=1)
    assert [request.target for request in shadow.requests] == ["/plain"]


def test_a_streamed_body_is_not_copied_and_counted(ladle, origin):
    """Where the route streams request bodies, what has one is left out and counted; what has none is copied."""
    server, shadow = origin(), origin()
    proxy = group(ladle, server, shadow, {"buffer": {"request": "stream"}})
    assert proxy.get("/", "POST", body=b"x" * 100).status == 200
    assert proxy.get("/bare").status == 200
    settled(proxy, 2, answered=1)
    assert metric(proxy, "mirror_skipped_body") == 1
    assert [request.target for request in shadow.requests] == ["/bare"] and server.requests[0].body == b"x" * 100


def test_a_body_that_memory_has_no_room_for_is_not_copied(ladle, origin):
    """A body that waits on disk goes to its server whole, and is left out at the mirror."""
    server, shadow = origin(), origin()
    proxy = group(ladle, server, shadow, budget={"spool_memory": "1MiB"})
    body = bytes(range(256)) * (12 << 10)
    assert proxy.get("/", "POST", body=body).status == 200
    assert server.requests[0].body == body and metric(proxy, "spool_to_disk") == 1
    settled(proxy, 1)
    assert metric(proxy, "mirror_skipped_body") == 1 and not shadow.requests


def test_copies_are_no_requests_of_clients(ladle, origin):
    """Access log and counts of requests know the clients' alone."""
    server, shadow = origin(), origin()
    proxy = group(ladle, server, shadow)
    for number in range(3):
        assert proxy.get(f"/{number}").status == 200
    settled(proxy, 3, answered=3)
    assert [line["target"] for line in proxy.access_log(3)] == ["/0", "/1", "/2"]
    metrics = proxy.status()["metrics"]
    assert (metrics["requests"], metrics["requests_in_flight"], metrics["responses_2xx"]) == (3, 0, 3)


def test_connections_to_a_mirror_are_kept(ladle, origin):
    """Copies one after the other go over one connection, also where answers have bodies."""
    server, shadow = origin(), origin(reply(b"x" * 100_000))
    proxy = group(ladle, server, shadow)
    for number in range(5):
        assert proxy.get().status == 200
        settled(proxy, number + 1, answered=number + 1)
    assert len(shadow.connections) == 1 and len(shadow.requests) == 5


def test_a_mirror_is_told_the_client_by_a_proxy_header(ladle, origin):
    """Where the mirror's upstream has proxy_protocol, the copy's connection begins with the client's address and where it connected to."""
    first_line = []

    def play(connection):
        first_line.append(connection.reader.line())
        connection.origin.record(connection, connection.reader.request_head())
        connection.send(reply())
    server, shadow = origin(), origin(script=play)
    proxy = ladle(None, {"upstream": {"app": {"servers": [server.url]}, "shadow": {"servers": [shadow.url], "proxy_protocol": "v1"}},
                         "site": {"*": {"upstream": "app", "mirror": "shadow"}}})
    with proxy.client() as client:
        port = client.sock.getsockname()[1]
        assert client.request().status == 200
        shadow.wait_requests(1)
    assert first_line == [f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {proxy.port}".encode()]


def test_http2_on_either_side(ladle, origin, cleanup):
    """A request that came in HTTP/2 is copied to a mirror that speaks HTTP/2, with its body, and says so as the request does."""
    server, shadow = origin(), H2Origin(on_end=lambda stream: stream.reply(b"dropped"))
    cleanup.append(shadow)
    proxy = ladle(None, {"upstream": {"app": {"servers": [server.url]}, "shadow": {"servers": [shadow.text], "protocol": "h2"}},
                         "site": {"*": {"upstream": "app", "mirror": "shadow"}}})
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/h2", body=b"y" * 50_000)
        assert client.response(stream).status == 200
    waiting.until(lambda: metric(proxy, "mirror_answered") == 1, "the copy's answer")
    copy = shadow.last
    assert copy.get("via") == server.requests[-1].headers.get("via") == "2.0 ladle"
    assert (copy.get(":method"), copy.get(":path"), copy.get("x-mirrored"), bytes(copy.body)) == ("POST", "/h2", "1", b"y" * 50_000)


def test_explain_shows_the_mirror(ladle, origin):
    """explain says where copies go and which share; not of a route without a mirror."""
    server, shadow = origin(), origin()
    proxy = group(ladle, server, shadow, {"route": [{"path": "/without", "mirror": "unset"}]}, {"to": "shadow", "share": "25%"})
    url = f"http://a.test:{proxy.port}"
    said = json.loads(proxy.command("explain", "GET", url + "/", "--json").stdout)
    assert said["mirror"] == {"upstream": "shadow", "share": 25}
    assert "mirror    shadow (25% of the requests)" in proxy.command("explain", "GET", url + "/").stdout
    assert "mirror" not in json.loads(proxy.command("explain", "GET", url + "/without", "--json").stdout)
    assert not shadow.requests


def test_check_refuses_a_mirror_to_itself_with_its_place(ladle, origin):
    """A mirror that is the upstream itself is an error with file, line and column."""
    server = origin()
    proxy = ladle(None, {"upstream": {"app": {"servers": [server.url]}}, "site": {"*": {"upstream": "app", "mirror": "app"}}}, start=False)
    checked = proxy.command("check")
    with open(proxy.config, encoding="utf-8") as file:
        line = file.read().split("\n").index('mirror = "app"') + 1
    assert checked.returncode == 1 and f"{proxy.config}:{line}:10: error: the mirror \"app\" is where" in checked.stdout + checked.stderr


def test_a_client_that_leaves_takes_no_copy_along(ladle, origin):
    """A client that leaves before the answer has its copy sent all the same; one that leaves within its body has none."""
    server, shadow = origin(lambda request, connection: not connection.is_ended_by_peer(20) or None), origin()
    proxy = group(ladle, server, shadow)
    with proxy.client() as client:
        client.send(b"POST /left HTTP/1.1\r\nHost: site.test\r\nContent-Length: 4\r\n\r\nbody")
        server.wait_requests(1)
        client.reset()
    assert shadow.wait_requests(1)[0].body == b"body"
    with proxy.client() as client:
        client.send(b"POST /part HTTP/1.1\r\nHost: site.test\r\nContent-Length: 400\r\n\r\nbody")
        client.reset()
    waiting.until(lambda: metric(proxy, "requests") == 2 and metric(proxy, "requests_in_flight") == 0, "both requests to end")
    settled(proxy, 1, answered=1)
    assert len(shadow.requests) == 1
