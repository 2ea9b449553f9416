# SPDX-License-Identifier: Apache-2.0
"""Servers that are services: SRV records say on which hosts and ports they are, and are followed like the addresses of names."""

import os
import signal
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.dns import SRV, Dns, Srv
from tests.harness.origin import reply

SERVICE = "_http._tcp.app.ladle.test"
CLOSE = [("Connection", "close")]


@pytest.fixture
def dns(cleanup):
    def make(records=None):
        cleanup.append(Dns(records))
        return cleanup[-1]
    return make


@pytest.fixture
def at(origin):
    """An origin that tells the word it was given."""
    def make(word, host="127.0.0.1", headers=CLOSE):
        return origin(reply(word.encode(), headers=headers), host=host)
    return make


def before(ladle, server, service=SERVICE, workers=1, **settings):
    return ladle(settings={"server": {"workers": workers, "resolvers": [server.text]}, "site": {"*": {"upstream": "app"}},
                           "upstream": {"app": {"servers": [f"srv:{service}"], **settings}}})


def ask(proxy, count):
    return Counter(response.body.decode() if response.status == 200 else response.status for response in (proxy.get() for _ in range(count)))


def warnings(proxy, text="does not resolve"):
    return [line for line in proxy.output().splitlines() if text in line]


def server_of(proxy):
    server, = proxy.status()["servers"]
    return server


def test_hosts_and_ports_of_a_service_are_used(ladle, dns, at):
    """All addresses of all targets of a service take turns, each at its record's port; status names them, explain the service."""
    one, two, three = at("one"), at("two", "127.0.0.2"), at("three", "::1")
    proxy = before(ladle, dns({SERVICE: (60, [Srv("web1.ladle.test", one.port), Srv("web2.ladle.test", two.port),
                                              Srv("web3.ladle.test", three.port)]),
                               "web1.ladle.test": (60, ["127.0.0.1"]), "web2.ladle.test": (60, ["127.0.0.2"]),
                               "web3.ladle.test": (60, ["::1"])}))
    assert ask(proxy, 30) == {"one": 10, "two": 10, "three": 10}
    server = server_of(proxy)
    assert server["server"] == f"srv:{SERVICE}" and server["name_state"] == "resolved"
    assert sorted(server["addresses"]) == sorted([f"127.0.0.1:{one.port}", f"127.0.0.2:{two.port}", f"[::1]:{three.port}"])
    assert not warnings(proxy)


def test_a_url_may_name_a_service(ladle, dns, at):
    """upstream = "http://srv:NAME" of a site needs no [upstream.NAME]; a name without "_http._tcp." is asked for SRV as well."""
    one = at("one")
    server = dns({"web.service.ladle.test": (60, [Srv("node1.ladle.test", one.port)]), "node1.ladle.test": (60, ["127.0.0.1"])})
    proxy = ladle(settings={"server": {"resolvers": [server.text]}, "site": {"*": {"upstream": "http://srv:web.service.ladle.test"}}})
    assert ask(proxy, 3) == {"one": 3}
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.response().body == b"one"
    assert one.requests[-1].headers.get("host") == "web.service.ladle.test"


def test_weights_share_the_connections(ladle, dns, at):
    """Of three records with the weights 6, 3 and 1 the connections get six, three and one in ten; a weight of 0 hardly any."""
    words = {"six": 6, "three": 3, "one": 1, "none": 0}
    ports = {word: at(word).port for word in words}
    proxy = before(ladle, dns({SERVICE: (60, [Srv("web.ladle.test", ports[word], weight=weight) for word, weight in words.items()]),
                               "web.ladle.test": (60, ["127.0.0.1"])}))
    shares = ask(proxy, 100)
    for word, weight in words.items():
        assert abs(shares[word] - 10 * weight) <= 3, shares


def test_a_higher_priority_waits_until_no_lower_one_has_an_address(ladle, dns, at):
    """Records of a higher priority are used where no target of a lower one has an address, and no longer than that."""
    first, second, third = at("first"), at("second"), at("third")
    names = dns({SERVICE: (1, [Srv("web3.ladle.test", third.port, 30), Srv("web1.ladle.test", first.port, 10), Srv("web2.ladle.test", second.port, 20)]),
                 "web2.ladle.test": (1, ["127.0.0.1"]), "web3.ladle.test": (1, ["127.0.0.1"])})
    proxy = before(ladle, names)
    assert ask(proxy, 6) == {"second": 6}
    names.records["web1.ladle.test"] = (60, ["127.0.0.1"])
    waiting.until(lambda: ask(proxy, 6) == {"first": 6}, "the lowest priority to be used", every=0.05)


