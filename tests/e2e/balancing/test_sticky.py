# SPDX-License-Identifier: Apache-2.0
"""Sticky cookies: a client comes back to its server, while that one works."""

import os

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def named(name):
    return lambda request: reply(name.encode())


def group(ladle, servers, workers=2, site=None, **more):
    return ladle(settings={"server": {"workers": workers}, "upstream": {"app": {"servers": servers, "sticky": "srv", **more}},
                           "site": {"*": {"upstream": "app", **(site or {})}}})


def cookie_of(response):
    """The value of the sticky cookie that a response sets; None = it sets none."""
    lines = [value for name, value in response.headers if name.lower() == "set-cookie" and value.startswith("srv=")]
    assert len(lines) <= 1
    return lines[0].split(";")[0].removeprefix("srv=") if lines else None


def ask(proxy, cookie=None, target="/", more=()):
    headers = [("Cookie", cookie)] if cookie is not None else []
    with proxy.client() as client:
        return client.request("GET", target, [*headers, *more])


def order(proxy, server, what):
    done = proxy.command("upstream", "app", "server", server.text, what)
    assert done.returncode == 0, done.stderr


def test_a_client_comes_back_to_its_server(ladle, origin):
    """The first answer sets the cookie; with it all requests go to the same server, and it is not set again."""
    servers = [origin(named(name)) for name in "abc"]
    proxy = group(ladle, [server.text for server in servers])
    first = ask(proxy)
    value = cookie_of(first)
    attributes = next(text for name, text in first.headers if name.lower() == "set-cookie").split("; ")[1:]
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax"]
    for _ in range(12):
        again = ask(proxy, f"a=1; srv={value}")
        assert again.body == first.body
        assert cookie_of(again) is None
    assert not any(server.text.split(":")[-1] in value for server in servers)


def test_new_clients_are_spread(ladle, origin):
    """Clients without a cookie go where the method says, and each gets the cookie of its server."""
    proxy = group(ladle, [origin(named(name)).text for name in "ab"], balance="round_robin")
    answers = [ask(proxy) for _ in range(8)]
    assert {answer.body for answer in answers} == {b"a", b"b"}
    assert len({(answer.body, cookie_of(answer)) for answer in answers}) == 2


@pytest.mark.parametrize("value", ["", "x", "AAAAAAAAAAAAAAAAAAAA", "127.0.0.1:80", "a" * 4000])
def test_a_forged_cookie_is_ignored(ladle, origin, value):
    """A value that was not made here is nobody's: the request is balanced, and the client gets a good one."""
    proxy = group(ladle, [origin(named(name)).text for name in "ab"], balance="round_robin")
    answers = [ask(proxy, f"srv={value}") for _ in range(4)]
    assert {answer.body for answer in answers} == {b"a", b"b"}
    assert all(cookie_of(answer) for answer in answers)


@pytest.mark.parametrize("sent, forwarded", [
    ("srv={}", None), ("srv={}; a=1", "a=1"), ("a=1; srv={}", "a=1"), ("a=1; srv={}; b=2", "a=1; b=2"), ("a=1; b=2", "a=1; b=2")])
def test_servers_are_not_sent_the_cookie(ladle, origin, sent, forwarded):
    """The sticky cookie is taken out of the Cookie header, the others go on as they were."""
    server = origin(named("a"))
    proxy = group(ladle, [server.text])
    value = cookie_of(ask(proxy))
    ask(proxy, sent.format(value))
    assert server.requests[-1].headers.get("Cookie") == forwarded


def test_it_gives_way_to_a_server_that_is_down_and_follows(ladle, origin):
    """When its server is out, a client goes to another one and gets that one's cookie."""
    servers = {name: origin(named(name)) for name in "ab"}
    proxy = group(ladle, [server.text for server in servers.values()])
    first = ask(proxy)
    value = cookie_of(first)
    order(proxy, servers[first.body.decode()], "down")
    moved = ask(proxy, f"srv={value}")
    assert moved.status == 200 and moved.body != first.body
    assert cookie_of(moved) not in (None, value)
    order(proxy, servers[first.body.decode()], "up")
    assert ask(proxy, f"srv={cookie_of(moved)}").body == moved.body


def test_a_server_that_refuses_connections_loses_its_clients(ladle, origin):
    """A server that is gone without a word costs its client no failed request."""
    servers = {name: origin(named(name)) for name in "ab"}
    proxy = group(ladle, [server.text for server in servers.values()])
    first = ask(proxy)
    servers[first.body.decode()].stop()
    moved = ask(proxy, f"srv={cookie_of(first)}")
    assert moved.status == 200 and moved.body != first.body
    assert cookie_of(moved) not in (None, cookie_of(first))


def test_a_draining_server_keeps_its_clients_and_gets_no_new_ones(ladle, origin):
    """Drained by order, a server answers those who have its cookie, and nobody else."""
    servers = {name: origin(named(name)) for name in "ab"}
    proxy = group(ladle, [server.text for server in servers.values()])
    first = ask(proxy)
    order(proxy, servers[first.body.decode()], "drain")
    for _ in range(6):
        assert ask(proxy, f"srv={cookie_of(first)}").body == first.body
        assert ask(proxy).body != first.body


def test_cookies_are_good_after_a_restart(ladle, origin):
    """The key lies in the state folder: a proxy that starts anew knows its cookies."""
    proxy = group(ladle, [origin(named(name)).text for name in "abc"])
    first = ask(proxy)
    proxy.process.terminate()
    proxy.process.wait(20)
    assert os.stat(proxy.path("state/sticky.key")).st_mode & 0o777 == 0o600
    proxy.start()
    for _ in range(6):
        again = ask(proxy, f"srv={cookie_of(first)}")
        assert again.body == first.body and cookie_of(again) is None


