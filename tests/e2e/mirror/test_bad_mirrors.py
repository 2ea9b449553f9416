# SPDX-License-Identifier: Apache-2.0
"""Mirrors that are broken, slow or too busy: clients notice nothing, and what copies take is bounded."""

import threading

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def metric(proxy, name):
    return proxy.status()["metrics"][name]


def group(ladle, server, shadow, workers=1, mirror=None, **upstream):
    servers = [shadow] if isinstance(shadow, str) else [one.url for one in shadow] if isinstance(shadow, list) else [shadow.url]
    return ladle(None, {"server": {"workers": workers}, "mirror": mirror or {},
                        "upstream": {"app": {"servers": [server.url]}, "shadow": {"servers": servers, **upstream}},
                        "site": {"*": {"upstream": "app", "mirror": "shadow"}}})


def ask(proxy, count, body=None):
    """So many requests on one connection, all answered well."""
    with proxy.client() as client:
        for _ in range(count):
            response = client.request("GET" if body is None else "POST", body=body)
            assert (response.status, response.body) == (200, b"ok")


@pytest.fixture
def hanging(origin):
    """A mirror that takes requests and answers none before it is let."""
    go = threading.Event()
    server = origin(lambda request: go.wait(60) and reply())
    server.go = go
    yield server
    go.set()


def endless(request, connection):
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    try:
        while True:
            connection.send(piece)
    except OSError:
        return


def resets(request, connection):
    connection.reset()


def endless_head(request, connection):
    connection.send(b"HTTP/1.1 200 OK\r\n")
    try:
        while True:
            connection.send(b"X-More: and more\r\n" * 100)
    except OSError:
        return


BAD = {
    "resets": resets,
    "closes": lambda request, connection: connection.close(),
    "garbage": b"\x00\x01\x02 no HTTP at all\r\n\r\n" * 50,
    "bad framing": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "cut body": lambda request, connection: connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx") or connection.close(),
    "a 101 that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "endless head": endless_head,
    "an endless row of interim answers": lambda request, connection: connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
}


@pytest.mark.parametrize("how", BAD)
def test_a_mirror_that_answers_badly_changes_nothing(ladle, origin, how):
    """Whatever the mirror says, clients get their answers, and the copies are counted as failed."""
    server, shadow = origin(), origin(BAD[how])
    proxy = group(ladle, server, shadow, eject={"failures": 0})
    ask(proxy, 6, b"a body")
    waiting.until(lambda: metric(proxy, "mirror_failed") == 6, "the copies to fail")
    assert (metric(proxy, "mirror_in_work"), metric(proxy, "requests"), metric(proxy, "mirror_answered")) == (0, 6, 0)


def test_a_mirror_that_refuses_is_left_alone(ladle, origin):
    """No connection: clients notice nothing, and after the first failures the mirror is not asked before its rest is over."""
    server = origin()
    proxy = group(ladle, server, f"http://127.0.0.1:{waiting.free_port()}")
    ask(proxy, 1)
    waiting.until(lambda: metric(proxy, "mirror_failed") == 1, "the copy to fail")
    ask(proxy, 20)
    waiting.until(lambda: metric(proxy, "mirror_failed") + metric(proxy, "mirror_skipped_no_server") == 21, "the copies to end")
    assert metric(proxy, "mirror_skipped_no_server") >= 10 and metric(proxy, "server_panics") == 0


def test_clients_do_not_wait_for_a_mirror_that_hangs(ladle, origin, hanging):
    """All clients are answered while every copy still waits; [mirror] timeout then ends the copies, and that is held against the mirror."""
    server = origin()
    proxy = ladle(None, {"mirror": {"timeout": "6s"}, "timeouts": {"response": "5s"},
                         "upstream": {"app": {"servers": [server.url]}, "shadow": {"servers": [hanging.url]}},
                         "site": {"*": {"upstream": "app", "mirror": "shadow"}}})
    ask(proxy, 20, b"body")
    assert len(server.requests) == 20 and metric(proxy, "mirror_in_work") > 0
    hanging.wait_requests(20)
    waiting.until(lambda: metric(proxy, "mirror_failed") == 20, "the copies' time to be over")
    metrics = proxy.status()["metrics"]
    assert (metrics["mirror_in_work"], metrics["mirror_body_bytes"], metrics["mirror_answered"]) == (0, 0, 0)
    shadow = next(one for one in proxy.status()["servers"] if one["upstream"] == "shadow")
    assert shadow["failures"]["timeout"] >= 1


def test_an_endless_answer_is_read_up_to_the_limit(ladle, origin):
    """Of an answer without an end [mirror] answer is read, and its connection closed; the copy counts as answered."""
    server, shadow = origin(), origin(endless)
    proxy = group(ladle, server, shadow, mirror={"answer": "256KiB", "timeout": "1h"})
    ask(proxy, 4)
    waiting.until(lambda: metric(proxy, "mirror_answered") == 4, "the copies to end")
    waiting.until(lambda: all(connection.closed_at for connection in shadow.wait_connections(4)), "their connections to be closed")
    assert metric(proxy, "bytes_from_servers") < 4 * (512 << 10) + 4096


def test_past_the_limit_copies_are_left_out(ladle, origin, hanging):
    """With so many copies in work further ones are left out and counted, and the clients served; there is room again afterwards."""
    server = origin()
    proxy = group(ladle, server, hanging, mirror={"requests": 3, "timeout": "1h"})
    ask(proxy, 10)
    assert metric(proxy, "mirror_skipped_busy") == 7 and metric(proxy, "mirror_in_work") == 3
    assert len(hanging.wait_requests(3)) == 3
    hanging.go.set()
    waiting.until(lambda: metric(proxy, "mirror_in_work") == 0, "the copies to end")
    ask(proxy, 1)
    hanging.wait_requests(4)