def test_a_silent_host_does_not_keep_the_others_back(ladle, dns, at):
    """At a start each host is used as soon as its addresses are known, though one of them never answers."""
    one, two = at("one"), at("two")
    names = dns({SERVICE: (60, [Srv(f"web{number}.ladle.test", port) for number, port in ((1, one.port), (2, two.port), (3, one.port))]),
                 "web1.ladle.test": (60, ["127.0.0.1"]), "web2.ladle.test": (60, ["127.0.0.1"]), "web3.ladle.test": None})
    proxy = before(ladle, names)
    assert ask(proxy, 10) == {"one": 5, "two": 5}


@pytest.mark.parametrize("workers", [1, 2])
def test_changed_records_take_effect_without_a_reload(ladle, dns, at, workers):
    """A service that moved to another port of the same host is followed within its TTL: no request fails, kept connections end."""
    old, new = at("old", headers=()), at("new", headers=())
    names = dns({SERVICE: (1, [Srv("web.ladle.test", old.port)]), "web.ladle.test": (60, ["127.0.0.1"])})
    proxy = before(ladle, names, workers=workers)
    assert ask(proxy, 5) == {"old": 5}
    names.records[SERVICE] = (1, [Srv("web.ladle.test", new.port)])
    seen = set()
    waiting.until(lambda: seen.update(answers := ask(proxy, 5)) or answers == {"new": 5}, "the new port to be used", every=0.02)
    assert seen <= {"old", "new"}
    count = len(old.requests)
    assert ask(proxy, 20) == {"new": 20} and len(old.requests) == count


def test_a_moved_target_is_followed_by_its_own_ttl(ladle, dns, at):
    """A target's address changes while the SRV records may be kept for long: its own TTL counts."""
    old, new = at("old"), at("new", "127.0.0.2")
    names = dns({SERVICE: (300, [Srv("web1.ladle.test", old.port), Srv("web2.ladle.test", new.port)]),
                 "web1.ladle.test": (1, ["127.0.0.1"]), "web2.ladle.test": (1, ["127.0.0.1"])})
    proxy = before(ladle, names)
    names.records["web2.ladle.test"] = (1, ["127.0.0.2"])
    waiting.until(lambda: ask(proxy, 6) == {"old": 3, "new": 3}, "both targets to be used", every=0.05)
    assert len(names.times(SERVICE, SRV)) == 1


def test_a_target_without_an_address_is_left_out(ladle, dns, at):
    """A target that does not exist costs nothing but one warning of its own; once it has an address it is used."""
    good, late = at("good"), at("late")
    names = dns({SERVICE: (60, [Srv("web1.ladle.test", good.port), Srv("web2.ladle.test", late.port)]), "web1.ladle.test": (60, ["127.0.0.1"])})
    proxy = before(ladle, names)
    assert ask(proxy, 4) == {"good": 4}
    waiting.until(lambda: len(names.times("web2.ladle.test")) >= 3, "it to be asked for again")
    said = warnings(proxy)
    assert len(said) == 1 and "web2.ladle.test" in said[0]
    names.records["web2.ladle.test"] = (60, ["127.0.0.1"])
    waiting.until(lambda: ask(proxy, 6) == {"good": 3, "late": 3}, "the target to be used", every=0.1)


def test_a_target_that_ceases_to_exist_keeps_its_address(ladle, dns, at):
    """DNS that forgets a host to which the records still point takes no running server away; that the records point there no more does."""
    one, two = at("one"), at("two")
    both = [Srv("web1.ladle.test", one.port), Srv("web2.ladle.test", two.port)]
    names = dns({SERVICE: (1, both), "web1.ladle.test": (1, ["127.0.0.1"]), "web2.ladle.test": (1, ["127.0.0.1"])})
    proxy = before(ladle, names)
    del names.records["web2.ladle.test"]
    waiting.until(lambda: warnings(proxy), "the warning")
    assert ask(proxy, 6) == {"one": 3, "two": 3}
    names.records[SERVICE] = (1, both[:1])
    waiting.until(lambda: ask(proxy, 6) == {"one": 6}, "the records to be followed", every=0.05)


