# SPDX-License-Identifier: Apache-2.0
"""Conversations that end at every byte, by an end or a reset, on either side: nothing is shown whole that is not, nothing leaks."""

import os
import socket
import threading

import pytest

from tests.harness import waiting
from tests.harness.origin import chunked_reply, reply
from tests.harness.raw_client import RawClient

GAUGES = ("connections_open", "connections_idle", "requests_in_flight", "tunnels_open", "spool_memory_bytes", "spool_disk_bytes", "server_queue", "file_jobs")
SETTINGS = {"timeouts": {"header": "5s", "stall": "5s", "response": "5s", "connect": "5s"}, "server": {"drain_timeout": "1s"}}
# How far apart the cuts are: 1 for every byte.
STEP = int(os.environ.get("LADLE_CUT_STEP", "7"))

REQUESTS = {
    "get": b"GET /a HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "length": b"POST /b HTTP/1.1\r\nHost: site.test\r\nContent-Length: 20\r\n\r\n01234567890123456789",
    "chunked": b"POST /c HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
    "pipelined": b"GET /d HTTP/1.1\r\nHost: site.test\r\n\r\nPOST /e HTTP/1.1\r\nHost: site.test\r\nContent-Length: 3\r\n\r\nabcGET /f HTTP/1.0\r\n\r\n",
}
RESPONSES = {
    "length": reply(b"hello, this is a body"),
    "chunked": chunked_reply([b"hello", b", ", b"this is a body"], trailers=[("X-Sum", "1")]),
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"hello, this is a body"),
    "to the end": b"HTTP/1.1 200 OK\r\n\r\nhello, this is a body",
}


def find(tree, name):
    if isinstance(tree, dict):
        if name in tree:
            return tree[name]
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            value = find(item, name)
            if value is not None:
                return value
    return None


def check_nothing_is_left(proxy, workers):
    assert proxy.workers() == workers, "a worker died"

    def leftovers():
        status = proxy.status()
        left = {name: find(status, name) for name in GAUGES if find(status, name)}
        return left if left else None
    waiting.until(lambda: leftovers() is None, "all gauges to be 0 again")


