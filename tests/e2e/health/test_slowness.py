# SPDX-License-Identifier: Apache-2.0
"""Passive ejection of servers that are slow: beside the others, over a window, by what all workers have met."""

import os
import random
import signal
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.harness import waiting
from tests.harness.origin import reply

SLOW = {"slow": 5, "slow_requests": 10, "within": "2s", "for": "30s"}


class Pace:
    """An origin's answer that takes a time that the test sets."""

    def __init__(self, name, seconds=0.0):
        self.name, self.seconds = name, seconds

    def __call__(self, request):
        # Not always the same: clients that are answered at once go on together, and a burst of answers counts as one.
        time.sleep(1 if request.target == "/report" else self.seconds * random.uniform(0.5, 1.5))
        return reply(self.name.encode())


@pytest.fixture
def load(cleanup):
    """Clients that ask all the time, over connections of their own, so that every worker has some; answers are counted."""
    class Load:
        def __init__(self, proxy, target=lambda turn: "/", clients=8):
            self.proxy, self.target, self.answers, self.ends = proxy, target, Counter(), threading.Event()
            self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
            for thread in self.threads:
                thread.start()

        def _run(self):
            turn = 0
            while not self.ends.is_set():
                response = self.proxy.get(self.target(turn))
                self.answers[response.body.decode() if response.status == 200 else response.status] += 1
                turn += 1

        def stop(self):
            self.ends.set()
            for thread in self.threads:
                thread.join()

    def make(*args, **more):
        cleanup.append(Load(*args, **more))
        return cleanup[-1]
    return make


def group(ladle, origins, workers=2, eject=None, site=None, **more):
    """Without those settings of `eject` that are None."""
    rules = {name: value for name, value in (SLOW | (eject or {})).items() if value is not None}
    return ladle(settings={"server": {"workers": workers}, "site": {"*": {"upstream": "app", **(site or {})}},
                           "upstream": {"app": {"servers": [one.text for one in origins], "balance": "round_robin",
                                                "eject": rules, **more}}})


def server(proxy, number=0):
    return proxy.status()["servers"][number]


def until_ejected(proxy, number=0):
    waiting.until(lambda: server(proxy, number)["state"] == "ejected", "it to be ejected", every=0.1)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_slow_server_is_ejected_for_all_workers(ladle, origin, load, workers):
    """Of three servers one takes 400 ms: it is ejected, status and log say why, a metric counts it, and no worker asks it any more."""
    slow = origin(Pace("slow", 0.4))
    proxy = group(ladle, [slow, origin(Pace("a")), origin(Pace("b"))], workers)
    traffic = load(proxy)
    until_ejected(proxy)
    shown = server(proxy)
    assert shown["why"].startswith("slow: ") and " ms against " in shown["why"], shown["why"]
    assert 300 <= int(shown["why"].split()[1]) <= 2000 and 20_000 < shown["back_in_ms"] <= 30_000
    assert shown["failures"] == {} and shown["ejections"] == 1
    assert f"{shown['why']}, for" in proxy.command("status").stdout
    assert "a server is left alone for a while" in proxy.output() and "slow: " in proxy.output()
    metrics = proxy.status()["metrics"]
    assert metrics["server_ejections_slow"] == 1 and metrics["server_ejections"] == 1
    waiting.until(lambda: server(proxy)["in_flight"] == 0, "its last requests")
    count = len(slow.requests)
    asked = sum(traffic.answers.values())
    waiting.until(lambda: sum(traffic.answers.values()) > asked + 50, "more requests")
    assert len(slow.requests) == count and set(traffic.answers) == {"slow", "a", "b"}


def test_it_is_off_by_default(ladle, origin, load):
    """Without `slow` a slow server is asked on."""
    slow = origin(Pace("slow", 0.4))
    proxy = group(ladle, [slow, origin(Pace("a"))], eject={"slow": None})
    load(proxy)
    waiting.until(lambda: len(slow.requests) > 60, "requests")
    assert server(proxy)["state"] == "up" and proxy.status()["metrics"]["server_ejections"] == 0


def test_a_slow_kind_of_request_ejects_nobody(ladle, origin, load):
    """Half of the requests takes a second on every server, hundreds of times longer: nobody is slow beside the others."""
    origins = [origin(Pace("a")), origin(Pace("b"))]
    proxy = group(ladle, origins, eject={"slow": 2, "slow_least": "1ms"}, balance="random")
    draw = random.Random(3)
    load(proxy, lambda turn: "/report" if draw.random() < 0.5 else "/", clients=16)
    waiting.until(lambda: all(len([r for r in one.requests if r.target == "/report"]) > 60 for one in origins), "reports", every=0.1)
    assert [one["state"] for one in proxy.status()["servers"]] == ["up", "up"]
    assert proxy.status()["metrics"]["server_ejections"] == 0


