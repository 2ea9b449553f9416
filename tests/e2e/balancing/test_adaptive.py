# SPDX-License-Identifier: Apache-2.0
"""The limit that finds itself: how many requests a server has at once, by how long its answers take, over all workers."""

import os
import signal
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply
from tests.harness.wire import Closed


class Server:
    """Works on `capacity` requests at a time for `seconds` each; the others wait in it. Shows how many it had at once. Past
    `shed_beyond` it answers 429."""

    def __init__(self, capacity, seconds=0.05, shed_beyond=1000):
        self.places, self.seconds, self.shed_beyond = threading.Semaphore(capacity), seconds, shed_beyond
        self.running, self.most, self.answered, self.times, self.lock = 0, 0, 0, [], threading.Lock()

    def __call__(self, request):
        begun = time.monotonic()
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            is_shed = self.running > self.shed_beyond
        if is_shed:
            with self.lock:
                self.running -= 1
            return reply(status=429)
        with self.places:
            time.sleep(self.seconds)
        with self.lock:
            self.running -= 1
            self.answered += 1
            self.times.append(time.monotonic() - begun)
        return reply()

    def forget(self):
        with self.lock:
            self.most, self.answered, self.times = self.running, 0, []

    def median(self):
        """Of the times in it; a busy machine makes single ones longer."""
        with self.lock:
            return sorted(self.times)[len(self.times) // 2]


class Load:
    """Clients that ask again as soon as they are answered."""

    def __init__(self, proxy, clients=48):
        self.stopping, self.statuses = threading.Event(), []
        self.threads = [threading.Thread(target=self.run, args=(proxy,)) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, proxy):
        while not self.stopping.is_set():
            try:
                with proxy.client(timeout=30) as client:
                    while not self.stopping.is_set():
                        self.statuses.append(client.request().status)
            except (OSError, Closed):
                pass  # the worker was killed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def group(ladle, server, workers=3, **more):
    return ladle(settings={"server": {"workers": workers}, "site": {"*": {"upstream": "app"}},
                           "upstream": {"app": {"servers": [server.text], "queue": {"size": 500, "timeout": "30s"}, **more}}})


def limit(proxy):
    return proxy.status()["servers"][0]["limit"]


def settled(server, most, answers=300, deadline=60):
    """Waits for so many answers in a row during which the server had no more than `most` at once."""
    server.forget()

    def is_settled():
        if server.most > most:
            server.forget()
        return server.answered >= answers and server.most <= most
    waiting.until(is_settled, f"no more than {most} at once", deadline)


def test_without_it_the_server_gets_all_at_once(ladle, origin):
    """The control: 48 clients are 48 requests at a server that works on eight, and each waits for six others there."""
    server = Server(8)
    proxy = group(ladle, origin(server))
    with Load(proxy):
        waiting.until(lambda: server.most == 48 and server.answered > 200, "load")
        server.forget()
        waiting.until(lambda: server.answered > 200, "more of it")
        assert server.median() > 0.2, "what a limit comes below"
    assert "limit" not in proxy.status()["servers"][0]


def test_the_limit_comes_to_what_the_server_can_do(ladle, origin):
    """48 clients over three workers, a server that works on eight at a time: it has little more than that at once, is kept busy, and all are answered."""
    server = Server(8)
    proxy = group(ladle, origin(server), adaptive=True)
    with Load(proxy) as load:
        settled(server, 22)
        assert server.most >= 8 and server.median() < 0.2
        shown = limit(proxy)
        assert 8 <= shown["found"] <= 30 and 40 <= shown["baseline_ms"] < 110
    assert set(load.statuses) == {200}
    metrics = proxy.status()["metrics"]
    assert metrics["server_limits_measured"] >= 1 and metrics["server_limits_raised"] >= 1 and metrics["server_limits_lowered"] >= 1
    assert "limit: " in proxy.command("status").stdout and "without waiting" in proxy.command("status").stdout
    waiting.until(lambda: limit(proxy)["unanswered"] == 0, "nothing to be left")


def test_it_outlives_reloads_upgrades_and_workers_that_are_killed(ladle, origin):
    """The limit that was found is the one after a reload, an upgrade and a crash; the requests of the dead take no place of it."""
    server = Server(8)
    proxy = group(ladle, origin(server), adaptive=True)
    with Load(proxy):
        settled(server, 22)
        killed = proxy.wait_workers(3)[0]
        os.kill(killed, signal.SIGKILL)
        proxy.wait_workers(3, without=killed)
        assert proxy.reload().returncode == 0
        settled(server, 22)
    waiting.until(lambda: limit(proxy)["unanswered"] == 0, "nothing to be left")
    found = limit(proxy)
    assert 8 <= found["found"] <= 30 and 40 <= found["baseline_ms"] < 110
    assert proxy.reload().returncode == 0
    assert limit(proxy) == found
    assert proxy.command("upgrade").returncode == 0
    assert limit(proxy) == found
    proxy.configure({"upstream": {"app": {"adaptive": None}}})
    assert proxy.reload().returncode == 0
    assert "limit" not in proxy.status()["servers"][0]


def test_a_server_that_sheds_load_is_not_quicker_for_it(ladle, origin):
    """A server answers 429 at once beyond sixteen: how long it takes is still what it takes for what it does."""
    server = Server(8, shed_beyond=16)
    proxy = group(ladle, origin(server), adaptive=True)
    with Load(proxy) as load:
        waiting.until(lambda: server.answered > 600, "load", 60)
        assert limit(proxy)["baseline_ms"] >= 40
    assert 429 in load.statuses
    assert load.statuses.count(200) >= 600


def test_slow_uploads_make_no_slow_server(ladle, origin):
    """Forty requests whose bodies take a third of a second to come, passed on as they come, and are answered at once: it took the server no time."""
    proxy = group(ladle, origin(), adaptive=True)
    proxy.configure({"site": {"*": {"buffer": {"request": "stream"}}}})
    assert proxy.reload().returncode == 0

    def upload():
        with proxy.client(timeout=30) as client:
            for _ in range(4):
                client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 6\r\n\r\n")
                client.trickle(b"123456", 0.07)
                assert client.response().status == 200
    threads = [threading.Thread(target=upload) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit(proxy)["baseline_ms"] < 100


def test_max_conn_stays_the_most(ladle, origin):
    """A server that could do more gets no more than its max_conn."""
    server = Server(40)
    proxy = group(ladle, origin(server), adaptive=True, max_conn=6)
    with Load(proxy, 24):
        waiting.until(lambda: server.answered > 200, "load")
        assert server.most == 6 and limit(proxy)["found"] <= 6


def test_tunnels_take_no_place(ladle, origin):
    """Thirty WebSockets stay open at a server whose limit begins with ten, and others are answered beside them."""
    def play(connection):
        connection.reader.request_head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        connection.sock.settimeout(60)
        try:
            while connection.sock.recv(4096):
                pass
        except OSError:
            pass
    server = origin(script=play)
    proxy = group(ladle, server, adaptive=True)
    tunnels = []
    try:
        for _ in range(30):
            tunnel = proxy.client()
            tunnels.append(tunnel)
            tunnel.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert tunnel.reader.response_head().status == 101
        shown = proxy.status()["servers"][0]
        assert shown["in_flight"] == 30 and shown["limit"]["unanswered"] == 0
    finally:
        for tunnel in tunnels:
            tunnel.close()


def test_explain_shows_the_limit(ladle, origin):
    """`ladle explain` says how many requests a server may have now, where that finds itself."""
    proxy = group(ladle, origin(), adaptive=True, max_conn=15)
    text = proxy.command("explain", "GET", f"http://site.test:{proxy.port}/").stdout
    assert "limit 7" in text
    proxy.configure({"upstream": {"app": {"adaptive": None}}})
    assert proxy.reload().returncode == 0
    assert "limit 7" not in proxy.command("explain", "GET", f"http://site.test:{proxy.port}/").stdout


@pytest.mark.parametrize("written,said", [('{ min = 0 }', "must be from 1 to"), ('{ tolerance = 25 }', 'write "25%"'), ('"yes"', "true or false")])
def test_bad_values_are_told_of_with_their_place(ladle, written, said):
    """`ladle check` names file, line and column of a bad value of adaptive."""
    proxy = ladle(None, start=False)
    proxy.write(f'[upstream.app]\nservers = ["127.0.0.1:1"]\nadaptive = {written}\n[site."*"]\nupstream = "app"\n')
    checked = proxy.command("check")
    assert checked.returncode == 1 and f"{proxy.config}:3:" in checked.stderr and said in checked.stderr
