# SPDX-License-Identifier: Apache-2.0
"""Hop-by-hop fields, and the fields that say who the client is."""

import pytest

from tests.harness.ladle import cpu_seconds
from tests.harness.origin import reply

HOP_BY_HOP = [("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"), ("TE", "gzip"), ("Upgrade", "foo")]


@pytest.mark.parametrize("name,value", HOP_BY_HOP)
def test_hop_by_hop_fields_of_the_request_are_removed(relay, name, value):
    """A hop-by-hop field does not reach the server."""
    relay.get(headers=[(name, value)])
    assert not relay.last.headers.has(name)


@pytest.mark.parametrize("name,value", [("Keep-Alive", "timeout=5"), ("Proxy-Connection", "close"), ("Upgrade", "h2c"), ("Proxy-Authenticate", "Basic")])
def test_hop_by_hop_fields_of_the_response_are_removed(relay, name, value):
    """A hop-by-hop field does not reach the client (Proxy-Authenticate alone may)."""
    relay.answer = reply(headers=[(name, value)])
    response = relay.get()
    assert response.status == 200
    if name != "Proxy-Authenticate":
        assert not response.headers.has(name)


def test_fields_listed_in_connection_are_removed(relay):
    """What Connection names goes no further, in both directions."""
    relay.answer = reply(headers=[("Connection", "X-Private, x-other"), ("X-Private", "1"), ("X-Other", "2"), ("X-Public", "3")])
    with relay.client() as client:
        response = client.request(headers=[("Connection", "X-Secret , X-Two"), ("X-Secret", "1"), ("x-two", "2"), ("X-Three", "3")])
    got = relay.last.headers
    assert not got.has("X-Secret") and not got.has("X-Two") and got.get("X-Three") == "3"
    assert not response.headers.has("X-Private") and not response.headers.has("X-Other") and response.headers.get("X-Public") == "3"


@pytest.mark.parametrize("named", ["Content-Length", "Host", "Transfer-Encoding", "Via", "X-Forwarded-For", "Forwarded"])
def test_fields_that_may_not_be_removed_by_connection(relay, named):
    """Framing, Host and the forwarding fields survive being named in Connection."""
    with relay.client() as client:
        client.send(f"POST /c HTTP/1.1\r\nHost: site.test\r\nConnection: {named}\r\nContent-Length: 5\r\n\r\nhello")
        response = client.response()
    if named == "Content-Length" and response.status == 400:
        return
    assert response.status == 200
    assert relay.last.body == b"hello"
    assert relay.last.headers.get("Host") == "site.test"
    assert relay.last.headers.get("X-Forwarded-For") == "127.0.0.1"


def test_forwarded_fields_are_set(relay):
    """The server learns the client's address, the scheme and the host, in both notations."""
    relay.get(host="site.test:8080")
    got = relay.last.headers
    assert got.get("X-Forwarded-For") == "127.0.0.1"
    assert got.get("X-Forwarded-Proto") == "http"
    assert got.get("X-Forwarded-Host") == "site.test:8080"
    forwarded = got.get("Forwarded").lower()
    assert "for=127.0.0.1" in forwarded.replace('"', "") and "proto=http" in forwarded and "host=" in forwarded


def test_forwarded_fields_of_a_stranger_are_dropped(relay):
    """A client that is not trusted cannot forge its address."""
    relay.get(headers=[("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.test"), ("Forwarded", "for=6.6.6.6;proto=https;host=evil.test"),
                       ("X-Forwarded-For", "7.7.7.7")])
    got = relay.last.headers
    assert got.get("X-Forwarded-For") == "127.0.0.1"
    assert got.get("X-Forwarded-Proto") == "http"
    assert got.get("X-Forwarded-Host") == "site.test"
    assert "6.6.6.6" not in got.get("Forwarded") and "evil" not in got.get("Forwarded")


