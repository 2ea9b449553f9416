# SPDX-License-Identifier: Apache-2.0
"""Servers that are named: what DNS says is followed while running, by TTL, with all addresses, and is never a reason to refuse."""

import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness import waiting
from tests.harness.dns import Dns
from tests.harness.origin import reply

NAME = "app.ladle.test"


@pytest.fixture
def dns(cleanup):
    def make(records=None):
        cleanup.append(Dns(records))
        return cleanup[-1]
    return make


def at_each(origin, hosts, headers=()):
    """Origins that tell their address, on one port of several addresses."""
    port = waiting.free_port()
    return [origin(reply(host.encode(), headers=headers), host=host, port=port) for host in hosts]


def before(ladle, server, port, workers=1, more=(), **settings):
    return ladle(settings={"server": {"workers": workers, "resolvers": [server.text]}, "site": {"*": {"upstream": "app"}},
                           "upstream": {"app": {"servers": [f"{NAME}:{port}", *more], **settings}}})


def ask(proxy, count):
    return Counter(response.body.decode() if response.status == 200 else response.status for response in (proxy.get() for _ in range(count)))


def test_all_addresses_of_a_name_are_used(ladle, origin, dns):
    """The addresses of A and AAAA records take turns."""
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"]
    servers = at_each(origin, hosts, [("Connection", "close")])
    proxy = before(ladle, dns({NAME: (60, hosts)}), servers[0].port)
    assert ask(proxy, 40) == dict.fromkeys(hosts, 10)


def test_an_address_that_refuses_costs_no_request(ladle, origin, dns):
    """Where one address of a name does not take the connection, the next one does, also for a POST."""
    server, = at_each(origin, ["127.0.0.2"], [("Connection", "close")])
    proxy = before(ladle, dns({NAME: (60, ["127.0.0.1", "127.0.0.2", "::1"])}), server.port)
    assert ask(proxy, 12) == {"127.0.0.2": 12}
    assert proxy.get("/", "POST", body=b"x").status == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_changed_answer_takes_effect_without_a_reload(ladle, origin, dns, workers):
    """A server that moved is followed within its TTL: not a request fails, kept connections to the old address end, no reload is needed."""
    old, new = at_each(origin, ["127.0.0.1", "127.0.0.2"])
    names = dns({NAME: (1, ["127.0.0.1"])})
    proxy = before(ladle, names, old.port, workers)
    assert ask(proxy, 5) == {"127.0.0.1": 5}
    names.records[NAME] = (1, ["127.0.0.2"])
    seen = set()
    waiting.until(lambda: seen.update(answers := ask(proxy, 5)) or answers == {"127.0.0.2": 5}, "the new address to be used", every=0.02)
    assert seen <= {"127.0.0.1", "127.0.0.2"}
    count = len(old.requests)
    assert ask(proxy, 20) == {"127.0.0.2": 20} and len(old.requests) == count


def test_the_ttl_says_when_a_name_is_asked_for_again(ladle, origin, dns):
    """A TTL of 1 s is asked for each second, one of 3 s after three; never more often."""
    server, = at_each(origin, ["127.0.0.1"])
    names = dns({NAME: (1, ["127.0.0.1"]), "slow.ladle.test": (3, ["127.0.0.1"])})
    before(ladle, names, server.port, more=[f"slow.ladle.test:{server.port}"])
    waiting.until(lambda: len(names.times(NAME)) >= 4 and len(names.times("slow.ladle.test")) >= 2, "the names to be asked for again", 20)
    often, seldom = len(names.times(NAME)), len(names.times("slow.ladle.test"))
    assert often >= 2 * (seldom - 1), (often, seldom)
    for name, ttl in ((NAME, 1), ("slow.ladle.test", 3)):
        times = names.times(name)
        for first, second in zip(times, times[1:]):
            assert ttl - 0.1 <= second - first, name


