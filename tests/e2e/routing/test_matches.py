# SPDX-License-Identifier: Apache-2.0
"""Routes by what a request is: cookie, body type, Accept, kind of file, scheme, client, country."""

import pytest

from tests.harness.mmdb import database
from tests.harness.origin import reply


def routes(*given):
    """A site whose routes answer with their names; what none takes is answered "none"."""
    named = [{**route, "name": route["is"], "respond": {"body": route["is"]}} for route in given]
    for route in named:
        del route["is"]
    return {"site": {"*": {"route": [*named, {"name": "none", "respond": {"body": "none"}}]}}}


def ask(proxy, path="/", headers=(), method="GET", body=None):
    answer = proxy.get(path, method, headers, body)
    assert answer.status == 200
    return answer.body.decode()


def test_requests_are_routed_by_what_they_carry(ladle):
    """Each of cookie, content_type, accept and type sends a request to its route, in file order."""
    proxy = ladle(None, routes({"is": "beta", "cookie": {"beta": "on"}},
                               {"is": "upload", "content_type": "multipart/*"},
                               {"is": "picture", "type": "image"},
                               {"is": "page", "accept": "text/html"}))
    assert ask(proxy, headers=[("Cookie", "a=1; beta=on"), ("Accept", "text/html")]) == "beta"
    assert ask(proxy, headers=[("Content-Type", "multipart/form-data; boundary=x")], method="POST", body=b"") == "upload"
    assert ask(proxy, "/a/b.png", [("Accept", "text/html")]) == "picture"
    assert ask(proxy, headers=[("Accept", "text/html,application/xml;q=0.9,*/*;q=0.8")]) == "page"
    assert ask(proxy, headers=[("Accept", "*/*")]) == "none"
    assert ask(proxy, headers=[("Accept", "text/html;q=0, */*")]) == "none"


def test_client_and_scheme_are_those_that_a_trusted_proxy_names(ladle):
    """Behind a trusted proxy the client's own address and scheme choose the route; without trust they are not believed."""
    settings = routes({"is": "office", "client": "192.0.2.0/24"}, {"is": "secure", "scheme": "https"})
    trusting = ladle(None, {**settings, "trust": {"forwarded_from": ["127.0.0.0/8"]}})
    assert ask(trusting, headers=[("X-Forwarded-For", "192.0.2.7")]) == "office"
    assert ask(trusting, headers=[("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-Proto", "https")]) == "secure"
    assert ask(trusting) == "none"
    strict = ladle(None, settings)
    assert ask(strict, headers=[("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")]) == "none"


@pytest.mark.parametrize("record_size", [24, 28, 32])
def test_countries_come_from_the_database_also_after_a_reload(ladle, record_size):
    """A client's country chooses the route, by the database of the last reload; workers open no file for it."""
    proxy = ladle(None, {**routes({"is": "german", "country": ["DE", "AT"]}, {"is": "french", "country": "FR"}),
                         "trust": {"forwarded_from": ["127.0.0.0/8"]}}, start=False)
    with open(proxy.path("c.mmdb"), "wb") as file:
        file.write(database({"192.0.2.0/24": "DE", "198.51.100.0/25": "FR", "2001:db8::/32": "AT"}, record_size))
    proxy.configure({"server": {"country_database": "c.mmdb"}})
    proxy.start()
    def route_of(client):
        return ask(proxy, headers=[("X-Forwarded-For", client)])
    assert route_of("192.0.2.200") == "german"
    assert route_of("2001:db8:1::9") == "german"
    assert route_of("198.51.100.1") == "french"
    assert route_of("198.51.100.200") == "none"
    with open(proxy.path("c.mmdb"), "wb") as file:
        file.write(database({"192.0.2.0/24": "FR"}, record_size))
    assert route_of("192.0.2.200") == "german"
    assert proxy.command("reload").returncode == 0
    assert route_of("192.0.2.200") == "french"


def test_a_missing_database_is_an_error_only_where_a_country_is_asked_for(ladle):
    """`check` refuses a database that is not there, with its place, once a route asks for a country."""
    proxy = ladle(None, routes({"is": "german", "path": "/de/*"}), start=False)
    proxy.configure({"server": {"country_database": "gone.mmdb"}})
    assert proxy.command("check").returncode == 0
    proxy.configure(routes({"is": "german", "country": "DE"}))
    refused = proxy.command("check")
    assert refused.returncode == 1
    assert "country_database" in refused.stderr and "gone.mmdb: No such file" in refused.stderr


def test_answers_of_routes_that_the_url_does_not_tell_apart_are_cached_apart(ladle, origin):
    """Two routes by a cookie with caches of their own: neither is given the other's answer; a purge of the URL takes both."""
    servers = {name: origin(reply(name.encode(), headers=[("Cache-Control", "max-age=60")]))
               for name in ("old", "new")}
    proxy = ladle(None, {"site": {"*": {"upstream": servers["old"].url, "cache": True, "route": [
        {"name": "beta", "cookie": {"beta": "1"}, "upstream": servers["new"].url}]}}})
    for _ in range(2):
        assert proxy.get("/x").body == b"old"
        assert proxy.get("/x", headers=[("Cookie", "beta=1")]).body == b"new"
    assert [len(server.requests) for server in servers.values()] == [1, 1]
    assert proxy.command("purge", "http://site.test/x").returncode == 0
    proxy.get("/x")
    proxy.get("/x", headers=[("Cookie", "beta=1")])
    assert [len(server.requests) for server in servers.values()] == [2, 2]
