# SPDX-License-Identifier: Apache-2.0
"""How HTTP/2 connections end: idle, drained in two steps, on reload, by the client."""

import signal
import os
import threading
import time

from tests.harness import waiting
from tests.harness.h2_client import H2Client, NO_ERROR
from tests.harness.origin import reply


def test_an_idle_connection_ends_with_goaway(ladle, origin):
    """timeouts.idle: GOAWAY without an error, then the end."""
    proxy = ladle(origin(), {"timeouts": {"idle": "3s"}})
    with H2Client(proxy.address) as client:
        assert client.get().status == 200
        waiting.until(lambda: proxy.status()["metrics"]["connections_idle"] == 1, "the connection to be idle")
        client.to_end()
        assert client.goaways[-1] == (1, NO_ERROR)


def test_a_silent_client_ends_too(ladle, origin):
    """A client that sends its preface and nothing else, or half a head, is not kept for ever."""
    proxy = ladle(origin(), {"timeouts": {"idle": "1s", "header": "1s"}})
    with H2Client(proxy.address) as client:
        client.to_end()
    with H2Client(proxy.address) as client:
        client.send(client.frame(1, 0, 1, b"\x82"))  # HEADERS without END_HEADERS
        client.to_end()
    with H2Client(proxy.address, preface=None) as client:
        client.sock.sendall(b"PRI * HT")
        assert client.sock.recv(100).startswith(b"HTTP/1.1 408")


def test_a_drain_says_goaway_in_two_steps(ladle, origin):
    """Stopping: first a notice that takes nothing away, then the last stream; what runs is answered, and no request is lost."""
    go = threading.Event()
    proxy = ladle(origin(lambda request: go.wait(60) and reply(b"late")), {"server": {"drain_timeout": "50s"}})
    with H2Client(proxy.address) as client:
        first = client.start()
        client.ping()
        os.kill(proxy.pid, signal.SIGTERM)
        client.until(lambda: client.goaways)
        assert client.goaways[0] == (2**31 - 1, NO_ERROR)
        second = client.start(path="/on-its-way")
        client.until(lambda: len(client.goaways) == 2)
        assert client.goaways[1] == (second, NO_ERROR)
        go.set()
        assert bytes(client.response(first).body) == b"late" and bytes(client.response(second).body) == b"late"
        client.to_end()
        assert client.ended
    proxy.process.wait(waiting.PATIENCE)


def test_requests_of_one_connection_follow_a_reload(ladle, origin):
    """After a reload the next stream of the same connection is served by the new configuration."""
    old, new = origin(lambda request: reply(b"old")), origin(lambda request: reply(b"new"))
    proxy = ladle(old)
    with H2Client(proxy.address) as client:
        assert bytes(client.get().body) == b"old"
        proxy.configure({"site": {"*": {"upstream": new.url}}})
        assert proxy.reload().returncode == 0
        assert bytes(client.get().body) == b"new"


def test_a_client_that_goes_takes_all_its_requests_along(ladle, origin):
    """A reset connection ends every request on it, each with its line in the log, and leaves nothing behind."""
    def answer(_, connection):
        connection.is_ended_by_peer()
    server = origin(answer)
    proxy = ladle(server)
    client = H2Client(proxy.address)
    for number in range(20):
        client.start(path=f"/{number}")
    server.wait_requests(20)
    client.reset_connection()
    assert {line["reason"] for line in proxy.access_log(20)} == {"client_left"}
    waiting.until(lambda: proxy.status()["metrics"]["requests_in_flight"] == 0, "all requests to end")
    waiting.until(lambda: proxy.status()["metrics"]["connections_open"] == 0, "the connection to be forgotten")


def test_goaway_of_the_client(ladle, origin):
    """A client that says GOAWAY still gets what it asked for; then the connection ends."""
    go = threading.Event()
    server = origin(lambda request: go.wait(60) and reply(b"late"))
    proxy = ladle(server)
    with H2Client(proxy.address) as client:
        stream = client.start()
        server.wait_requests(1)
        client.send(client.frame(7, 0, 0, b"\0" * 8))
        time.sleep(0.2)
        go.set()
        assert bytes(client.response(stream).body) == b"late"
        client.to_end()


def test_an_early_answer_to_an_upload(ladle, origin):
    """A 413 comes whole while the client still sends; the stream is then reset without an error, the connection goes on."""
    proxy = ladle(origin(), {"site": {"*": {"body": "1KiB"}}})
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/", headers=[("content-length", "100000")], end=False)
        client.until(lambda: client.streams[stream].reset is not None)
        assert client.streams[stream].status == 413 and client.streams[stream].ended and client.streams[stream].reset == NO_ERROR
        client.send_body(stream, b"x" * 1000, end=False)  # on its way already
        assert client.get().status == 200
