# SPDX-License-Identifier: Apache-2.0
"""Errors that Ladle answers itself, and requests that are tried again."""

import os
import signal
import socket
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def nobody_listens():
    return f"http://127.0.0.1:{waiting.free_port()}"


def test_unknown_site_is_404(ladle, origin):
    """A host that no site serves is answered 404, with its reason in the log."""
    proxy = ladle(origin(), {"site": {"*": None}}, start=False)
    proxy.configure({"site": {"known.test": {"upstream": origin().url}}})
    proxy.start()
    assert proxy.get(host="unknown.test").status == 404
    assert proxy.get(host="known.test").status == 200
    assert proxy.get(host="KNOWN.test:99").status == 200
    assert proxy.access_log(3)[0]["reason"] == "no_site"


def test_refused_connection_is_502(ladle):
    """A server that refuses the connection gives 502."""
    proxy = ladle(nobody_listens())
    assert proxy.get().status in (502, 503)
    assert proxy.access_log(1)[0]["reason"] in ("connect_failed", "no_server")


def test_a_server_that_does_not_accept_is_504(ladle):
    """A server that does not take the connection within timeouts.connect gives 504."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
    proxy = ladle(f"http://127.0.0.1:{full.getsockname()[1]}", {"timeouts": {"connect": "300ms"}})
    assert proxy.get().status in (504, 503)
    for each in [full, *fillers]:
        each.close()


def test_a_silent_server_is_504(ladle, origin):
    """A server that does not answer within timeouts.response gives 504, and its connection is closed."""
    server = origin(script=lambda connection: (connection.reader.request(), connection.is_ended_by_peer()))
    proxy = ladle(server, {"timeouts": {"response": "400ms"}})
    assert proxy.get().status == 504
    waiting.until(lambda: server.connections[0].reader.ended, "the server's connection to be closed")
    assert proxy.access_log(1)[0]["reason"] == "server_timeout"


def test_error_pages_are_small_html_and_configurable(ladle, origin):
    """Errors have a small page; server.error_pages gives others."""
    proxy = ladle(nobody_listens(), start=False)
    pages = proxy.path("pages")
    os.mkdir(pages)
    with open(pages + "/404.html", "w", encoding="utf-8") as out:
        out.write("<h1>mine {status} {request_id}</h1>")
    proxy.configure({"server": {"error_pages": pages}, "site": {"*": None, "x.test": {"upstream": nobody_listens()}}})
    proxy.start()
    response = proxy.get(host="other.test")
    assert response.status == 404 and b"mine 404 " in response.body
    assert response.headers.get("Content-Type").startswith("text/html")
    response = proxy.get(host="x.test")
    assert response.status in (502, 503) and 0 < len(response.body) < 4096


def test_an_error_answers_head_without_a_body(ladle):
    """The error of a HEAD request has no body."""
    proxy = ladle(nobody_listens())
    with proxy.client() as client:
        assert client.request("HEAD", headers=[("Connection", "close")]).status in (502, 503)
        assert client.is_closed()


@pytest.mark.parametrize("status,data", [
    (400, b"GET / HTTP/1.1\r\n\r\n"), (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"), (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
    (417, b"GET / HTTP/1.1\r\nHost: x\r\nExpect: y\r\nContent-Length: 1\r\n\r\nx"), (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n"),
])
def test_every_refusal_has_its_status_and_closes(relay, status, data):
    """400 413 414 417 431 are answered and the connection closed."""
    with relay.client() as client:
        client.send(data)
        response = client.response()
        assert response.status == status
        assert response.headers.get("Connection").lower() == "close"


def test_a_client_error_does_not_touch_the_server(relay):
    """A refused request makes no connection to the server."""
    before = len(relay.origin.requests)
    with relay.client() as client:
        client.send(b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n")
        assert client.response().status == 400
    assert len(relay.origin.requests) == before


def one_request_each(then):
    """A script that answers one request and then does `then` with the second."""
    def script(connection):
        request = connection.reader.request()
        connection.origin.record(connection, request)
        connection.send(reply(b"first"))
        if not connection.reader.at_start():
            return
        request = connection.reader.request()
        connection.origin.record(connection, request)
        then(connection)
    return script


@pytest.mark.parametrize("then", [lambda connection: connection.close(), lambda connection: connection.reset()], ids=["closed", "reset"])
@pytest.mark.parametrize("method,body", [("GET", None), ("HEAD", None), ("PUT", b"x" * 1000), ("DELETE", None), ("OPTIONS", None)])
def test_a_stale_connection_is_tried_again(ladle, origin, then, method, body):
    """A safe or idempotent request that failed on a reused connection before any byte came back goes to a fresh one."""
    server = origin(script=one_request_each(then))
    proxy = ladle(server)
    assert proxy.get().body == b"first"
    response = proxy.get("/again", method, body=body)
    assert response.status == 200
    assert [request.target for request in server.requests] == ["/", "/again", "/again"]
    assert body is None or server.requests[2].body == body


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_unsafe_request_is_not_repeated(ladle, origin, method):
    """A POST that may have had an effect is not sent twice: 502."""
    server = origin(script=one_request_each(lambda connection: connection.reset()))
    proxy = ladle(server)
    assert proxy.get().body == b"first"
    assert proxy.get("/once", method, body=b"x").status == 502
    assert [request.target for request in server.requests] == ["/", "/once"]


def test_a_failure_after_the_first_byte_is_not_tried_again(ladle, origin):
    """Once a byte has come back there is no second try."""
    def answer_a_part(connection):
        connection.send(b"HTTP/1.1 2")
        connection.is_ended_by_peer(0.3) # a reset at once may overtake the bytes
        connection.reset()
    server = origin(script=one_request_each(answer_a_part))
    proxy = ladle(server)
    proxy.get()
    assert proxy.get("/partly").status == 502
    assert len(server.requests) == 2


def test_a_failure_on_a_fresh_connection_is_not_tried_again(ladle, origin):
    """A fresh connection that breaks is the server's failure: 502, one try."""
    server = origin(script=lambda connection: (connection.origin.record(connection, connection.reader.request()), connection.reset()))
    assert ladle(server).get().status == 502
    assert len(server.requests) == 1