def test_a_name_that_does_not_exist_is_a_server_that_is_down(ladle, origin, dns):
    """NXDOMAIN refuses neither start nor reload: one warning, 503, other servers serve; once the name is there, so is the server."""
    server, other = at_each(origin, ["127.0.0.1", "127.0.0.2"], [("Connection", "close")])
    names = dns()
    proxy = before(ladle, names, server.port)
    assert ask(proxy, 3) == {503: 3}
    assert proxy.access_log(3)[0]["reason"] == "name_unresolved"
    warnings = [line for line in proxy.output().splitlines() if "does not resolve" in line]
    assert len(warnings) == 1 and NAME in warnings[0]
    proxy.configure({"upstream": {"app": {"servers": [f"{NAME}:{server.port}", f"127.0.0.2:{server.port}"]}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 10) == {"127.0.0.2": 10}
    names.records[NAME] = (60, ["127.0.0.1"])
    waiting.until(lambda: ask(proxy, 6)["127.0.0.1"] > 0, "the server to be used", every=0.1)


def test_a_name_that_ceases_to_exist_keeps_its_addresses(ladle, origin, dns):
    """A DNS server that forgets a name, or falls silent, takes no running server away; the log says so."""
    server, = at_each(origin, ["127.0.0.1"], [("Connection", "close")])
    names = dns({NAME: (1, ["127.0.0.1"])})
    proxy = before(ladle, names, server.port)
    assert ask(proxy, 2) == {"127.0.0.1": 2}
    del names.records[NAME]
    waiting.until(lambda: "does not resolve" in proxy.output(), "the warning")
    assert ask(proxy, 10) == {"127.0.0.1": 10}


def test_other_resolvers_take_effect_with_a_reload(ladle, origin, dns):
    """After a reload that names another DNS server, its answer counts at once, however long the old one's TTL was."""
    old, _ = at_each(origin, ["127.0.0.1", "127.0.0.2"])
    proxy = before(ladle, dns({NAME: (300, ["127.0.0.1"])}), old.port)
    assert ask(proxy, 3) == {"127.0.0.1": 3}
    proxy.configure({"server": {"resolvers": [dns({NAME: (300, ["127.0.0.2"])}).text]}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 10) == {"127.0.0.2": 10}


def test_other_resolvers_are_not_asked_before_all_have_agreed(ladle, origin, dns):
    """While a reload may still be refused, names are asked of the DNS servers in force; once it has returned, of the new ones."""
    old, _ = at_each(origin, ["127.0.0.1", "127.0.0.2"])
    before_it, after_it = dns({NAME: (1, ["127.0.0.1"])}), dns({NAME: (300, ["127.0.0.2"])})
    proxy = before(ladle, before_it, old.port)
    worker, = proxy.workers().values()
    proxy.configure({"server": {"resolvers": [after_it.text]}})
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        reload = pool.submit(proxy.reload)
        try:
            asked = len(before_it.times(NAME))
            waiting.until(lambda: len(before_it.times(NAME)) >= asked + 2, "the name to be asked for again, twice", 6)
            assert not reload.done() and not after_it.times(NAME)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert reload.result().returncode == 0
    assert after_it.times(NAME)
    assert ask(proxy, 10) == {"127.0.0.2": 10}


def test_a_new_name_is_asked_of_the_new_resolvers(ladle, origin, dns):
    """A reload that brings a name and the DNS server that knows it: the first request goes there, nobody says that it does not resolve."""
    server, = at_each(origin, ["127.0.0.2"])
    without, having = dns({}), dns({NAME: (300, ["127.0.0.2"])})
    proxy = ladle(origin(), {"server": {"resolvers": [without.text]}})
    proxy.configure({"server": {"resolvers": [having.text]}, "site": {"*": {"upstream": f"http://{NAME}:{server.port}"}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 4) == {"127.0.0.2": 4}
    assert not without.times(NAME) and "does not resolve" not in proxy.output()


def test_the_first_resolver_that_answers_counts(ladle, origin, dns):
    """A DNS server that is silent costs a second at the most: the next one is asked."""
    server, = at_each(origin, ["127.0.0.1"])
    silent, good = dns({NAME: None}), dns({NAME: (60, ["127.0.0.1"])})
    proxy = ladle(settings={"server": {"resolvers": [silent.text, good.text]}, "site": {"*": {"upstream": f"http://{NAME}:{server.port}"}}})
    waiting.until(lambda: proxy.get().status == 200, "the name to be resolved", 5)
    assert silent.times(NAME)
