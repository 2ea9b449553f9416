# SPDX-License-Identifier: Apache-2.0
"""In-place reload: all or nothing, truthful, without losing a connection."""

import asyncio
import os
import signal
import threading
import time

import pytest
import websockets

from tests.e2e.proxying.test_upgrade import EchoServer
from tests.harness import waiting
from tests.harness.dns import Dns
from tests.harness.origin import reply
from tests.harness.raw_client import RawClient


def test_reload_applies_before_it_returns(ladle, origin):
    """After `reload` has returned 0, every new request sees the new configuration, in every worker; nobody is replaced."""
    proxy = ladle(origin(reply(b"old")), {"server": {"workers": 3}})
    before = proxy.wait_workers(3)
    new = origin(reply(b"new"))
    assert proxy.get().body == b"old"
    proxy.configure({"site": {"*": {"upstream": new.url}}})
    result = proxy.reload()
    assert result.returncode == 0, result.stderr
    assert [proxy.get().body for _ in range(30)] == [b"new"] * 30
    assert proxy.workers() == before


def test_sighup_reloads(ladle, origin):
    """SIGHUP is a reload."""
    proxy = ladle(origin(reply(b"old")))
    proxy.configure({"site": {"*": {"upstream": origin(reply(b"new")).url}}})
    os.kill(proxy.pid, signal.SIGHUP)
    waiting.until(lambda: proxy.get().body == b"new", "the new configuration")


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_reload_asked_for_while_starting_is_done_then(ladle, origin, cleanup, how):
    """Neither a command nor a SIGHUP that comes too early is refused or lost: it waits until Ladle serves."""
    cleanup.append(silent := Dns({"silent.ladle.test": None}))
    settings = {"server": {"resolvers": [silent.text]}, "upstream": {"slow": {"servers": ["silent.ladle.test:80"]}}}
    proxy = ladle(origin(reply(b"old")), settings, start=False)
    new = origin(reply(b"new"))

    def is_starting():  # a name that is not answered holds the start up for a second, which a busy machine may sleep through
        if proxy.start(until=("starting", "serving")).ask("status")["state"] == "starting":
            return True
        proxy.process.terminate()
        return proxy.process.wait(waiting.PATIENCE)
    waiting.until(is_starting, "a start that is seen in time")
    proxy.configure({"site": {"*": {"upstream": new.url}}})
    if how == "signal":
        os.kill(proxy.pid, signal.SIGHUP)
        waiting.until(lambda: proxy.get().body == b"new", "the new configuration")
    else:
        result = proxy.reload()
        assert result.returncode == 0, result.stderr
        assert proxy.get().body == b"new"
    assert proxy.status()["state"] == "serving"


def test_a_refused_sighup_says_why(ladle, origin):
    """Where nobody waits for an answer, the error log and `status` name the mistake."""
    proxy = ladle(origin())
    with open(proxy.config, encoding="utf-8") as file:
        good = file.read()
    proxy.write(good + '[extra]\n')
    os.kill(proxy.pid, signal.SIGHUP)
    waiting.until(lambda: "reload refused" in proxy.output(), "the refusal")
    assert "unknown table [extra]" in proxy.output()
    assert "unknown table [extra]" in proxy.command("status").stdout


def test_a_refused_reload_keeps_the_old(ladle, origin):
    """A bad file is refused with its errors, exit code 1, and the running configuration goes on."""
    proxy = ladle(origin())
    proxy.write('[site."*"]\nupsteam = "x"\n')
    result = subprocess_reload(proxy)
    assert result.returncode == 1
    text = result.stdout + result.stderr
    assert "upsteam" in text and "still running" in text
    assert proxy.get().status == 200


def subprocess_reload(proxy):
    """The admin socket stands in the running file: name it where the new file is broken."""
    with open(proxy.config, encoding="utf-8") as file:
        broken = file.read()
    proxy.write(f'[server]\nadmin = "{proxy.admin}"\n' + broken)
    return proxy.reload()


