# SPDX-License-Identifier: Apache-2.0
"""Groups of servers that stall when they are told to, behind a proxy that hedges and knows what takes long."""

import threading
from collections import defaultdict

import pytest

from tests.harness.ladle import merge
from tests.harness.origin import Origin, reply


class Group:
    """Servers "a", "b", … by what they are asked for; `came` has the names of those that got a target, in order.

    /stall…: the first that gets it answers only after go(), the others at once. /hang…: nobody answers before that. /two-hang…: neither do the first two.
    /fail…: the first two answer 503, once both have it. /first-fails…: the first one does, once a second has it, which
    answers then. /second-fails…: the second one does, and the first answers after go(). Whatever else: at once. `body` is that of /stall…"""

    def __init__(self, count, body=None):
        self.lock = threading.Condition()
        self.came = defaultdict(list)
        self.gone = defaultdict(threading.Event)
        self.bodies = defaultdict(list)
        self.ids = defaultdict(list)
        self.connections = defaultdict(dict)
        self.body = body
        self.servers = [Origin(lambda request, connection, name=name: self.answer(name, request, connection)) for name in "abcd"[:count]]

    def stop(self):
        for event in list(self.gone.values()):
            event.set()
        for server in self.servers:
            server.stop()

    def go(self, target):
        self.gone[target].set()

    def wait(self, target, count):
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.came[target]) >= count, 60), f"{target} came to {self.came[target]} only"

    def answer(self, name, request, connection):
        target = request.target
        with self.lock:
            at = len(self.came[target])
            self.came[target].append(name)
            self.bodies[target].append(bytes(request.body))
            self.ids[target].append(request.headers.get("x-request-id"))
            self.connections[target][name] = connection
            self.lock.notify_all()
        kind = target.split("/")[1]
        good = reply(self.body if self.body and kind == "stall" else name.encode(),
                     headers=[("Cache-Control", "max-age=60")] if "cached" in target else [])
        if (kind == "stall" and at == 0) or kind == "hang" or (kind == "two-hang" and at < 2):
            self.gone[target].wait(60)
        elif kind in ("fail", "first-fails", "second-fails"):
            self.wait(target, 2)
            if kind == "fail" and at < 2 or kind == "first-fails" and at == 0 or kind == "second-fails" and at == 1:
                connection.send(reply(b"no", 503))
                if kind != "second-fails":
                    self.go(target)
                return None
            if at < 2:
                self.gone[target].wait(60)
        return good

    @property
    def total(self):
        """Requests that all of them got."""
        with self.lock:
            return sum(map(len, self.came.values()))


@pytest.fixture
def group(cleanup):
    """make(count) → Group"""
    def make(count=2, **more):
        cleanup.append(Group(count, **more))
        return cleanup[-1]
    return make


def warm_up(proxy, count=150):
    """So many quick requests; then every worker knows, from a reload on, what takes long."""
    with proxy.client() as client:
        for number in range(count):
            assert client.request("GET", f"/quick/{number}").status == 200
    assert proxy.reload().returncode == 0
    assert proxy.status()["servers"][0]["hedge"]["after_ms"] > 0


@pytest.fixture
def hedging(ladle):
    """make(servers, settings, **upstream) → a Ladle of two workers whose upstream hedges after 100 ms or so, warmed up"""
    def make(servers, settings=None, warm=True, **upstream):
        app = merge({"servers": [server.text for server in servers], "balance": "round_robin",
                     "hedge": {"at": "p95", "budget": "100%", "soonest": "100ms"}}, upstream)
        proxy = ladle(settings=merge({"server": {"workers": 2}, "upstream": {"app": app}, "site": {"*": {"upstream": "app"}}}, settings or {}))
        if warm:
            warm_up(proxy)
        proxy.hedges_before = all_hedges(proxy)
        return proxy
    return make


def all_hedges(proxy):
    metrics = proxy.status()["metrics"]
    return [metrics[name] for name in ("server_hedges", "server_hedges_won", "server_hedges_refused")]


def hedges(proxy):
    """(sent, won, refused) since the proxy is warm; a busy machine may have made some of the quick requests slow."""
    return tuple(now - before for now, before in zip(all_hedges(proxy), proxy.hedges_before))


def in_flight(proxy):
    return sum(server["in_flight"] for server in proxy.status()["servers"])
