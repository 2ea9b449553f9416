# SPDX-License-Identifier: Apache-2.0
"""Passive ejection of servers that are slow: beside the others, over a window, by what all workers have met."""

import threading
import time
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import reply

SLOW = {"slow": 5, "slow_requests": 10, "within": "2s", "for": "30s"}


class Pace:
    """An origin's answer that takes a time that the test sets."""

    def __init__(self, name, seconds=0.0):
        self.name, self.seconds = name, seconds

    def __call__(self, request):
        time.sleep(1 if request.target == "/report" else self.seconds)
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


def group(ladle, origins, workers=2, eject=None, **more):
    return ladle(settings={"server": {"workers": workers}, "site": {"*": {"upstream": "app"}},
                           "upstream": {"app": {"servers": [one.text for one in origins], "balance": "round_robin",
                                                "eject": SLOW | (eject or {}), **more}}})


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
    proxy = group(ladle, [slow, origin(Pace("a"))], eject={"slow": 0})
    load(proxy)
    waiting.until(lambda: len(slow.requests) > 60, "requests")
    assert server(proxy)["state"] == "up" and proxy.status()["metrics"]["server_ejections"] == 0


def test_a_slow_kind_of_request_ejects_nobody(ladle, origin, load):
    """A third of the requests takes a second on every server: nobody is slow beside the others."""
    origins = [origin(Pace("a", 0.01)), origin(Pace("b", 0.01))]
    proxy = group(ladle, origins)
    load(proxy, lambda turn: "/report" if turn % 3 == 0 else "/")
    waiting.until(lambda: all(len([r for r in one.requests if r.target == "/report"]) > 20 for one in origins), "reports", every=0.1)
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
    again = waiting.until(lambda: (now := server(proxy))["ejections"] >= 2 and now["state"] == "ejected" and now, "it to go out again", every=0.05)
    assert again["out_for_ms"] + again["back_in_ms"] > 1500
    pace.seconds = 0.005
    before = traffic.answers["slow"]
    waiting.until(lambda: traffic.answers["slow"] > before + 100, "it to be used")
    assert server(proxy)["state"] == "up"


def test_the_last_server_in_order_stays_however_slow(ladle, origin, load):
    """One of two servers is down by order: the other is slow, and is asked on."""
    slow, fine = origin(Pace("slow", 0.3)), origin(Pace("fine"))
    proxy = group(ladle, [slow, fine], eject={"max": "100%"})
    assert proxy.command("upstream", "app", "server", fine.text, "down").returncode == 0
    traffic = load(proxy)
    waiting.until(lambda: traffic.answers["slow"] > 60, "slow answers")
    assert server(proxy)["state"] == "up" and set(traffic.answers) == {"slow"}


def test_what_was_said_outlives_the_worker_that_said_it(ladle, origin, load):
    """The ejection is of all workers: it holds after a reload, too."""
    slow = origin(Pace("slow", 0.4))
    proxy = group(ladle, [slow, origin(Pace("a")), origin(Pace("b"))])
    load(proxy)
    until_ejected(proxy)
    assert proxy.reload().returncode == 0
    shown = server(proxy)
    assert shown["state"] == "ejected" and shown["why"].startswith("slow: ")
