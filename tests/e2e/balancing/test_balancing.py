# SPDX-License-Identifier: Apache-2.0
"""Which server gets a request: round_robin, least_busy, weights, max_conn, and servers that are passed over."""

import os
import signal
import threading
import time
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import reply
from tests.harness.wire import Closed


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


def test_round_robin_passes_over_a_server_that_is_out(ladle, origin):
    """What would have gone to a server that is out goes to all others alike, not to the next one."""
    servers = [origin(named(name)).text for name in "abcd"]
    proxy = group(ladle, servers, workers=2, balance="round_robin")
    assert proxy.command("upstream", "app", "server", servers[0], "down").returncode == 0
    assert ask(proxy, 60) == {"b": 20, "c": 20, "d": 20}


def test_round_robin_honours_weights(ladle, origin):
    """A server of weight 3 gets three times as many, spread out."""
    servers = [{"address": origin(named("a")).text, "weight": 3}, {"address": origin(named("b")).text, "weight": 1}]
    assert ask(group(ladle, servers, balance="round_robin"), 40) == {"a": 30, "b": 10}


def test_least_busy_is_the_default_and_spreads_when_idle(ladle, origin):
    """With nothing in flight least_busy takes turns, by weight, before it knows that one of the servers is slower."""
    assert ask(group(ladle, [origin(named(name)).text for name in "ab"]), 14) == {"a": 7, "b": 7}
    servers = [{"address": origin(named(name)).text, "weight": weight} for name, weight in (("a", 1), ("b", 1), ("c", 2))]
    assert ask(group(ladle, servers), 12) == {"a": 3, "b": 3, "c": 6}


@pytest.mark.parametrize("workers", [1, 3])
def test_least_busy_counts_requests_in_flight(ladle, origin, workers):
    """A server with requests under way gets no more while another is idle, also across workers."""
    go = threading.Event()

    def slow(request):
        if request.target == "/slow":
            go.wait(60)
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
        go.wait(60)
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


class Counting:
    """A server's answers, and how many of them it had under way at once at most."""

    def __init__(self, seconds):
        self.seconds, self.running, self.most, self.lock = seconds, 0, 0, threading.Lock()

    def __call__(self, request):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        with self.lock:
            self.running -= 1
        return reply()


def ask_at_once(proxy, clients, count):
    """The statuses of so many requests of each client, over connections of their own."""
    statuses = []

    def run():
        for _ in range(count):
            statuses.append(proxy.get().status)
    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


@pytest.mark.parametrize("workers,max_conn", [(1, 2), (4, 2), (4, 1)])
def test_max_conn_is_kept_and_the_rest_waits(ladle, origin, workers, max_conn):
    """Never more than max_conn requests at a server, of all workers together; the others wait their turn, and all are answered."""
    server = Counting(0.005)
    proxy = group(ladle, [origin(server).text], workers=workers, max_conn=max_conn, queue={"size": 100, "timeout": "20s"})
    assert ask_at_once(proxy, 24, 10) == [200] * 240
    assert server.most == max_conn


def test_a_wide_server_is_not_left_idle_while_many_wait(ladle, origin):
    """300 requests at a server that takes 50 at once, four workers: when it goes on all are answered, up to 50 at a time."""
    go = threading.Event()
    server = Counting(0.02)

    def hold(request):
        go.wait(60)
        return server(request)
    proxy = group(ladle, [origin(hold).text], workers=4, max_conn=50, queue={"size": 300, "timeout": "30s"})
    threads = [threading.Thread(target=proxy.get) for _ in range(300)]
    for thread in threads:
        thread.start()
    waiting.until(lambda: proxy.status()["metrics"]["server_queue"] == 250, "them to wait")
    go.set()
    for thread in threads:
        thread.join()
    statuses = [line["status"] for line in proxy.access_log(300)]
    assert statuses == [200] * 300 and server.most <= 50


def test_killed_workers_leave_no_request_and_no_place_in_the_queue_behind(ladle, origin):
    """Workers are killed again and again under load at a server with max_conn: what they had in flight, their places and the gate are free again."""
    server = Counting(0.003)
    proxy = group(ladle, [origin(server).text], workers=4, max_conn=2, queue={"size": 100, "timeout": "20s"})
    stop, good = threading.Event(), []

    def hammer():
        while not stop.is_set():
            try:
                good.append(proxy.get().status)
            except (OSError, Closed):
                pass  # the worker that had it was killed
    threads = [threading.Thread(target=hammer) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            seen = len(good)
            waiting.until(lambda: len(good) > seen + 50, "load")
            victim = next(iter(proxy.wait_workers(4).values()))
            os.kill(victim, signal.SIGKILL)
            waiting.until(lambda: victim not in proxy.workers().values(), "it to be replaced")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    waiting.until(lambda: proxy.status()["servers"][0]["in_flight"] == 0 and proxy.status()["metrics"]["server_queue"] == 0, "nothing to be left")
    assert set(good) == {200}
    assert ask_at_once(proxy, 8, 5) == [200] * 40


def test_a_full_queue_is_503(ladle, origin):
    """Past queue.size the answer is 503 at once, past queue.timeout 503 then."""
    go = threading.Event()

    def hold(request):
        go.wait(60)
        return reply()
    server = origin(hold)
    proxy = group(ladle, [server.text], max_conn=1, queue={"size": 1, "timeout": "8s"})
    first = threading.Thread(target=proxy.get)
    first.start()
    server.wait_requests(1)
    statuses = []
    waiter = threading.Thread(target=lambda: statuses.append(proxy.get().status))
    started = time.monotonic()
    waiter.start()
    waiting.until(lambda: proxy.status()["metrics"]["server_queue"] == 1, "it to wait", 6, every=0.01)
    assert proxy.get().status == 503
    assert not statuses
    waiter.join()
    assert statuses == [503] and time.monotonic() - started >= 7.8
    go.set()
    first.join()
    assert {line["reason"] for line in proxy.access_log(3)} == {"queue_full", "queue_timeout", "ok"}


def test_a_client_of_a_draining_server_does_not_wait_for_another(ladle, origin):
    """With one server drained and idle and the other one full, who has the cookie of the first is answered while others wait."""
    go = threading.Event()

    def hold(request):
        if request.target == "/hold":
            go.wait(60)
        return reply(request.target.encode())
    servers = [origin(hold), origin(hold)]
    proxy = group(ladle, [server.text for server in servers], max_conn=1, sticky="srv", queue={"size": 10, "timeout": "20s"})
    first = proxy.get()
    home = 0 if servers[0].requests else 1
    cookie = next(value for name, value in first.headers if name.lower() == "set-cookie").split(";")[0]
    assert proxy.command("upstream", "app", "server", servers[home].text, "drain").returncode == 0
    others = [threading.Thread(target=proxy.get, args=("/hold",)) for _ in range(2)]
    for thread in others:
        thread.start()
    waiting.until(lambda: proxy.status()["metrics"]["server_queue"] == 1, "one of them to wait")
    with proxy.client() as client:
        assert client.request("GET", "/mine", [("Cookie", cookie)]).body == b"/mine"
    assert proxy.status()["metrics"]["server_queue"] == 1
    go.set()
    for thread in others:
        thread.join()


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
            go.wait(60)
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