def test_bodies_of_copies_have_a_limit(ladle, origin, hanging):
    """Copies hold so many bytes of bodies and no more; what has no body still has room."""
    server = origin()
    proxy = group(ladle, server, hanging, mirror={"bodies": "100KiB", "timeout": "1h"})
    ask(proxy, 10, b"x" * 40_000)
    metrics = proxy.status()["metrics"]
    assert (metrics["mirror_body_bytes"], metrics["mirror_in_work"], metrics["mirror_skipped_busy"]) == (80_000, 2, 8)
    ask(proxy, 2)
    assert metric(proxy, "mirror_in_work") == 4 and len(server.requests) == 12


def test_memory_is_bounded_while_a_mirror_hangs(ladle, origin, hanging):
    """400 requests of 64 KiB at a mirror that hangs leave buffers of the copies in work and no more, and nothing when those end."""
    server = origin()
    proxy = group(ladle, server, hanging, mirror={"requests": 100, "bodies": "1MiB", "timeout": "1h"})
    ask(proxy, 400, b"x" * 65536)
    metrics = proxy.status()["metrics"]
    assert metrics["mirror_in_work"] + metrics["mirror_failed"] == 16 and metrics["mirror_skipped_busy"] == 384
    assert metrics["mirror_body_bytes"] <= 1 << 20
    assert metrics["buffer_bytes"] < 4 << 20, metrics["buffer_bytes"]
    waiting.until(lambda: metric(proxy, "spool_memory_bytes") == 0, "the clients' own bodies to be gone")
    hanging.go.set()
    waiting.until(lambda: metric(proxy, "mirror_in_work") == 0, "the copies to end")
    waiting.until(lambda: metric(proxy, "buffer_bytes") < 256 << 10, "their buffers to be given back")


def test_max_conn_holds_for_copies_and_they_do_not_queue(ladle, origin, hanging):
    """While the mirror's server has its max_conn, copies are left out, and none waits."""
    server = origin()
    proxy = group(ladle, server, hanging, mirror={"timeout": "1h"}, max_conn=2, queue={"size": 100, "timeout": "1h"})
    ask(proxy, 8)
    waiting.until(lambda: metric(proxy, "mirror_skipped_no_server") == 6, "the others to be left out")
    assert metric(proxy, "server_queue") == 0 and metric(proxy, "mirror_in_work") == 2 and len(hanging.wait_requests(2)) == 2


def test_a_copy_is_not_sent_to_another_server(ladle, origin):
    """Of a mirror with two servers that reset, one gets the copy; no retry is taken."""
    server, shadows = origin(), [origin(resets), origin(resets)]
    proxy = group(ladle, server, shadows, eject={"failures": 0})
    ask(proxy, 5)
    waiting.until(lambda: metric(proxy, "mirror_failed") == 5, "the copies to fail")
    assert sum(len(shadow.requests) for shadow in shadows) == 5 and metric(proxy, "server_retries") == 0


def test_a_kept_connection_that_was_closed_costs_no_copy(ladle, origin):
    """A mirror that closes after each answer gets every copy all the same."""
    server, shadow = origin(), origin(lambda request, connection: connection.send(reply()) or connection.close())
    proxy = group(ladle, server, shadow)
    for number in range(5):
        ask(proxy, 1)
        waiting.until(lambda: metric(proxy, "mirror_answered") == number + 1, "the copy's answer")
    assert metric(proxy, "mirror_failed") == 0


def load(proxy, stop, answers):
    while not stop.is_set():
        response = proxy.get("/", "POST", body=b"y" * 5000)
        answers.append((response.status, response.body))


@pytest.mark.parametrize("workers", [1, 3])
def test_reloads_while_requests_are_mirrored(ladle, origin, hanging, workers):
    """Reloads that take the mirror away, bring another and lower its limits cost no client its answer and no worker its life."""
    server, good = origin(), origin()
    proxy = group(ladle, server, hanging, workers=workers, mirror={"timeout": "2s"})
    before = proxy.wait_workers(workers)
    stop, answers = threading.Event(), []
    clients = [threading.Thread(target=load, args=(proxy, stop, answers)) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for mirror, limits in [(None, {}), (good.url, {"requests": 2}), ("shadow", {"bodies": "0B"}), (good.url, {"requests": 200, "bodies": "1MiB"})]:
            done = len(answers)
            waiting.until(lambda: len(answers) > done + 10, "requests to go on")
            proxy.configure({"mirror": {"timeout": "2s", **limits}, "site": {"*": {"mirror": mirror}}})
            reloaded = proxy.reload()
            assert reloaded.returncode == 0, reloaded.stderr
        seen = len(good.requests)
        waiting.until(lambda: len(good.requests) > seen + 10, "copies at the last mirror")
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert set(answers) == {(200, b"ok")} and proxy.wait_workers(workers) == before
    waiting.until(lambda: metric(proxy, "mirror_in_work") == 0, "the copies to end")
    assert metric(proxy, "mirror_body_bytes") == 0


def test_a_stop_does_not_wait_for_copies(ladle, origin, hanging):
    """With copies that hang, SIGTERM ends the proxy as soon as its clients are served."""
    server = origin()
    proxy = group(ladle, server, hanging, mirror={"timeout": "1h"})
    ask(proxy, 5, b"body")
    hanging.wait_requests(5)
    proxy.configure({"server": {"drain_timeout": "30s"}})
    assert proxy.reload().returncode == 0
    proxy.stop()
