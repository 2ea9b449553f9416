# SPDX-License-Identifier: Apache-2.0
"""Hedging beside what else decides where requests go: `retry.per_try`, orders, and servers that are real ones."""

import os
import signal

import pytest

from tests.e2e.hedging.conftest import all_hedges, hedges, in_flight
from tests.harness import waiting
from tests.harness.ladle import children_of
from tests.harness.nginx_origin import NginxOrigin


def test_per_try_ends_both_attempts_and_a_third_server_answers(group, hedging):
    """Neither of the first two answers: each has its `per_try`, then the request is sent to the third server, which does."""
    servers = group(3)
    proxy = hedging(servers.servers, retry={"attempts": 3, "per_try": "1s", "budget": "100%"})
    with proxy.client(timeout=20) as client:
        answer = client.request("GET", "/two-hang/1")
    came = servers.came["/two-hang/1"]
    assert answer.status == 200 and answer.body.decode() == came[2] and sorted(came) == ["a", "b", "c"]
    assert hedges(proxy)[0] == 1
    line = [line for line in proxy.access_log(151) if line["target"] == "/two-hang/1"][0]
    assert line["attempts"] == 3
    waiting.until(lambda: in_flight(proxy) == 0, "nothing to be in flight")


def test_per_try_of_the_first_attempt_leaves_the_second_its_time(group, hedging):
    """The first attempt's `per_try` is over while the hedge, which was sent later, still has time: its answer counts, and nothing is sent again."""
    servers = group(3)
    proxy = hedging(servers.servers, retry={"attempts": 3, "per_try": "1500ms", "budget": "100%"},
                    hedge={"at": "p95", "budget": "100%", "soonest": "1s"})
    target = "/two-hang/1"
    with proxy.client(timeout=20) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
        servers.wait(target, 2)
        first, second = servers.came[target]
        assert servers.connections[target][first].is_ended_by_peer()
        servers.go(target)
        answer = client.response()
    assert answer.status == 200 and answer.body.decode() == second
    assert len(servers.came[target]) == 2 and hedges(proxy)[:2] == (1, 1)


def test_a_draining_server_is_sent_no_hedge(group, hedging):
    """Of three servers one drains: whatever stalls, it is never the one that the request is sent to as well."""
    servers = group(3)
    proxy = hedging(servers.servers)
    assert proxy.command("upstream", "app", "server", servers.servers[2].text, "drain").returncode == 0
    for number in range(6):
        target = f"/stall/{number}"
        with proxy.client(timeout=20) as client:
            answer = client.request("GET", target)
            assert answer.status == 200
        servers.go(target)
        assert sorted(servers.came[target]) == ["a", "b"]
    assert hedges(proxy)[:2] == (6, 6)


def test_a_request_at_a_server_that_begins_to_drain_is_hedged_all_the_same(group, hedging):
    """Its server is ordered to drain while it stalls: the request is sent to the other one, and answered there."""
    servers = group(2)
    proxy = hedging(servers.servers, hedge={"at": "p95", "budget": "100%", "soonest": "2s"})
    target = "/stall/1"
    with proxy.client(timeout=20) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
        servers.wait(target, 1)
        drained = servers.servers["ab".index(servers.came[target][0])].text
        assert proxy.command("upstream", "app", "server", drained, "drain").returncode == 0
        answer = client.response()
    servers.go(target)
    assert answer.status == 200 and answer.body.decode() == servers.came[target][1]


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
def test_requests_to_a_real_server_that_hangs_are_answered_whole_by_the_other(ladle, http2):
    """Of two nginx the workers of one are stopped: all of forty megabytes come, byte for byte, from the other; when it goes on nothing is left of them."""
    with NginxOrigin(http2=http2) as first, NginxOrigin(http2=http2) as second:
        app = {"servers": [first.text, second.text], "balance": "round_robin", "protocol": "h2" if http2 else "h1",
               "hedge": {"at": "p95", "budget": "100%", "soonest": "200ms"}}
        proxy = ladle(settings={"server": {"workers": 1}, "upstream": {"app": app}, "site": {"*": {"upstream": "app"}}})
        with proxy.client(timeout=30) as client:
            for _ in range(150):
                assert client.request("GET", "/1k").status == 200
        assert proxy.reload().returncode == 0
        proxy.hedges_before = all_hedges(proxy)
        body = first.body("1m")
        stopped = children_of(first.process.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            with proxy.client(timeout=30) as client:
                for _ in range(40):
                    answer = client.request("GET", "/1m")
                    assert answer.status == 200 and answer.body == body
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        # In HTTP/2 a new connection waits for the server's first words: those that fail are no hedge's matter, but the next server's.
        assert hedges(proxy)[1] >= (1 if http2 else 10)
        waiting.until(lambda: in_flight(proxy) == 0, "nothing to be in flight")
        with proxy.client(timeout=30) as client:
            assert all(client.request("GET", "/1k").status == 200 for _ in range(10))
