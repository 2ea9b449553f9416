# SPDX-License-Identifier: Apache-2.0
"""What the cache holds outlives the processes: crashes, reloads, upgrades; and nobody waits for a fetch whose process is dead."""

import os
import signal
import threading

import pytest

from tests.harness import waiting
from tests.harness.ladle import open_files
from tests.harness.origin import reply
from tests.harness.wire import Closed

FRESH = [("Cache-Control", "max-age=60")]


@pytest.fixture
def counting(ladle, origin):
    """A caching proxy before a server that counts its answers."""
    def make(settings=None, answer=None):
        counted = iter(range(1, 10_000))
        server = origin(answer or (lambda request: reply(b"answer %d" % next(counted), headers=FRESH)))
        return ladle(server, {"cache": {"memory": "16MiB"}, "server": {"workers": 2}, "site": {"*": {"cache": True}}, **(settings or {})}), server
    return make


def replaced(proxy, before):
    return waiting.until(lambda: len(proxy.workers()) == 2 and not set(proxy.workers().values()) & set(before.values())
                         and all(worker["state"] == "ready" for worker in proxy.status()["workers"]), "new workers", 20)


def test_content_outlives_crash_reload_and_upgrade(counting):
    """Small and large bodies are answered from the cache by processes that never saw them come."""
    big = os.urandom(1 << 20)
    proxy, server = counting(answer=lambda request: reply(big if request.target == "/big" else b"small", headers=FRESH))
    assert proxy.get("/big").body == big and proxy.get("/small").body == b"small"

    def check():
        assert proxy.get("/big").body == big and proxy.get("/small").body == b"small"
        assert len(server.requests) == 2
    check()
    before = proxy.wait_workers(2)
    for pid in [*before.values(), proxy.caretaker()]:
        os.kill(pid, signal.SIGKILL)
    replaced(proxy, before)
    check()
    assert proxy.reload().returncode == 0
    check()
    before = proxy.wait_workers(2)
    assert proxy.command("upgrade").returncode == 0
    replaced(proxy, before)
    check()
    status = proxy.status()["cache"]
    assert status["objects"] == 2 and status["file_bytes"] >= 1 << 20


def test_a_purge_outlives_an_upgrade(counting):
    """What was purged stays purged."""
    proxy, _ = counting()
    first = proxy.get("/x").body
    assert proxy.command("purge", "http://site.test/x").returncode == 0
    before = proxy.wait_workers(2)
    assert proxy.command("upgrade").returncode == 0
    replaced(proxy, before)
    assert proxy.get("/x").body != first


def test_nobody_waits_for_a_dead_fetch(counting):
    """kill -9 of the worker that fetches: those who wait in the other one get a new fetch at once, not after [cache] wait."""
    go = threading.Event()

    def answer(request):
        if request.target == "/slow" and len([one for one in server.requests if one.target == "/slow"]) == 1:
            go.wait(60)
        return reply(request.target.encode(), headers=FRESH)
    proxy, server = counting({"cache": {"memory": "16MiB", "wait": "60s"}}, answer)
    workers = proxy.wait_workers(2)
    clients = []

    def connections():
        return {worker["pid"]: worker["connections"] for worker in proxy.status()["workers"]}
    try:
        while min(connections().values()) == 0: # the kernel chooses
            clients += [proxy.client() for _ in range(4)]
            waiting.until(lambda: sum(connections().values()) == len(clients), "all to be connected")
        for client in clients:
            client.send(b"GET /slow HTTP/1.1\r\nHost: site.test\r\n\r\n")
        server.wait_requests(1)
        waiting.until(lambda: proxy.status()["metrics"]["cache_waits"] == len(clients) - 1, "the others to wait")
        assert len(server.requests) == 1
        held = connections()
        [filler] = [pid for pid in workers.values() if server_connections(pid, server.port)]
        os.kill(filler, signal.SIGKILL)
        server.wait_requests(2)  # long before [cache] wait is over
        answered = 0
        for client in clients:
            try:
                answered += client.response().body == b"/slow"
            except Closed:
                pass
        assert answered == held[next(pid for pid in workers.values() if pid != filler)]
        assert len(server.requests) == 2
        assert proxy.status()["cache"]["fetches"] == 0
    finally:
        go.set()
        for client in clients:
            client.close()


def server_connections(pid, port):
    """How many connections to a port of this machine a process has."""
    sockets = open_files(pid)
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return len([row for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01" and f"socket:[{row[9]}]" in sockets])
