# SPDX-License-Identifier: Apache-2.0
"""Which server gets a request: round_robin, least_busy, weights, max_conn, and servers that are passed over."""

import threading
import time
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def named(name):
    return lambda request: reply(name.encode())


def ask(proxy, count):
    answers = Counter()
    with proxy.client() as client:
        for _ in range(count):
            response = client.request()
            answers[response.body.decode() if response.status == 200 else response.status] += 1
    return answers


def group(ladle, servers, workers=1, **more):
    return ladle(settings={"server": {"workers": workers}, "upstream": {"app": {"servers": servers, **more}}, "site": {"*": {"upstream": "app"}}})


def test_round_robin_takes_turns(ladle, origin):
    """round_robin gives every server the same number."""
    proxy = group(ladle, [origin(named(name)).text for name in "abc"], balance="round_robin")
    assert ask(proxy, 30) == {"a": 10, "b": 10, "c": 10}


def test_round_robin_honours_weights(ladle, origin):
    """A server of weight 3 gets three times as many, spread out."""
    servers = [{"address": origin(named("a")).text, "weight": 3}, {"address": origin(named("b")).text, "weight": 1}]
    assert ask(group(ladle, servers, balance="round_robin"), 40) == {"a": 30, "b": 10}


def test_least_busy_is_the_default_and_spreads_when_idle(ladle, origin):
    """With nothing in flight, least_busy does not send everything to one server."""
    answers = ask(group(ladle, [origin(named(name)).text for name in "ab"]), 40)
    assert answers["a"] >= 10 and answers["b"] >= 10


@pytest.mark.parametrize("workers", [1, 3])
def test_least_busy_counts_requests_in_flight(ladle, origin, workers):
    """A server with requests under way gets no more while another is idle, also across workers."""
    go = threading.Event()

    def slow(request):
        if request.target == "/slow":
            go.wait(10)
        return reply(b"slow")
    servers = [origin(slow), origin(slow)]
    proxy = group(ladle, [server.text for server in servers], workers=workers)
    threads = [threading.Thread(target=proxy.get, args=("/slow",)) for _ in range(12)]
    for number, thread in enumerate(threads):
        thread.start()
        waiting.until(lambda: sum(len(server.requests) for server in servers) > number, "the request to arrive")
    counts = [len(server.requests) for server in servers]
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [6, 6]


def test_least_busy_honours_weights(ladle, origin):
    """Requests in flight settle in proportion to the weights."""
    go = threading.Event()

    def hold(request):
        go.wait(10)
        return reply()
    servers = [origin(hold), origin(hold)]
    proxy = group(ladle, [{"address": servers[0].text, "weight": 3}, {"address": servers[1].text, "weight": 1}])
    threads = [threading.Thread(target=proxy.get) for _ in range(16)]
    for number, thread in enumerate(threads):
        thread.start()
        waiting.until(lambda: sum(len(server.requests) for server in servers) > number, "the request to arrive")
    counts = [len(server.requests) for server in servers]
    go.set()
    for thread in threads:
        thread.join()
    assert abs(counts[0] - 12) <= 1


@pytest.mark.parametrize("workers", [1, 2])
def test_max_conn_is_kept_and_the_rest_waits(ladle, origin, workers):
    """Never more than max_conn requests at a server (all workers together, give or take a race); the others wait their turn."""
    running, most, lock = [0], [0], threading.Lock()

    def count(request):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return reply()
    proxy = group(ladle, [origin(count).text], workers=workers, max_conn=2, queue={"size": 100, "timeout": "10s"})
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(proxy.get().status)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 16
    assert most[0] <= 2 + (workers - 1)


def test_a_full_queue_is_503(ladle, origin):
    """Past queue.size the answer is 503 at once, past queue.timeout 503 then."""
    go = threading.Event()

    def hold(request):
        go.wait(10)
        return reply()
    server = origin(hold)
    proxy = group(ladle, [server.text], max_conn=1, queue={"size": 1, "timeout": "400ms"})
    first = threading.Thread(target=proxy.get)
    first.start()
    server.wait_requests(1)
    statuses = []
    waiter = threading.Thread(target=lambda: statuses.append(proxy.get().status))
    started = time.monotonic()
    waiter.start()
    time.sleep(0.1)
    assert proxy.get().status == 503
    assert time.monotonic() - started < 0.35
    waiter.join()
    assert statuses == [503] and time.monotonic() - started >= 0.35
    go.set()
    first.join()
    assert {line["reason"] for line in proxy.access_log(3)} == {"queue_full", "queue_timeout", "ok"}


def test_a_server_that_refuses_is_passed_over(ladle, origin):
    """A refused connection is no failed request while another server is there."""
    dead = f"127.0.0.1:{waiting.free_port()}"
    proxy = group(ladle, [dead, origin(named("alive")).text], balance="round_robin")
    assert ask(proxy, 40) == {"alive": 40}
    assert proxy.get("/", "POST", body=b"x").status == 200


def test_a_server_that_comes_back_is_used_again(ladle, origin):
    """A server is passed over for a short time only."""
    from tests.harness.origin import Origin
    port = waiting.free_port()
    proxy = group(ladle, [f"127.0.0.1:{port}", origin(named("a")).text], balance="round_robin")
    assert ask(proxy, 10) == {"a": 10}
    with Origin(named("b"), port=port):
        waiting.until(lambda: ask(proxy, 4)["b"] > 0, "the server to be used again", 15, every=0.2)


def test_when_all_are_passed_over_they_are_tried(ladle, origin):
    """With every server passed over, the request is not refused untried once one is back."""
    from tests.harness.origin import Origin
    port = waiting.free_port()
    proxy = group(ladle, [f"127.0.0.1:{port}"])
    assert proxy.get().status in (502, 503)
    with Origin(named("back"), port=port):
        assert proxy.get().body == b"back"


def test_names_are_resolved_by_the_caretaker(ladle, origin):
    """A server may be named; localhost is resolved, by IPv4 or IPv6."""
    server = origin(named("local"))
    proxy = ladle(f"http://localhost:{server.port}")
    waiting.until(lambda: proxy.get().body == b"local", "localhost to be resolved")


def test_a_name_that_does_not_resolve_is_a_server_that_is_down(ladle, origin):
    """An unresolvable name is no refusal to start; the other servers serve."""
    proxy = group(ladle, ["no-such-name.invalid:80", origin(named("a")).text])
    assert ask(proxy, 10) == {"a": 10}
    assert ladle("http://no-such-name.invalid:80").get().status in (502, 503)


def test_a_reload_keeps_what_is_in_flight(ladle, origin):
    """In-flight counts survive a reload: names are identity."""
    go = threading.Event()

    def hold(request):
        if request.target == "/hold":
            go.wait(15)
        return reply(b"busy")
    busy = origin(hold)
    proxy = group(ladle, [busy.text])
    threads = [threading.Thread(target=proxy.get, args=("/hold",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    busy.wait_requests(4)
    proxy.configure({"upstream": {"app": {"servers": [busy.text, origin(named("idle")).text]}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 4) == {"idle": 4}
    go.set()
    for thread in threads:
        thread.join()