def test_an_idle_connection_that_the_server_closed_is_not_used(ladle, origin):
    """A kept connection that the server has closed costs no request, not even a POST."""
    def script(connection):
        connection.origin.record(connection, connection.reader.request())
        connection.send(reply(b"one"))
    server = origin(script=script)
    proxy = ladle(server)
    for number in range(5):
        assert proxy.get("/", "POST", body=b"x").body == b"one"
        waiting.until(lambda: proxy.status()["metrics"]["server_connections_open"] == 0, "the proxy to know that the server has closed")
    assert len(server.requests) == 5


def test_connection_close_of_the_server_is_obeyed(ladle, origin):
    """A response with Connection: close is not followed by another request on that connection."""
    server = origin(reply(headers=[("Connection", "close")]))
    proxy = ladle(server)
    with proxy.client() as client:
        for _ in range(3):
            response = client.request()
            assert response.status == 200
            assert (response.headers.get("Connection") or "").lower() != "close", "the server's close is not the client's"
    assert len(server.connections) == 3


def test_server_connections_are_kept_and_bounded(ladle, origin):
    """At most keepalive.idle connections stay open to a server, for at most keepalive.timeout."""
    gate = threading.Barrier(8, timeout=waiting.PATIENCE)

    def together(request):
        gate.wait()
        return reply()
    server = origin(together)
    proxy = ladle(settings={"upstream": {"app": {"servers": [server.text], "keepalive": {"idle": 3, "timeout": "3s"}}}, "site": {"*": {"upstream": "app"}}})
    threads = [threading.Thread(target=proxy.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting.until(lambda: sum(connection.closed_at is None for connection in server.connections) == 3, "all but three connections to be closed")
    waiting.until(lambda: sum(connection.closed_at is None for connection in server.connections) == 0, "idle connections to end")


@pytest.mark.parametrize("part", [b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart"], ids=["head", "body"])
def test_bytes_and_a_reset_in_one_event(ladle, origin, part):
    """A reset that the proxy learns of together with the last bytes is noticed at once, not when a timeout rings."""
    asked, go = threading.Event(), threading.Event()

    def script(connection):
        connection.reader.request()
        asked.set()
        go.wait(60)
        connection.send(part)
        connection.reset()
    proxy = ladle(origin(script=script), {"timeouts": {"response": "60s", "stall": "60s"}})
    worker = proxy.wait_workers(1)[0]
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
        asked.wait(60)
        os.kill(worker, signal.SIGSTOP)
        go.set()
        time.sleep(0.3)
        started = time.monotonic()
        os.kill(worker, signal.SIGCONT)
        client.drain(within=60)
        assert time.monotonic() - started < 20