def test_a_file_that_is_no_toml_is_refused(ladle, origin):
    """A syntax error is reported with its line."""
    proxy = ladle(origin())
    proxy.write(f'[server]\nadmin = "{proxy.admin}"\n\n[site."*"\n')
    result = proxy.reload()
    assert result.returncode != 0
    assert ":4:" in result.stdout + result.stderr
    assert proxy.get().status == 200


def test_reload_with_a_port_in_use_is_refused(ladle, origin):
    """A new listener that cannot be bound refuses the whole reload."""
    proxy = ladle(origin(reply(b"old")))
    port = waiting.free_port()
    import socket
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        proxy.configure({"site": {"*": {"listen": [f"http://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{port}"], "upstream": origin(reply(b"new")).url}}})
        result = proxy.reload()
    assert result.returncode != 0
    assert str(port) in result.stdout + result.stderr
    assert proxy.get().body == b"old"


def test_listeners_are_added_and_removed(ladle, origin):
    """A reload opens new addresses and closes old ones; a connection on a removed one ends its request."""
    proxy = ladle(origin())
    port = waiting.free_port()
    proxy.configure({"site": {"*": {"listen": [f"http://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{port}"]}}})
    assert proxy.reload().returncode == 0
    with RawClient(("127.0.0.1", port)) as client:
        assert client.request().status == 200
        proxy.configure({"site": {"*": {"listen": [f"http://127.0.0.1:{proxy.port}"]}}})
        assert proxy.reload().returncode == 0
        try:
            assert client.request().status in (200, 404)
        except Exception:  # noqa: BLE001 - the connection may have been closed between two requests
            pass
    def refused():
        try:
            RawClient(("127.0.0.1", port)).close()
            return False
        except OSError:
            return True
    time.sleep(1.5)  # an address is left when it has been quiet for a second: asking all the time would keep it
    waiting.until(refused, "the old address to be closed", 20, every=2)
    assert proxy.get().status == 200


def test_keep_alive_connections_survive_a_reload(ladle, origin):
    """An idle client connection, and the server's, live on over a reload."""
    server = origin()
    proxy = ladle(server)
    with proxy.client() as client:
        for _ in range(10):
            assert client.request().status == 200
            assert proxy.reload().returncode == 0
        assert client.request().status == 200
    assert len(server.connections) == 1


def test_a_websocket_survives_reloads(ladle, cleanup):
    """A WebSocket lives through reloads, even when its upstream is gone from the file."""
    cleanup.append(EchoServer())
    proxy = ladle(cleanup[0])

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{proxy.port}/") as socket:
            for number in range(5):
                proxy.configure({"site": {"*": {"upstream": f"http://127.0.0.1:{1 + number}"}}})
                assert (await asyncio.to_thread(proxy.reload)).returncode == 0
                await socket.send(str(number))
                assert await socket.recv() == str(number)
    asyncio.run(asyncio.wait_for(talk(), 30))


def test_a_request_keeps_the_configuration_it_began_with(ladle, origin):
    """A request that waits for its server while the configuration changes ends as it began."""
    go = threading.Event()
    server = origin(lambda request: (go.wait(60), reply(b"old"))[1])
    proxy = ladle(server)
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        server.wait_requests(1)
        proxy.configure({"site": {"*": {"upstream": origin(reply(b"new")).url}}})
        assert proxy.reload().returncode == 0
        go.set()
        assert client.response().body == b"old"
        assert client.request().body == b"new"