def test_a_service_that_does_not_exist_is_a_server_that_is_down(ladle, dns, at):
    """NXDOMAIN, and the target "." of RFC 2782, are one warning and 503; once there are records, so is the server."""
    one = at("one")
    names = dns()
    proxy = before(ladle, names)
    assert ask(proxy, 3) == {503: 3}
    assert proxy.access_log(3)[0]["reason"] == "name_unresolved"
    names.records[SERVICE] = (1, [Srv(".", 0)])
    asked = len(names.times(SERVICE, SRV))
    waiting.until(lambda: len(names.times(SERVICE, SRV)) >= asked + 2, "it to be asked for again")
    said = warnings(proxy)
    assert len(said) == 1 and f"srv:{SERVICE}" in said[0]
    assert server_of(proxy)["name_state"] == "failed"
    names.records.update({SERVICE: (1, [Srv("web.ladle.test", one.port)]), "web.ladle.test": (1, ["127.0.0.1"])})
    waiting.until(lambda: ask(proxy, 3) == {"one": 3}, "the server to be used", every=0.1)
    assert "resolves again" in proxy.output()


def test_a_service_that_ceases_to_exist_keeps_its_addresses(ladle, dns, at):
    """Records that are gone, or a DNS server that falls silent, take no running server away; the log says so once."""
    one = at("one")
    names = dns({SERVICE: (1, [Srv("web.ladle.test", one.port)]), "web.ladle.test": (1, ["127.0.0.1"])})
    proxy = before(ladle, names)
    assert ask(proxy, 2) == {"one": 2}
    del names.records[SERVICE]
    waiting.until(lambda: warnings(proxy), "the warning")
    waiting.until(lambda: server_of(proxy)["name_state"] == "failed", "status to say so")
    assert ask(proxy, 10) == {"one": 10}
    assert len(warnings(proxy)) == 1


def test_the_ttl_of_records_has_a_floor(ladle, dns, at):
    """Records with a TTL of 0 are asked for once a second, not more often."""
    one = at("one")
    names = dns({SERVICE: (0, [Srv("web.ladle.test", one.port)]), "web.ladle.test": (300, ["127.0.0.1"])})
    before(ladle, names)
    waiting.until(lambda: len(names.times(SERVICE, SRV)) >= 4, "the records to be asked for again", 20)
    times = names.times(SERVICE, SRV)
    assert all(second - first >= 0.9 for first, second in zip(times, times[1:]))
    assert len(names.times("web.ladle.test")) == 1


def test_a_large_answer_comes_over_tcp(ladle, dns, at):
    """Records that do not fit a datagram are fetched over TCP; of more than 32, those that come first are used, and the log says so."""
    first, last = at("first"), at("last")
    records = [Srv(f"a-rather-long-name-of-host-{i}.ladle.test", last.port, 20) for i in range(39)]
    names = dns({SERVICE: (1, [*records, Srv("web.ladle.test", first.port, 10)]), "web.ladle.test": (60, ["127.0.0.1"])})
    proxy = before(ladle, names)
    assert ask(proxy, 5) == {"first": 5}
    assert names.over_tcp >= 1
    waiting.until(lambda: len(names.times(SERVICE, SRV)) >= 6, "the records to be asked for again")  # each time over UDP, then TCP
    assert len(warnings(proxy, "more SRV records than are used")) == 1


def test_each_address_of_a_service_is_checked(ladle, dns, at):
    """Health checks go to every address at its own port: one whose check fails is not connected to."""
    good, bad = at("good"), at("bad")
    proxy = before(ladle, dns({SERVICE: (60, [Srv("web.ladle.test", good.port), Srv("web.ladle.test", bad.port)]), "web.ladle.test": (60, ["127.0.0.1"])}),
                   health={"path": "/healthz", "interval": "100ms", "fall": 1, "rise": 1})
    for one in (good, bad):
        waiting.until(lambda one=one: any(request.target == "/healthz" for request in one.requests), "the check of each port")
    assert good.requests[0].headers.get("host") == "app.ladle.test"
    bad.stop()
    waiting.until(lambda: warnings(proxy, "an address of a server is down"), "the address to be found down")
    assert ask(proxy, 6) == {"good": 6}
    assert server_of(proxy)["addresses"] == [f"127.0.0.1:{good.port}"]


