# SPDX-License-Identifier: Apache-2.0
"""What a peer sends costs what it weighs: heads written anew fit, small pieces hold little memory, views stay with their bytes."""

import socket
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply

SILENT = {"timeouts": {"header": "700ms", "stall": "5s", "response": "5s"}}


def find(tree, name):
    """The first value of that name anywhere in the status."""
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


def test_a_response_of_many_fields_without_spaces_fits(ladle, origin):
    """A head grows by a space for each field when it is written anew: 200 fields went past the room that was asked for."""
    head = b"HTTP/1.1 200 \r\nContent-Length:2\r\n" + b"".join(b"x%d:\r\n" % n for n in range(199)) + b"\r\nok"
    proxy = ladle(origin(head))
    worker = proxy.wait_workers(1)
    for _ in range(3):
        response = proxy.get()
        assert response.status == 200 and response.body == b"ok"
    assert proxy.workers() == worker


def test_an_interim_response_of_many_fields_without_spaces_fits(ladle, origin):
    """The same for a 103."""
    head = b"HTTP/1.1 103 Early\r\n" + b"".join(b"x%d:\r\n" % n for n in range(199)) + b"\r\n"
    proxy = ladle(origin(head + reply()))
    worker = proxy.wait_workers(1)
    assert proxy.get().status == 200
    assert proxy.workers() == worker


def test_a_request_of_many_fields_without_spaces_fits(ladle, origin):
    """The same for a request, with as many fields as the configuration allows."""
    server = origin()
    proxy = ladle(server, {"defence": {"request": {"headers": 5000, "head": "128KiB"}}})
    worker = proxy.wait_workers(1)
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost:a\r\n" + b"".join(b"x%d:\r\n" % n for n in range(4900)) + b"\r\n")
        assert client.response().status in (200, 502)
    assert proxy.workers() == worker


@pytest.mark.parametrize("size", range(16384 - 26, 16384 - 8))
def test_a_head_that_moved_is_not_read_where_it_was(ladle, origin, size):
    """A head that fills its block and then stops is logged from where it stands now, not from the block that was given back."""
    proxy = ladle(origin(), SILENT)
    agent = b"agent-" + b"a" * 50
    start = b"GET /moved HTTP/1.1\r\nHost: site.test\r\nUser-Agent: " + agent + b"\r\nX-Fill: "
    with proxy.client() as client:
        client.send(start + b"f" * (size - len(start)))
        client.response()
    line = proxy.access_log(1)[0]
    assert line["reason"] == "head_timeout" and line["user_agent"].encode() == agent and line["target"] == "/moved"


def trickle(client, pieces):
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        client.send(piece)
        time.sleep(0.0005)


def test_a_body_in_small_pieces_holds_no_block_for_each(ladle, origin):
    """An upload that comes byte by byte held 16 KiB of memory for each byte."""
    server = origin()
    proxy = ladle(server)
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 3000\r\n\r\n")
        trickle(client, [b"x"] * 2999)
        held = find(proxy.status(), "buffer_bytes")
        assert held < 256 * 1024, f"{held} bytes of blocks hold 3000 bytes"
        client.send(b"x")
        assert client.response().status == 200
    assert server.requests[0].body == b"x" * 3000


@pytest.mark.parametrize("size", [1, 300])
def test_small_chunks_hold_no_block_for_each(ladle, origin, size):
    """The same for chunks that come one by one."""
    server = origin()
    proxy = ladle(server)
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        trickle(client, [b"%x\r\n%s\r\n" % (size, b"y" * size)] * 1000)
        held = find(proxy.status(), "buffer_bytes")
        assert held < 1024 * 1024, f"{held} bytes of blocks hold {size * 1000} bytes"
        client.send(b"0\r\n\r\n")
        assert client.response().status == 200
    assert server.requests[0].body == b"y" * size * 1000


def test_many_small_chunks_cost_linear_time(ladle, origin):
    """Chunks of one byte, hundreds of thousands each way, pass within seconds and leave nothing behind."""
    count = 300_000
    body = b"1\r\nz\r\n" * count + b"0\r\n\r\n"
    server = origin(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    proxy = ladle(server, {"timeouts": {"stall": "60s", "response": "60s"}})
    with proxy.client(timeout=60) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert client.response().body == b"z" * count
    assert server.requests[0].body == b"z" * count
    waiting.until(lambda: find(proxy.status(), "buffer_bytes") < 64 * 1024, "the blocks to be given back")