def test_workers_are_added_and_removed(ladle, origin):
    """A reload may change the number of workers: 4 → 1 → 4, without a failed request."""
    proxy = ladle(origin(), {"server": {"workers": 4}})
    proxy.wait_workers(4)
    failures, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                if proxy.get().status != 200:
                    failures.append("status")
            except Exception as error:  # noqa: BLE001
                failures.append(error)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for count in (1, 4, 2, 3):
            proxy.configure({"server": {"workers": count}})
            result = proxy.reload()
            assert result.returncode == 0, result.stderr
            proxy.wait_workers(count)
            time.sleep(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures


def test_a_crash_after_a_reload_uses_the_new_configuration(ladle, origin):
    """A replacement worker starts with the configuration in force, not with the first."""
    proxy = ladle(origin(reply(b"old")))
    proxy.expect_failures = True
    proxy.configure({"site": {"*": {"upstream": origin(reply(b"new")).url}}})
    assert proxy.reload().returncode == 0
    old = proxy.workers()[0]
    os.kill(old, signal.SIGKILL)
    waiting.until(lambda: proxy.workers().get(0, old) != old, "a new worker")
    assert proxy.get().body == b"new"


def test_include(ladle, origin):
    """`include` reads further files, relative to the first, by glob."""
    proxy = ladle(origin(reply(b"main")), start=False)
    os.mkdir(proxy.path("sites.d"))
    for name in ("a", "b"):
        with open(proxy.path(f"sites.d/{name}.toml"), "w", encoding="utf-8") as out:
            out.write(f'[site."{name}.test"]\nlisten = "http://127.0.0.1:{proxy.port}"\nupstream = "{origin(reply(name.encode())).url}"\n')
    proxy.configure({"include": ["sites.d/*.toml"]})
    proxy.start()
    assert [proxy.get(host=host).body for host in ("a.test", "b.test", "c.test")] == [b"a", b"b", b"main"]


def test_sites_and_routes(ladle, origin):
    """Sites by the most specific name; routes by first match in file order; path, method, header, query, host, regex, respond."""
    servers = {name: origin(reply(name.encode())) for name in ("exact", "wild", "star", "static", "post", "beta", "page", "regex")}
    proxy = ladle(servers["star"], {"site": {
        "www.example.test": {"upstream": servers["exact"].url, "aliases": ["alias.test"], "route": [
            {"path": "/static/*", "upstream": servers["static"].url},
            {"path": "/form", "method": "POST", "upstream": servers["post"].url},
            {"header": {"X-Version": "2*"}, "upstream": servers["beta"].url},
            {"query": {"page": "1"}, "upstream": servers["page"].url},
            {"path_regex": "/u/[0-9]+", "upstream": servers["regex"].url},
            {"path": "/teapot", "respond": {"status": 418, "body": "short", "content_type": "text/x"}},
        ]},
        "*.example.test": {"upstream": servers["wild"].url},
    }})

    def ask(target, host="www.example.test", method="GET", headers=()):
        return proxy.get(target, method, headers, host=host).body
    assert ask("/") == b"exact"
    assert ask("/", "alias.test") == b"exact"
    assert ask("/", "WWW.Example.TEST:8080") == b"exact"
    assert ask("/", "other.example.test") == b"wild"
    assert ask("/", "deep.other.example.test") == b"wild"
    assert ask("/", "nothing.test") == b"star"
    assert ask("/static/x") == b"static"
    assert ask("/static/../form") == b"exact" and ask("/a/../static/x") == b"static"
    assert ask("/%73tatic/x") == b"static"
    assert ask("/form", method="POST") == b"post" and ask("/form") == b"exact"
    assert ask("/", headers=[("X-Version", "2.1")]) == b"beta" and ask("/", headers=[("X-Version", "1")]) == b"exact"
    assert ask("/?page=1") == b"page" and ask("/?a=b&page=1&c") == b"page" and ask("/?page=2") == b"exact"
    assert ask("/u/42") == b"regex" and ask("/u/42x") == b"exact"
    response = proxy.get("/teapot", host="www.example.test")
    assert (response.status, response.body, response.headers.get("Content-Type")) == (418, b"short", "text/x")


@pytest.mark.parametrize("workers", [1, 3])
def test_many_reloads_under_load_lose_nothing(ladle, origin, workers):
    """Twenty reloads under keep-alive and short load: no failed request."""
    proxy = ladle(origin(), {"server": {"workers": workers}})
    failures, stop = [], threading.Event()

    def keep():
        try:
            with proxy.client() as client:
                while not stop.is_set():
                    assert client.request().status == 200
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    def short():
        try:
            while not stop.is_set():
                assert proxy.get().status == 200
        except Exception as error:  # noqa: BLE001
            failures.append(error)
    threads = [threading.Thread(target=target) for target in (keep, keep, short)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert proxy.reload().returncode == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