def test_all_servers_becoming_slow_ejects_nobody(ladle, origin, load):
    """What stands behind all servers becomes slow: all are asked on."""
    paces = [Pace("a"), Pace("b"), Pace("c")]
    origins = [origin(pace) for pace in paces]
    proxy = group(ladle, origins)
    traffic = load(proxy)
    waiting.until(lambda: sum(traffic.answers.values()) > 100, "quick answers")
    for pace in paces:
        pace.seconds = 0.4
    before = [len(one.requests) for one in origins]
    waiting.until(lambda: all(len(one.requests) > count + 40 for one, count in zip(origins, before)), "slow answers", every=0.1)
    assert proxy.status()["metrics"]["server_ejections"] == 0


def test_a_server_that_is_quick_again_comes_back_after_a_trial(ladle, origin, load):
    """After its time it is asked one request at a time: while it is slow it goes out again, for longer; quick, it is used as before."""
    pace = Pace("slow", 0.4)
    proxy = group(ladle, [origin(pace), origin(Pace("good", 0.005))], eject={"for": "1s"})
    traffic = load(proxy)
    until_ejected(proxy)
    waiting.until(lambda: server(proxy)["state"] == "ejected" and sum(server(proxy).get(part, 0) for part in
                  ("out_for_ms", "back_in_ms")) > 1500, "it to go out for longer", every=0.05)
    pace.seconds = 0.005
    before = traffic.answers["slow"]
    waiting.until(lambda: traffic.answers["slow"] > before + 100, "it to be used")
    assert server(proxy)["state"] == "up"


def test_what_was_said_outlives_the_worker_that_said_it(ladle, origin, load):
    """The ejection is of all workers: it holds after one that was killed, and after a reload, too."""
    slow = origin(Pace("slow", 0.4))
    proxy = group(ladle, [slow, origin(Pace("a")), origin(Pace("b"))], workers=1)
    traffic = load(proxy)
    until_ejected(proxy)
    traffic.stop()
    killed = proxy.wait_workers(1)[0]
    os.kill(killed, signal.SIGKILL)
    proxy.wait_workers(1, without=killed)
    assert proxy.reload().returncode == 0
    shown = server(proxy)
    assert shown["state"] == "ejected" and shown["why"].startswith("slow: ")


ERRORS = {"429": (429, ()), "404": (404, ()), "gRPC": (200, [("grpc-status", "14")])}


@pytest.mark.parametrize("error", ERRORS)
def test_a_server_that_errs_at_once_makes_no_other_slow(ladle, origin, load, error):
    """One of two servers answers at once with an error: the other one, which works and takes its time, is not slow beside it."""
    status, headers = ERRORS[error]
    good = origin(Pace("good", 0.15))
    broken = origin(lambda request: reply(b"error", status=status, headers=headers))
    proxy = group(ladle, [good, broken])
    load(proxy)
    waiting.until(lambda: len(good.requests) > 150, "answers", every=0.1)
    assert [one["state"] for one in proxy.status()["servers"]] == ["up", "up"]
    assert proxy.status()["metrics"]["server_ejections"] == 0


class Uploader:
    """The proxy for a client that sends a body slowly, then asks for something, and so on."""

    def __init__(self, proxy):
        self.proxy = proxy

    def get(self, target):
        with self.proxy.client() as client:
            client.send("POST /upload HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
            client.trickle(b"12345", 0.01)
            assert client.response().status == 200
        return self.proxy.get(target)


def test_a_slow_upload_is_no_slow_server(ladle, origin, load):
    """One server gets all bodies, as slowly as they are sent, the other one all else: the time begins with the last byte."""
    origins = [origin(Pace("a")), origin(Pace("b"))]
    proxy = group(ladle, origins, eject={"slow_least": "20ms"}, site={"buffer": {"request": "stream"}})
    load(Uploader(proxy), clients=1)
    waiting.until(lambda: sum(len(one.requests) for one in origins) > 300, "uploads", every=0.1)
    assert 0 in [len([r for r in one.requests if r.target == "/upload"]) for one in origins]
    assert [one["state"] for one in proxy.status()["servers"]] == ["up", "up"]


class Impatient:
    """The proxy for clients that leave if there is no answer soon."""

    def __init__(self, proxy, seconds):
        self.proxy, self.seconds = proxy, seconds

    def get(self, target):
        # Not always the same, as above.
        with self.proxy.client(timeout=self.seconds * random.uniform(0.6, 1.4)) as client:
            try:
                return client.request("GET", target, [("Connection", "close")])
            except TimeoutError:
                client.reset()
                return SimpleNamespace(status="left")


def test_a_server_whose_clients_lose_patience_is_ejected(ladle, origin, load):
    """Each client of the slow server leaves before it is answered: that they waited is what is known of it."""
    slow = origin(Pace("slow", 2))
    proxy = group(ladle, [slow, origin(Pace("a")), origin(Pace("b"))])
    traffic = load(Impatient(proxy, 0.5), clients=16)
    until_ejected(proxy)
    assert server(proxy)["why"].startswith("slow: ") and traffic.answers["left"] >= 10
    assert 200 <= int(server(proxy)["why"].split()[1]) < 2000 and traffic.answers["slow"] == 0
