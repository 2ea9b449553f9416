# SPDX-License-Identifier: Apache-2.0
"""The balancing methods hash, random, latency and first, and least_busy with a slow server."""

import json
import threading
import time
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def named(name):
    return lambda request: reply(name.encode())


def group(ladle, servers, workers=1, **more):
    return ladle(settings={"server": {"workers": workers}, "upstream": {"app": {"servers": servers, **more}}, "site": {"*": {"upstream": "app"}}})


def spread(client, requests):
    """The answer to each request, in order."""
    return [client.request("GET", target, headers).body.decode() for target, headers in requests]


KEYS = {
    "header:X-User": lambda n: ("/", [("X-User", f"user-{n}")]),
    "cookie:sid": lambda n: ("/", [("Cookie", f"a=b; sid=s{n}")]),
    "query:id": lambda n: (f"/?x=1&id={n}&y={n * 7}", []),
    "path": lambda n: (f"/item/{n}?a={n}", []),
    "url": lambda n: (f"/?page={n}", []),
}


@pytest.mark.parametrize("key", KEYS)
def test_hash_sends_the_same_key_to_the_same_server(ladle, origin, key):
    """With hash each key has its server, whichever worker and connection it comes over, and the keys are spread over all servers."""
    proxy = group(ladle, [origin(named(name)).text for name in "abc"], workers=3, balance={"method": "hash", "key": key})
    requests = [KEYS[key](number) for number in range(60)]
    with proxy.client() as client:
        first = spread(client, requests)
    for _ in range(3):
        with proxy.client() as client:
            assert spread(client, requests) == first
    assert set(first) == {"a", "b", "c"}


def test_hash_by_client_is_the_default_and_other_parts_do_not_count(ladle, origin):
    """balance = "hash" goes by the client's address alone, as a trusted proxy tells it."""
    proxy = ladle(settings={"trust": {"forwarded_from": ["127.0.0.1"]},
                            "upstream": {"app": {"servers": [origin(named(name)).text for name in "abc"], "balance": "hash"}},
                            "site": {"*": {"upstream": "app"}}})
    with proxy.client() as client:
        def of(address):
            return spread(client, [(f"/{turn}", [("X-Forwarded-For", address)]) for turn in range(4)])
        homes = {address: of(address) for address in (f"192.0.2.{number}" for number in range(40))}
    assert all(len(set(answers)) == 1 for answers in homes.values())
    assert {answers[0] for answers in homes.values()} == {"a", "b", "c"}


def test_hash_moves_only_the_keys_of_a_dead_server_and_they_come_back(ladle, origin):
    """When a server dies its keys go to others, the rest stay; when it is back they return."""
    servers = {name: origin(named(name)) for name in "abc"}
    proxy = group(ladle, [server.text for server in servers.values()], balance={"method": "hash", "key": "path"})
    requests = [(f"/{number}", []) for number in range(60)]
    with proxy.client() as client:
        before = spread(client, requests)
        order = proxy.command("upstream", "app", "server", servers["b"].text, "down")
        assert order.returncode == 0, order.stderr
        during = spread(client, requests)
        assert proxy.command("upstream", "app", "server", servers["b"].text, "up").returncode == 0
        after = spread(client, requests)
    assert "b" in before and "b" not in during
    assert all(was == now for was, now in zip(before, during) if was != "b")
    assert after == before


def test_hash_without_the_key_goes_to_the_least_busy(ladle, origin):
    """Requests that have no such header are spread like those of least_busy."""
    proxy = group(ladle, [origin(named(name)).text for name in "ab"], balance={"method": "hash", "key": "header:X-User"})
    with proxy.client() as client:
        answers = Counter(spread(client, [("/", [])] * 10))
        assert Counter(spread(client, [("/", [("X-User", "")])] * 4)) == {"a": 2, "b": 2}  # an empty one is none
    assert answers == {"a": 5, "b": 5}


def test_hash_is_the_same_after_a_restart_and_explain_shows_it(ladle, origin):
    """The servers of keys depend on nothing but the configuration, and `explain` tells which one it is."""
    servers = {origin(named(name)).text: name for name in "abc"}
    proxy = group(ladle, list(servers), balance={"method": "hash", "key": "path"})
    requests = [(f"/{number}", []) for number in range(20)]
    with proxy.client() as client:
        before = spread(client, requests)
    proxy.process.terminate()
    proxy.process.wait(20)
    proxy.start()
    with proxy.client() as client:
        assert spread(client, requests) == before
    told = proxy.command("explain", "GET", f"http://127.0.0.1:{proxy.port}/7", "--json")
    assert told.returncode == 0, told.stderr
    chosen = [server["address"] for server in json.loads(told.stdout)["upstream"]["servers"] if server["chosen"]]
    assert [servers[text] for text in chosen] == [before[7]]


def test_first_fills_servers_in_order(ladle, origin):
    """first uses the next server only when those before it have max_conn requests in flight."""
    go = threading.Event()

    def hold(request):
        go.wait(60)
        return reply()
    servers = [origin(hold) for _ in range(3)]
    proxy = group(ladle, [server.text for server in servers], workers=2, max_conn=2, balance="first")
    threads = [threading.Thread(target=proxy.get) for _ in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        waiting.until(lambda: sum(len(server.requests) for server in servers) > number, "the request to arrive")
    counts = [len(server.requests) for server in servers]
    go.set()
    for thread in threads:
        thread.join()
    assert counts == [2, 2, 1]


def test_random_spreads_and_passes_over_a_busy_server(ladle, origin):
    """random gives to all servers, and not to the one that has more in flight than any other."""
    go = threading.Event()

    def slow(request):
        if request.target == "/hold":
            go.wait(60)
        return reply(b"held")
    busy = origin(slow)
    proxy = group(ladle, [busy.text, *(origin(named(name)).text for name in "bc")], balance="random")
    holders = []
    while not busy.requests:
        holders.append(threading.Thread(target=proxy.get, args=("/hold",)))
        total = len(holders)
        holders[-1].start()
        waiting.until(lambda: len(busy.requests) > 0 or not holders[-1].is_alive(), f"holder {total}")
    with proxy.client() as client:
        answers = Counter(spread(client, [("/", [])] * 60))
    go.set()
    for thread in holders:
        thread.join()
    assert answers["held"] == 0
    assert answers["b"] >= 10 and answers["c"] >= 10


def late(name, seconds):
    def answer(request):
        time.sleep(seconds)
        return reply(name.encode())
    return answer


@pytest.mark.parametrize("balance", ["latency", "least_busy"])
def test_a_server_that_is_much_slower_gets_few_requests(ladle, origin, balance):
    """One of three servers takes fifty times as long: once that is known, all workers leave it alone although it is idle."""
    servers = [origin(late("slow", 1.5)), *(origin(late("quick", 0.03)) for _ in range(2))]
    proxy = group(ladle, [server.text for server in servers], workers=2, balance=balance)
    with proxy.client() as client:
        spread(client, [("/", [])] * 50)
    slow = 0
    for _ in range(8):
        with proxy.client() as client:
            slow += spread(client, [("/", [])] * 10).count("slow")
    assert slow < 8