def test_forwarded_fields_of_a_trusted_proxy_are_believed(ladle, origin):
    """With trust.forwarded_from, what the proxy before us says is kept and our peer appended."""
    server = origin()
    proxy = ladle(server, {"trust": {"forwarded_from": ["127.0.0.0/8"]}})
    proxy.get(headers=[("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "public.test")])
    got = server.requests[0].headers
    assert got.get("X-Forwarded-For") == "9.9.9.9, 127.0.0.1"
    assert got.get("X-Forwarded-Proto") == "https"
    assert got.get("X-Forwarded-Host") == "public.test"
    assert proxy.access_log(1)[0]["client"] == "9.9.9.9"


def test_only_the_trusted_end_of_the_chain_is_believed(ladle, origin):
    """The client is the last address in X-Forwarded-For that is not itself trusted."""
    proxy = ladle(origin(), {"trust": {"forwarded_from": ["127.0.0.0/8", "10.0.0.0/8"]}})
    proxy.get(headers=[("X-Forwarded-For", "1.1.1.1, 9.9.9.9, 10.0.0.7")])
    assert proxy.access_log(1)[0]["client"] == "9.9.9.9"


def test_ordinary_fields_pass_in_order(relay):
    """Other fields pass unchanged, in order, with their spelling, repeated ones too."""
    sent = [("X-b", "2"), ("x-A", "1"), ("Cookie", "a=b"), ("Cookie", "c=d"), ("X-b", "3"), ("Authorization", "Basic eA=="), ("X-Empty", ""), ("X-Tab", "a\tb")]
    relay.answer = reply(headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("x-LOW", "Y"), ("Server", "origin/1"), ("Date", "Thu, 01 Jan 1970 00:00:00 GMT")])
    response = relay.get(headers=sent)
    names = {name for name, _ in sent}
    assert [field for field in relay.last.headers if field[0] in names] == sent
    assert response.headers.all("Set-Cookie") == ["a=1", "b=2"]
    assert ("x-LOW", "Y") in response.headers
    assert response.headers.get("Server") == "origin/1"
    assert response.headers.get("Date") == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_a_date_is_added_where_there_is_none(relay):
    """A response without Date gets one."""
    assert relay.get().headers.get("Date").endswith(" GMT")


def test_field_values_are_trimmed_not_copied_raw(relay):
    """Whitespace around a value is not passed on."""
    with relay.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nX-Pad: \t  v \t \r\n\r\n")
        client.response()
    assert b"X-Pad: v\r\n" in relay.last.head


def test_a_trusted_proxy_may_say_it_all_in_forwarded(ladle, origin):
    """A trusted proxy's Forwarded gives the client, the scheme and the host to X-Forwarded-* too, so that both tell the same story."""
    server = origin()
    proxy = ladle(server, {"trust": {"forwarded_from": ["127.0.0.1"]}})
    proxy.get(headers=[("Forwarded", "for=9.9.9.9;proto=https;host=ext.test")])
    headers = server.requests[0].headers
    assert headers.get("X-Forwarded-For") == "9.9.9.9, 127.0.0.1"
    assert headers.get("X-Forwarded-Proto") == "https"
    assert headers.get("X-Forwarded-Host") == "ext.test"
    assert headers.get("Forwarded").startswith("for=9.9.9.9;proto=https;host=ext.test, for=127.0.0.1;")


def test_a_stranger_says_nothing_in_forwarded(relay):
    """The same from a stranger changes nothing."""
    relay.get(headers=[("Forwarded", "for=9.9.9.9;proto=https;host=ext.test")])
    headers = relay.last.headers
    assert headers.get("X-Forwarded-For") == "127.0.0.1"
    assert headers.get("X-Forwarded-Proto") == "http"
    assert headers.get("X-Forwarded-Host") == "site.test"
    assert "9.9.9.9" not in headers.get("Forwarded")


def test_a_request_id_is_accepted_or_made(relay):
    """A well-formed X-Request-Id is kept; a malformed one and none are replaced by one that no other request has."""
    relay.get(headers=[("X-Request-Id", "abc-123")])
    assert relay.last.headers.get("X-Request-Id") == "abc-123"
    made = set()
    for given in ([], [], [("X-Request-Id", "a b")], [("X-Request-Id", "x" * 200)], [("X-Request-Id", "a\"b")]):
        relay.get(headers=given)
        made.add(relay.last.headers.get("X-Request-Id"))
    assert len(made) == 5 and all(len(one) == 32 for one in made)


@pytest.mark.parametrize("count", [100, 1000, 10000])
def test_thousands_of_fields_cost_linear_time(ladle, origin, count):
    """Thousands of fields, all named in Connection or none, take linear time of the processor; those named there are dropped."""
    server = origin()
    proxy = ladle(server, {"defence": {"request": {"head": "1MiB", "headers": 10000}}})
    names = [f"X-{number}" for number in range(count // 2)]
    head = "GET / HTTP/1.1\r\nHost: site.test\r\nConnection: " + ", ".join(names) + "\r\n" + "".join(f"{name}: y\r\n" for name in names) + "\r\n"
    worker = proxy.workers()[0]
    before = cpu_seconds(worker)
    with proxy.client() as client:
        client.send(head)
        assert client.response().status == 200
    assert not [name for name, _ in server.requests[-1].headers if name.startswith("X-") and name[2:].isdigit()]
    with proxy.client() as client:
        client.send("GET / HTTP/1.1\r\nHost: site.test\r\n" + "".join(f"{name}: y\r\n" for name in names) + "\r\n")
        assert client.response().status == 200
    assert cpu_seconds(worker) - before < 2
    assert len([name for name, _ in server.requests[-1].headers if name.startswith("X-") and name[2:].isdigit()]) == len(names)
