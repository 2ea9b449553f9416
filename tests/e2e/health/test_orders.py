# SPDX-License-Identifier: Apache-2.0
"""ladle upstream NAME server ADDRESS …: effective in all workers at once, and kept over reload and upgrade."""

import os
import signal
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def named(name):
    return lambda request: reply(name.encode())


@pytest.fixture
def pair(ladle, origin):
    servers = [origin(named(name)) for name in "ab"]
    proxy = ladle(settings={"server": {"workers": 3}, "upstream": {"app": {"servers": [one.text for one in servers], "balance": "round_robin"}},
                            "site": {"*": {"upstream": "app"}}})
    return proxy, servers


def order(proxy, server, *words, code=0):
    done = proxy.command("upstream", "app", "server", server.text, *words)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def ask(proxy, count=20):
    return Counter(response.body.decode() if response.status == 200 else response.status for response in (proxy.get() for _ in range(count)))


def state(proxy):
    return proxy.status()["servers"][0]["state"]


@pytest.mark.parametrize("away,back,shown", [("drain", "resume", "drained"), ("down", "up", "off")])
def test_an_order_holds_at_once_and_over_a_reload(pair, away, back, shown):
    """A server that is ordered out gets not one request from any worker, also after a reload; resume and up bring it back."""
    proxy, (a, _) = pair
    assert away in order(proxy, a, away)
    assert ask(proxy) == {"b": 20} and state(proxy) == shown
    proxy.configure({"upstream": {"app": {"queue": {"size": 7}}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy) == {"b": 20} and state(proxy) == shown
    assert f"{shown}, weight 1, in flight 0" in proxy.command("status").stdout
    order(proxy, a, back)
    assert ask(proxy) == {"a": 10, "b": 10} and state(proxy) == "up"


def test_with_all_servers_ordered_out_nothing_is_tried(pair):
    """An order is no guess: there is no panic about it, requests get 502."""
    proxy, servers = pair
    for server in servers:
        order(proxy, server, "down")
    assert ask(proxy, 4) == {502: 4}


def test_a_weight_holds_at_once_and_over_a_reload(pair):
    """A new weight changes the share in every worker; 0 gives the configured one back."""
    proxy, (a, _) = pair
    order(proxy, a, "weight", "3")
    assert ask(proxy, 40) == {"a": 30, "b": 10}
    assert proxy.reload().returncode == 0
    assert ask(proxy, 40) == {"a": 30, "b": 10} and proxy.status()["servers"][0]["weight"] == 3
    order(proxy, a, "weight", "0")
    assert ask(proxy, 40) == {"a": 20, "b": 20}


def test_orders_outlive_an_upgrade_and_a_crash_of_the_caretaker(pair):
    """The next program obeys as well."""
    proxy, (a, _) = pair
    order(proxy, a, "drain")
    os.kill(proxy.caretaker(), signal.SIGKILL)
    done = proxy.command("upgrade")
    assert done.returncode == 0, done
    waiting.until(lambda: proxy.status()["state"] == "serving", "the upgrade's end", 20)
    assert ask(proxy) == {"b": 20} and state(proxy) == "drained"
    order(proxy, a, "resume")
    assert ask(proxy)["a"] > 0


def test_a_draining_server_finishes_what_it_has(ladle, origin):
    """Requests under way are finished, and status shows draining until they are."""
    import threading
    go = threading.Event()
    slow = origin(lambda request: go.wait(60) and reply(b"slow"))
    proxy = ladle(settings={"upstream": {"app": {"servers": [slow.text]}}, "site": {"*": {"upstream": "app"}}})
    got = []
    client = threading.Thread(target=lambda: got.append(proxy.get().body))
    client.start()
    waiting.until(lambda: slow.requests, "the request to arrive")
    order(proxy, slow, "drain")
    assert state(proxy) == "draining"
    go.set()
    client.join()
    assert got == [b"slow"]
    waiting.until(lambda: state(proxy) == "drained", "it to be drained")


def test_mistakes_are_told(pair):
    """Names that are not there, actions that are none, and a weight in the wrong place change nothing."""
    proxy, (a, _) = pair
    assert "has no server" in proxy.command("upstream", "app", "server", "10.9.9.9:1", "drain").stderr
    assert "no upstream" in proxy.command("upstream", "none", "server", a.text, "drain").stderr
    assert proxy.command("upstream", "app", "server", a.text, "explode").returncode == 2
    order(proxy, a, "weight", code=2)
    order(proxy, a, "drain", "3", code=2)
    assert state(proxy) == "up"


def shown(proxy):
    return {server["server"]: server for server in proxy.status()["servers"]}


def test_a_server_is_added_and_removed_while_all_serve(pair, origin):
    """add and remove need no file: every worker follows, a reload of the file keeps them, status shows them, remove undoes add."""
    proxy, (a, b) = pair
    c = origin(named("c"))
    assert "added" in order(proxy, c, "add", "2")
    assert ask(proxy) == {"a": 5, "b": 5, "c": 10}
    assert shown(proxy)[c.text]["added"] and shown(proxy)[c.text]["weight"] == 2 and not shown(proxy)[a.text]["added"]
    assert "up, added, weight 2" in proxy.command("status").stdout
    proxy.configure({"upstream": {"app": {"queue": {"size": 7}}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy) == {"a": 5, "b": 5, "c": 10}
    assert "removed" in order(proxy, a, "remove")
    assert proxy.reload().returncode == 0
    assert ask(proxy, 21) == {"b": 7, "c": 14} and a.text not in shown(proxy)
    order(proxy, c, "remove")
    order(proxy, a, "add")
    assert ask(proxy) == {"a": 10, "b": 10}
    assert not any(server["added"] for server in proxy.status()["servers"])


def test_changes_of_servers_outlive_an_upgrade_and_a_crash_and_go_with_a_stop(pair, origin):
    """The next program has the same servers, also where the master was killed; a stop ends it."""
    proxy, (a, b) = pair
    c = origin(named("c"))
    order(proxy, c, "add", "--backup")
    order(proxy, a, "remove")
    assert proxy.command("upgrade").returncode == 0
    waiting.until(lambda: proxy.status()["state"] == "serving", "the upgrade's end", 20)
    assert shown(proxy)[c.text]["backup"] and set(shown(proxy)) == {b.text, c.text}
    assert ask(proxy, 6) == {"b": 6}
    assert proxy.reload().returncode == 0
    assert set(shown(proxy)) == {b.text, c.text}
    proxy.process.kill()
    proxy.process.wait(20)
    proxy.start()
    assert set(shown(proxy)) == {b.text, c.text}
    proxy.process.terminate()
    proxy.process.wait(20)
    proxy.start()
    assert set(shown(proxy)) == {a.text, b.text}


def test_requests_of_a_server_that_is_removed_are_finished(ladle, origin):
    """A request under way at a server that is removed gets its answer."""
    import threading
    go = threading.Event()
    slow, other = origin(lambda request: go.wait(60) and reply(b"slow")), origin(named("other"))
    proxy = ladle(settings={"upstream": {"app": {"servers": [slow.text]}}, "site": {"*": {"upstream": "app"}}})
    got = []
    client = threading.Thread(target=lambda: got.append(proxy.get().body))
    client.start()
    waiting.until(lambda: slow.requests, "the request to arrive")
    order(proxy, other, "add")
    order(proxy, slow, "remove")
    assert ask(proxy, 4) == {"other": 4}
    go.set()
    client.join()
    assert got == [b"slow"]


def test_changes_that_cannot_be_are_refused(pair, origin):
    """What is there already, is not there, is the last, or does not fit the upstream: a clear word, and nothing changes."""
    proxy, (a, b) = pair
    assert "has the server" in order(proxy, a, "add", code=1)
    assert "has no server" in proxy.command("upstream", "app", "server", "10.9.9.9:1", "remove").stderr
    assert "no [upstream" in proxy.command("upstream", "none", "server", a.text, "add").stderr
    assert proxy.command("upstream", "app", "server", "not a server", "add").returncode == 1
    refused = proxy.command("upstream", "app", "server", f"https://{a.text.replace('127.0.0.1', '127.0.0.2')}", "add")
    assert refused.returncode == 1 and "over TLS and some are not" in refused.stderr
    order(proxy, a, "drain", "--backup", code=2)
    order(proxy, a, "remove")
    assert "it comes back as it stands there" in order(proxy, a, "add", "5", code=1)
    assert "last server" in order(proxy, b, "remove", code=1)
    assert ask(proxy, 4) == {"b": 4}


def test_servers_are_replaced_one_by_one_and_the_file_follows(ladle, origin):
    """A rolling replacement by commands, and a file that says the same later: what was removed stays away, what was added stays."""
    a, b, c = (origin(named(name)) for name in "abc")
    proxy = ladle(settings={"upstream": {"app": {"servers": [a.text], "balance": "round_robin"}}, "site": {"*": {"upstream": "app"}}})
    for one, what in ((b, "add"), (a, "remove"), (c, "add"), (b, "remove")):
        order(proxy, one, what)
    assert ask(proxy, 4) == {"c": 4} and set(shown(proxy)) == {c.text}
    proxy.configure({"upstream": {"app": {"servers": [c.text]}}})
    assert proxy.reload().returncode == 0
    assert not shown(proxy)[c.text]["added"] and set(shown(proxy)) == {c.text}
    order(proxy, a, "add", "5")
    assert shown(proxy)[a.text]["weight"] == 5 and shown(proxy)[a.text]["added"]
    order(proxy, c, "remove")
    assert ask(proxy, 4) == {"a": 4}
    assert proxy.reload().returncode == 0
    assert ask(proxy, 4) == {"a": 4}