def test_a_reload_can_switch_it_on_and_a_server_that_leaves_the_file_is_forgotten(ladle, origin):
    """Sticky needs no restart; a client whose server is gone is given another."""
    servers = {name: origin(named(name)) for name in "abc"}
    proxy = ladle(settings={"upstream": {"app": {"servers": [server.text for server in servers.values()]}}, "site": {"*": {"upstream": "app"}}})
    assert cookie_of(ask(proxy)) is None
    proxy.configure({"upstream": {"app": {"sticky": {"cookie": "srv"}}}})
    assert proxy.reload().returncode == 0
    first = ask(proxy)
    left = [server.text for name, server in servers.items() if name != first.body.decode()]
    proxy.configure({"upstream": {"app": {"servers": left}}})
    assert proxy.reload().returncode == 0
    moved = ask(proxy, f"srv={cookie_of(first)}")
    assert moved.body != first.body and cookie_of(moved)


def test_the_cache_has_no_cookie_and_a_hit_needs_none(ladle, origin):
    """What is stored carries no sticky cookie, neither the answer that filled it; clients with different ones share it."""
    server = origin(lambda request: reply(b"page", headers=[("Cache-Control", "max-age=60"), ("Vary", "Cookie")]))
    proxy = group(ladle, [server.text], site={"cache": True})
    value = cookie_of(ask(proxy, target="/private", more=[("Authorization", "Basic eA==")]))
    for cookie in (None, f"srv={value}", "srv=other"):
        response = ask(proxy, cookie)
        assert response.body == b"page"
        assert not any(name.lower() == "set-cookie" for name, _ in response.headers)
    assert len([request for request in server.requests if request.target == "/"]) == 1


def test_what_shared_caches_may_keep_carries_no_cookie(ladle, origin):
    """A response with a lifetime, or a public one, could be given to others by a cache before us: they would get this client's cookie."""
    controls = iter(["public", "s-maxage=60", "max-age=60", "public, no-store", "private, max-age=60", "max-age=0"])
    proxy = group(ladle, [origin(lambda request: reply(headers=[("Cache-Control", next(controls))])).text])
    assert [cookie_of(ask(proxy)) is not None for _ in range(6)] == [False, False, False, True, True, True]


@pytest.mark.parametrize("lines, more, is_set", [
    ([("Expires", "Fri, 01 Jan 2038 00:00:00 GMT")], [], False),
    ([("Expires", "Thu, 01 Jan 1998 00:00:00 GMT")], [], True),
    ([("Expires", "0")], [], True),
    ([("Expires", "Fri, 01 Jan 2038 00:00:00 GMT"), ("Cache-Control", "max-age=0")], [], True),
    ([("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "private")], [], False),
    ([("Surrogate-Control", "max-age=60")], [], False),
    ([("Cache-Control", "max-age=60")], [("Authorization", "Basic eA==")], True),
    ([("Cache-Control", "max-age=60, must-revalidate")], [("Authorization", "Basic eA==")], False)],
    ids=["Expires", "expired", "no date", "max-age before Expires", "CDN-Cache-Control", "Surrogate-Control", "Authorization", "must-revalidate"])
def test_whatever_lets_a_cache_share_the_response_counts(ladle, origin, lines, more, is_set):
    """A cache before us may heed Expires, CDN-Cache-Control or Surrogate-Control, and must-revalidate in spite of Authorization."""
    proxy = group(ladle, [origin(reply(headers=lines)).text])
    assert (cookie_of(ask(proxy, more=more)) is not None) == is_set


def test_checks_that_are_wrong_about_all_servers_move_no_client(ladle, origin):
    """With every server down by its checks clients stay with their server, and keep their cookie."""
    def answer(name):
        return lambda request: reply(name.encode(), status=500 if request.target == "/healthz" else 200)
    proxy = group(ladle, [origin(answer(name)).text for name in "abc"], health={"path": "/healthz", "interval": "100ms", "fall": 1})
    waiting.until(lambda: all(server["state"] == "down" for server in proxy.status()["servers"]), "all to be down")
    first = ask(proxy)
    for _ in range(8):
        again = ask(proxy, f"srv={cookie_of(first)}")
        assert again.body == first.body and cookie_of(again) is None


def test_over_tls_the_cookie_is_secure(ladle, origin):
    """Where a trusted proxy says that the client speaks TLS, the cookie has the attribute Secure."""
    proxy = ladle(settings={"trust": {"forwarded_from": ["127.0.0.1"]}, "upstream": {"app": {"servers": [origin().text], "sticky": "srv"}},
                            "site": {"*": {"upstream": "app"}}})
    line = dict(ask(proxy, more=[("X-Forwarded-Proto", "https")]).headers)
    assert any(name.lower() == "set-cookie" and value.endswith("; Secure") for name, value in line.items())


def test_a_fetch_in_the_background_has_the_clients_own_cookies(ladle, origin):
    """What is left of a Cookie header without the sticky one goes with the validation of a stale response, too, and no remains of the rest."""
    server = origin(reply(headers=[("Cache-Control", "max-age=0, stale-while-revalidate=60"), ("ETag", '"1"')]))
    proxy = group(ladle, [server.text], workers=1, site={"cache": True})
    for _ in range(2):
        assert ask(proxy, "a=1; srv=0123456789abcdef; b=2").status == 200
    assert [request.headers.get("Cookie") for request in server.wait_requests(2)] == ["a=1; b=2"] * 2