def in_parallel(jobs, count=8):
    jobs = list(jobs)
    lock = threading.Lock()
    failures = []

    def work():
        while True:
            with lock:
                if not jobs:
                    return
                job = jobs.pop()
            try:
                job()
            except Exception as error:  # noqa: BLE001
                failures.append(error)
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("how", ["end", "half", "reset"])
@pytest.mark.parametrize("buffering", ["full", "stream"])
def test_a_client_may_leave_at_any_byte(ladle, origin, how, buffering):
    """A request cut anywhere is never passed on as a whole one, and leaves nothing behind."""
    server = origin()
    proxy = ladle(server, {**SETTINGS, "site": {"*": {"buffer": {"request": buffering}}}})
    workers = proxy.wait_workers(1)

    def cut(text, at):
        client = RawClient(proxy.address)
        client.send(text[:at])
        if how == "half":
            client.shut_write()
            client.drain()
            client.close()
        elif how == "reset":
            client.reset()
        else:
            client.close()
    in_parallel((lambda text=text, at=at: cut(text, at)) for text in REQUESTS.values() for at in range(1, len(text), STEP))
    check_nothing_is_left(proxy, workers)
    for request in server.requests:
        assert request.body in (b"", b"01234567890123456789", b"hello world", b"abc")
    assert proxy.get().status == 200


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("kind", RESPONSES)
def test_a_server_may_leave_at_any_byte(ladle, origin, how, kind):
    """A response cut anywhere reaches the client as an error or as a cut one, never as a whole one."""
    whole = RESPONSES[kind]

    def play(connection):
        while connection.reader.at_start():
            at = int(connection.reader.request().target[1:])
            connection.send(whole[:at])
            if at < len(whole) or kind == "to the end":
                if how == "reset":
                    connection.reset()
                else:
                    connection.close()
                return
    proxy = ladle(origin(script=play), SETTINGS)
    workers = proxy.wait_workers(1)
    results = {}

    def ask(at):
        with proxy.client() as client:
            client.send(b"GET /%d HTTP/1.1\r\nHost: site.test\r\n\r\n" % at)
            client.shut_write()
            results[at] = client.drain()
    in_parallel((lambda at=at: ask(at)) for at in range(0, len(whole) + 1, STEP))
    ask(len(whole))
    check_nothing_is_left(proxy, workers)
    for at, (received, _) in results.items():
        head, _, body = received.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 103"):
            head, _, body = body.partition(b"\r\n\r\n")
        is_whole = at == len(whole)
        if head.startswith(b"HTTP/1.1 502"):
            assert not is_whole or (kind == "to the end" and how == "reset"), at
        elif kind == "chunked":
            assert body.endswith(b"0\r\nX-Sum: 1\r\n\r\n") == is_whole, (at, received)
        elif kind != "to the end":
            assert head.startswith(b"HTTP/1.1 200") and (body == b"hello, this is a body") == is_whole, (at, received)


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_tunnel_may_be_cut_at_any_byte(ladle, origin, side):
    """The same for an upgraded connection."""
    accept = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
    ask = b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

    def play(connection):
        connection.reader.request()
        connection.send(accept)
        seen = 0
        while True:
            data = connection.sock.recv(100)
            seen += len(data)
            if not data:
                return
            connection.send(data)
            if side == "server" and data.startswith(b"cut"):
                connection.reset()
                return
    proxy = ladle(origin(script=play), SETTINGS)
    workers = proxy.wait_workers(1)

    def talk(at):
        client = RawClient(proxy.address)
        client.send(ask + b"x" * at)
        got = b""
        while got.count(b"\r\n\r\n") < 1 or len(got.split(b"\r\n\r\n", 1)[1]) < at:
            got += client.sock.recv(4096)
        if side == "server":
            client.send(b"cut")
            client.drain()
            client.close()
        else:
            client.send(b"y" * at)
            client.reset()
    in_parallel((lambda at=at: talk(at)) for at in range(0, 120, STEP))
    check_nothing_is_left(proxy, workers)


def test_many_clients_that_come_and_go_leave_nothing(ladle, origin):
    """Slow readers, resets, uploads and queues at once: afterwards every gauge is back at 0 and the blocks are given back."""
    body = os.urandom(3 << 20)
    server = origin(lambda request: reply(body if request.target == "/big" else b"ok"))
    proxy = ladle(settings={**SETTINGS, "upstream": {"app": {"servers": [server.text], "max_conn": 3, "queue": {"size": 5, "timeout": "500ms"}}},
                            "site": {"*": {"upstream": "app"}}, "budget": {"spool_memory": "1MiB", "spool_disk": "4MiB", "per_client": "3MiB"}})
    workers = proxy.wait_workers(1)

    def act(number):
        client = RawClient(proxy.address, receive_buffer=8192 if number % 2 else None, timeout=10)
        try:
            if number % 5 == 0:
                client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 2000000\r\n\r\n" + body[:2_000_000 if number % 2 else 1_000_000])
            else:
                client.send(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
            if number % 3 == 0:
                client.sock.recv(5000)
                client.reset()
            elif number % 3 == 1:
                client.sock.recv(100_000)
                client.close()
            else:
                client.drain(1)
                client.close()
        except OSError:
            client.sock.close()
    in_parallel([(lambda number=number: act(number)) for number in range(120)], 16)
    check_nothing_is_left(proxy, workers)
    waiting.until(lambda: find(proxy.status(), "buffer_bytes") < 64 * 1024, "the blocks to be given back")
    for entry in find(proxy.status(), "servers") or []:
        assert entry.get("in_flight", 0) == 0
    assert proxy.get().status == 200
