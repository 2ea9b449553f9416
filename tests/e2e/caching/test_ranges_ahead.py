# SPDX-License-Identifier: Apache-2.0
"""A range of an object that is just being fetched, beginning beyond what has come of it."""

import os
import threading
import time

import pytest

from tests.harness import waiting


@pytest.mark.parametrize("size", [40_000, 400_000], ids=["memory", "file"])
def test_a_range_beyond_what_has_come_arrives_with_its_bytes(caching, size):
    """It waits for them, sends these and no others, and needs no request of its own."""
    go, body, got = threading.Event(), os.urandom(size), []

    def slowly(request, connection):
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nCache-Control: max-age=3600\r\n\r\n".encode() + body[:1000])
        go.wait(60)
        connection.send(body[1000:])
    proxy, server = caching(slowly)
    with proxy.client() as first:
        first.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: proxy.status()["metrics"]["cache_fills_open"] == 1, "the fetch to begin")
        clients = [threading.Thread(target=lambda: got.append(proxy.get("/", headers=[("Range", "bytes=5000-5999")]).body), daemon=True) for _ in range(6)]
        for client in clients:
            client.start()
        time.sleep(0.3)
        go.set()
        waiting.until(lambda: len(got) == 6, "six ranges")
    assert got == [body[5000:6000]] * 6 and len(server.requests) == 1
