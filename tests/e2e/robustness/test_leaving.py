# SPDX-License-Identifier: Apache-2.0
"""Clients that leave while their request is at a server, or on the way to one; and requests that a stale connection lost."""

import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply
from tests.harness.silent import Deaf

LONG = {"timeouts": {"connect": "60s", "response": "60s", "stall": "60s"}}
STREAM = {"site": {"*": {"buffer": {"request": "stream"}}}}
AT_ONCE = 10.0  # seconds: far below every timeout above, and much for a busy machine


def connects_under_way(text):
    """How many TCP sockets are in SYN_SENT towards that address."""
    port = int(text.rsplit(":", 1)[1])
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(row[3] == "02" and int(row[2].split(":")[1], 16) == port for row in rows)


@pytest.mark.parametrize("how", ["reset", "half, then reset"])
def test_a_client_that_resets_during_a_connect_is_noticed_at_once(ladle, cleanup, how):
    """The connect is given up, the request logged as 499, and the server is not blamed."""
    cleanup.append(server := Deaf())
    fillers = connects_under_way(server.text)
    proxy = ladle(settings={**LONG, "upstream": {"app": {"servers": [server.text]}}, "site": {"*": {"upstream": "app"}}})
    client = proxy.client()
    client.send(b"GET /left HTTP/1.1\r\nHost: site.test\r\n\r\n")
    if how != "reset":
        client.shut_write()
    waiting.until(lambda: connects_under_way(server.text) == fillers + 1, "the connect to begin")
    started = time.monotonic()
    client.reset()
    line = proxy.access_log(1)[0]
    assert (line["status"], line["reason"]) == (499, "client_left")
    waiting.until(lambda: connects_under_way(server.text) == fillers, "the connect to be given up")
    assert time.monotonic() - started < AT_ONCE
    assert "cannot connect" not in proxy.output()


@pytest.mark.parametrize("how", ["reset", "half, then reset", "reset with bytes"])
def test_a_client_that_resets_while_it_waits_for_the_head_is_noticed_at_once(ladle, origin, how):
    """The server's connection is closed, the request logged as 499."""
    go = threading.Event()
    server = origin(script=lambda connection: (connection.origin.record(connection, connection.reader.request()), connection.is_ended_by_peer(60)))
    proxy = ladle(server, LONG)
    client = proxy.client()
    client.send(b"GET /left HTTP/1.1\r\nHost: site.test\r\n\r\n")
    server.wait_requests(1)
    if how == "half, then reset":
        client.shut_write()
    elif how == "reset with bytes":
        client.send(b"GET /next HTTP/1.1\r\n")
    started = time.monotonic()
    client.reset()
    waiting.until(lambda: server.connections[0].closed_at, "the server's connection to be closed")
    line = proxy.access_log(1)[0]
    assert (line["status"], line["reason"]) == (499, "client_left") and time.monotonic() - started < AT_ONCE
    go.set()


def test_a_client_that_resets_while_a_server_thinks_about_its_expectation(ladle, origin):
    """Between the head with Expect and the server's 100 the end of the client is noticed too."""
    server = origin(script=lambda connection: (connection.origin.record(connection, connection.reader.request_head()), connection.is_ended_by_peer(60)))
    proxy = ladle(server, {**LONG, **STREAM})

    def seconds(number):
        client = proxy.client()
        client.send(b"PUT /left HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        server.wait_requests(number)
        started = time.monotonic()
        client.reset()
        waiting.until(lambda: server.connections[number - 1].closed_at, "the server's connection to be closed")
        return time.monotonic() - started
    tries = 1
    while seconds(tries) >= 0.8:  # the wait for 100 is over after a second each time, a busy machine is that slow now and then
        tries += 1
        assert tries <= 5, "only after the wait for 100"
    assert {line["reason"] for line in proxy.access_log(tries)} == {"client_left"}


def test_a_client_that_has_only_finished_sending_gets_its_answer(ladle, origin):
    """Half-closed is not gone: `printf … | nc -N`."""
    go = threading.Event()
    server = origin(lambda request: go.wait(60) and reply(b"still there"))
    proxy = ladle(server, LONG)
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        client.shut_write()
        server.wait_requests(1)
        time.sleep(0.5)  # longer than the doubt about a short read lasts
        go.set()
        assert client.response().body == b"still there"


@pytest.mark.parametrize("mode", ["full", "stream"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_put_with_expect_is_tried_again_on_a_fresh_connection(ladle, origin, mode, how):
    """Not a byte of the body had gone to the kept connection that was stale: the next one gets all of it."""
    def script(connection):
        connection.origin.record(connection, connection.reader.request())
        connection.send(reply(b"first"))
        if not connection.reader.at_start():
            return
        connection.reader.request_head()
        getattr(connection, how)()
    server = origin(script=script)
    proxy = ladle(server, {**LONG, "site": {"*": {"buffer": {"request": mode}}}})
    assert proxy.get().body == b"first"
    with proxy.client() as client:
        client.send(b"PUT /again HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.reader.response_head().status == 100
        client.send(b"hello")
        assert client.response().status == 200
    assert [(request.target, request.body) for request in server.requests] == [("/", b""), ("/again", b"hello")]