def test_other_resolvers_take_effect_with_a_reload(ladle, dns, at):
    """After a reload that names another DNS server, its records and its targets count at once; hosts of the old ones are forgotten."""
    old, new = at("old"), at("new")
    proxy = before(ladle, dns({SERVICE: (300, [Srv("web1.ladle.test", old.port)]), "web1.ladle.test": (300, ["127.0.0.1"])}))
    assert ask(proxy, 3) == {"old": 3}
    other = dns({SERVICE: (300, [Srv("web2.ladle.test", new.port)]), "web2.ladle.test": (300, ["127.0.0.1"])})
    proxy.configure({"server": {"resolvers": [other.text]}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 10) == {"new": 10}
    assert not other.times("web1.ladle.test") and not warnings(proxy)


def test_a_service_may_be_added_and_removed_at_run_time(ladle, dns, at):
    """`ladle upstream app server srv:NAME add` takes in a service with all its hosts, and the first request meets them; `remove` ends it."""
    fixed, one, two = at("fixed"), at("one"), at("two")
    names = dns({SERVICE: (60, [Srv("web1.ladle.test", one.port), Srv("web2.ladle.test", two.port)]),
                 "web1.ladle.test": (60, ["127.0.0.1"]), "web2.ladle.test": (60, ["127.0.0.1"])})
    proxy = ladle(settings={"server": {"workers": 1, "resolvers": [names.text]}, "site": {"*": {"upstream": "app"}},
                            "upstream": {"app": {"servers": [fixed.text], "balance": "round_robin"}}})
    assert proxy.command("upstream", "app", "server", f"srv:{SERVICE}", "add").returncode == 0
    assert ask(proxy, 8) == {"fixed": 4, "one": 2, "two": 2}
    refused = proxy.command("upstream", "app", "server", f"srv:{SERVICE}:80", "add")
    assert refused.returncode == 1 and "SRV records bring the port" in refused.stderr
    assert proxy.command("upstream", "app", "server", f"srv:{SERVICE}", "remove").returncode == 0
    assert ask(proxy, 4) == {"fixed": 4}
    asked = len(names.questions)
    assert proxy.reload().returncode == 0 and len(names.questions) == asked


def test_hostile_records_harm_nobody(ladle, dns, at):
    """Thousands of records, of addresses, and targets that point to themselves or nowhere: what can be used is used, the rest asks for nothing."""
    one = at("one")
    crowd = [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(3000)]
    names = dns({SERVICE: (1, [Srv("web.ladle.test", one.port, weight=65535), Srv("crowd.ladle.test", one.port, 5, 65535),
                               Srv(SERVICE, one.port, 6), Srv(".", 0), Srv("web.ladle.test", 0),
                               *(Srv(f"h{i}.ladle.test", 1, 65535, 65535) for i in range(1500))]),
                 "web.ladle.test": (1, ["127.0.0.1"]), "crowd.ladle.test": (1, crowd)})
    proxy = before(ladle, names)
    before_it = proxy.caretaker()
    assert ask(proxy, 5) == {"one": 5}
    names.records["web.ladle.test"] = (1, [])
    names.records[SERVICE] = (1, [Srv("crowd.ladle.test", one.port + i % 2, 5, 65535) for i in range(1000)])
    waiting.until(lambda: server_of(proxy)["addresses"][0].startswith("127.1."), "the crowd to be used", every=0.1)
    assert len(server_of(proxy)["addresses"]) == 16
    assert proxy.caretaker() == before_it
    assert len({name for _, name, _ in names.questions if name.endswith("ladle.test")}) <= 33


def test_a_caretaker_that_died_leaves_the_addresses(ladle, dns, at):
    """kill -9 of the caretaker: requests go on to all addresses, and its successor follows the records."""
    one, two, three = at("one"), at("two"), at("three")
    names = dns({SERVICE: (1, [Srv("web.ladle.test", one.port), Srv("web.ladle.test", two.port)]), "web.ladle.test": (1, ["127.0.0.1"])})
    proxy = before(ladle, names)
    assert ask(proxy, 4) == {"one": 2, "two": 2}
    before_it = proxy.caretaker()
    os.kill(before_it, signal.SIGKILL)
    assert ask(proxy, 4) == {"one": 2, "two": 2}
    waiting.until(lambda: proxy.caretaker() not in (None, before_it), "another caretaker")
    names.records[SERVICE] = (1, [Srv("web.ladle.test", three.port)])
    waiting.until(lambda: ask(proxy, 4) == {"three": 4}, "the records to be followed", every=0.05)
