# SPDX-License-Identifier: Apache-2.0
"""A body that is being stored when its server, or its worker, goes: with a strong ETag its readers need not notice."""

import os
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.ladle import open_files
from tests.harness.origin import reply

HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\nCache-Control: max-age=3600\r\n"
BODY = os.urandom(400_000)


class Halting:
    """An origin whose first answer stops in the middle until `go`; all others are whole at once."""

    def __init__(self, etag='"one"', ends=False):
        self.etag, self.ends, self.count, self.go = etag, ends, 0, threading.Event()

    def __call__(self, request, connection):
        self.count += 1
        head = (HEAD + (f"ETag: {self.etag}\r\n" if self.etag else "") + "\r\n").encode()
        connection.send(head + BODY[:150_000] if self.count == 1 else head + BODY)
        if self.count == 1:
            self.go.wait(60)
            connection.close()


def readers(proxy, count):
    """Starts clients; returns their threads and what each has got so far."""
    found, threads = [bytearray() for _ in range(count)], []

    def read(into):
        with proxy.client(timeout=20) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
            while piece := client.sock.recv(65536):
                into += piece
    for into in found:
        threads.append(threading.Thread(target=read, args=(into,), daemon=True))
        threads[-1].start()
    return threads, found


def test_readers_go_on_when_the_server_cuts(caching):
    """The server closes in the middle: one more request to it, and every client gets every byte."""
    server = Halting()
    proxy, _ = caching(server)
    threads, found = readers(proxy, 12)
    waiting.until(lambda: all(len(text) > 150_000 for text in found), "all to have the first part")
    server.go.set()
    for thread in threads:
        thread.join(60)
    assert all(text.endswith(BODY) and len(text) < len(BODY) + 1000 for text in map(bytes, found))
    assert server.count == 2


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_they_are_cut(caching, etag):
    """Nothing says that the rest would be of the same bytes."""
    server = Halting(etag)
    proxy, _ = caching(server)
    threads, found = readers(proxy, 4)
    waiting.until(lambda: all(len(text) > 150_000 for text in found), "all to have the first part")
    server.go.set()
    for thread in threads:
        thread.join(60)
    assert all(len(text) < 151_000 for text in found)


def test_readers_go_on_when_the_filling_worker_dies(caching):
    """kill -9 of the worker that fetches: the clients of the others get every byte, by one more request."""
    server = Halting()
    proxy, _ = caching(server, settings={"cache": {"wait": "60s"}})
    threads, found = readers(proxy, 24)
    waiting.until(lambda: all(len(text) > 150_000 for text in found), "all to have the first part")
    workers = proxy.status()["workers"]
    filling = [worker["pid"] for worker in workers if has_server_connection(worker["pid"], proxy)]
    assert len(filling) == 1
    others = sum(worker["connections"] for worker in workers if worker["pid"] not in filling)
    os.kill(filling[0], 9)
    waiting.until(lambda: server.count == 2, "the new request, long before [cache] wait is over")
    for thread in threads:
        thread.join(60)
    whole = [text for text in map(bytes, found) if text.endswith(BODY)]
    assert len(whole) == others > 0 and all(len(text) < 151_000 for text in found if bytes(text) not in whole)
    server.go.set()


def has_server_connection(pid, proxy):
    """Whether the process holds a connection to the origin."""
    port = f":{int(proxy.settings['site']['*']['upstream'].rsplit(':', 1)[1]):04X}"
    sockets = open_files(pid)
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    return any(row[2].endswith(port) and f"socket:[{row[9]}]" in sockets for row in rows)


def test_an_object_that_was_replaced_is_read_to_its_end(caching):
    """A slow reader of an object that a purge and a new version have replaced gets the old one, whole."""
    versions = [BODY, os.urandom(400_000)]

    def answer(request, connection):
        connection.send(reply(versions[min(len(server.requests), 2) - 1], headers=[("Cache-Control", "max-age=3600")]))
    proxy, server = caching(answer)
    with proxy.client(receive_buffer=4096, timeout=20) as slow:
        slow.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        time.sleep(0.3)
        assert proxy.get("/", "PURGE").status == 200
        assert proxy.get("/").body == versions[1]
        assert slow.response().body == versions[0]
