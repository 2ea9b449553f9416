# SPDX-License-Identifier: Apache-2.0
"""What routes make of requests: strip, rewrite, redirect, headers, split."""

import pytest

from tests.harness.h2_client import H2Client
from tests.harness.origin import reply


def site(server, *routes, **more):
    return {"site": {"*": {"upstream": server.url, "route": list(routes), **more}}}


def test_the_server_gets_the_path_that_strip_and_rewrite_make(ladle, origin):
    """strip and rewrite change the path of their own routes, the query stays; every other path goes on as it came."""
    server = origin(lambda request: reply())
    proxy = ladle(None, site(server, {"path": "/v2/*", "strip": "/v2"},
                             {"path": "/old/*", "rewrite": {"regex": "/old/(\\w+)/(.*)", "to": "/new/$2/$1"}},
                             {"path_regex": "/item/(.*)", "rewrite": {"to": "/item?id=$1"}}))
    for asked, got in {"/v2/a?b=1": "/a?b=1", "/v2/%61/../c": "/c", "/v2//evil.test/x": "/evil.test/x",
                       "/old/x/y/z?q": "/new/y/z/x?q", "/old/none": "/old/none", "/item/5&admin=1?a=b": "/item?id=5%26admin%3D1&a=b",
                       "/%7euser/./x": "/%7euser/./x", "/other": "/other"}.items():
        assert proxy.get(asked).status == 200
        assert server.requests[-1].target == got, asked


def test_a_rewritten_path_has_the_limit_of_paths(ladle, origin):
    """A path that captures make longer than [defence.request] uri is refused with 414, and the server is not asked."""
    server = origin(lambda request: reply())
    proxy = ladle(None, {**site(server, {"path": "/x/*", "rewrite": {"to": "$0$0$0$0"}}),
                         "defence": {"request": {"uri": "1KiB"}}})
    assert proxy.get("/x/" + "a" * 200).status == 200
    assert proxy.get("/x/" + "a" * 500).status == 414
    assert len(server.requests) == 1


def test_redirects_keep_the_host_that_is_written_and_nothing_else_gets_into_them(ladle, origin):
    """A redirect's status and Location are the route's; the path fills in its captures and becomes no host and no header."""
    server = origin(lambda request: reply())
    proxy = ladle(None, site(server, {"path_regex": "/blog(.*)", "redirect": "https://blog.test$1"},
                             {"path": "/moved/*", "redirect": {"to": "/new$0", "status": 302}},
                             {"path_regex": "/to/(.*)", "redirect": {"to": "/$1?", "status": 307}}))
    for asked, status, location in [("/blog/a?b=c", 308, "https://blog.test/a?b=c"), ("/blog", 308, "https://blog.test/"),
                                    ("/blog.evil.test", 308, "https://blog.test/.evil.test"),
                                    ("/blog@evil.test/", 308, "https://blog.test/@evil.test/"),
                                    ("/moved/x?y", 302, "/new/moved/x?y"), ("/to//evil.test?x", 307, "/evil.test"),
                                    ("/to/%0d%0aX:%20y", 307, "/%0D%0AX:%20y"), ("/to/\\evil.test", 307, "/%5Cevil.test")]:
        answer = proxy.get(asked, host="www.test")
        assert (answer.status, answer.headers.get("location")) == (status, location), asked
        assert not answer.headers.has("x")
    assert not server.requests


EDITS = {"request_set": {"X-Env": "prod", "User-Agent": "ladle"}, "request_remove": ["X-Debug"],
         "response_set": {"X-Frame-Options": "DENY"}, "response_remove": ["Server", "X-Powered-By"]}


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_headers_are_edited_on_the_way_to_servers_and_to_clients(ladle, origin, protocol):
    """Set fields take the place of what was sent, removed ones are gone, in HTTP/1.1 and HTTP/2, on misses and on hits."""
    server = origin(lambda request: reply(headers=[("Server", "x"), ("X-Powered-By", "y"), ("X-Frame-Options", "ALLOW"),
                                                   ("X-Stay", "1"), ("Cache-Control", "max-age=60")]))
    proxy = ladle(None, site(server, headers=EDITS, cache=True))
    sent = [("X-Debug", "1"), ("X-Env", "test"), ("x-env", "more"), ("User-Agent", "me"), ("X-Other", "2")]
    for round_number in range(2):
        if protocol == "h1":
            headers = proxy.get("/a", headers=sent).headers
            got = {name.lower(): headers.all(name) for name, _ in headers}
        else:
            with H2Client(proxy.address) as client:
                answer = client.get("GET", "/a", headers=[(name.lower(), value) for name, value in sent])
                got = {}
                for name, value in answer.headers:
                    got.setdefault(name, []).append(value)
        assert got["x-frame-options"] == ["DENY"] and got["x-stay"] == ["1"]
        assert "server" not in got and "x-powered-by" not in got
        assert ("hit" in got["cache-status"][0]) == (round_number == 1)
    assert len(server.requests) == 1
    headers = server.requests[0].headers
    assert headers.all("x-env") == ["prod"] and headers.all("user-agent") == ["ladle"] and headers.all("x-other") == ["2"]
    assert not headers.has("x-debug")


def test_the_cache_keeps_what_the_server_sent(ladle, origin):
    """After a reload with other edits a stored answer is delivered with those: they were never stored."""
    server = origin(lambda request: reply(headers=[("X-A", "server"), ("Cache-Control", "max-age=60")]))
    proxy = ladle(None, site(server, headers={"response_set": {"X-A": "one"}, "response_remove": ["X-B"]}, cache=True))
    assert proxy.get("/").headers.all("x-a") == ["one"]
    proxy.configure({"site": {"*": {"headers": {"response_set": {"X-A": "two"}}}}})
    assert proxy.reload().returncode == 0
    assert proxy.get("/").headers.all("x-a") == ["two"]
    proxy.configure({"site": {"*": {"headers": None}}})
    assert proxy.reload().returncode == 0
    assert proxy.get("/").headers.all("x-a") == ["server"]
    assert len(server.requests) == 1


def test_answers_of_ladles_own_are_edited_too(ladle):
    """Error pages, fixed answers and redirects get what response_set says, but keep their type and their Location."""
    proxy = ladle("http://127.0.0.1:9", {"headers": {"response_set": {"X-Frame-Options": "DENY", "Content-Type": "x/y", "Location": "/z"},
                                                     "response_remove": ["Server"]},
                                         "site": {"*": {"route": [{"path": "/fixed", "respond": 200},
                                                                  {"path": "/moved", "redirect": "/there"}]}}})
    for path, status in [("/", 502), ("/fixed", 200), ("/moved", 308)]:
        answer = proxy.get(path)
        assert answer.status == status
        assert answer.headers.all("x-frame-options") == ["DENY"] and not answer.headers.has("server")
        assert "text/" in answer.headers.get("content-type")
    assert answer.headers.all("location") == ["/there"]


def test_a_split_gives_each_client_one_upstream_and_keeps_the_shares(ladle, origin):
    """Of many clients about the given share gets the canary, and each always the same, in both workers and after a reload."""
    servers = {name: origin(reply(name.encode())) for name in ("api", "canary")}
    proxy = ladle(None, {"server": {"workers": 2}, "trust": {"forwarded_from": ["127.0.0.0/8"]},
                         "upstream": {name: {"servers": [server.url]} for name, server in servers.items()},
                         "site": {"*": {"route": [{"name": "split", "split": {"api": 70, "canary": 30}}]}}})
    def ask(number):
        return proxy.get("/", headers=[("X-Forwarded-For", f"10.0.{number}.1")]).body.decode()
    first = [ask(number) for number in range(100)]
    assert 15 <= first.count("canary") <= 45
    assert proxy.reload().returncode == 0
    assert [ask(number) for number in range(100)] == first


def test_a_split_by_cookie_goes_with_the_cookie_and_caches_apart(ladle, origin):
    """With split_by a session keeps its upstream whatever its address; what one upstream answered is not given to the other's clients."""
    servers = {name: origin(reply(name.encode(), headers=[("Cache-Control", "max-age=60")]))
               for name in ("a", "b")}
    proxy = ladle(None, {"trust": {"forwarded_from": ["127.0.0.0/8"]},
                         "upstream": {name: {"servers": [server.url]} for name, server in servers.items()},
                         "site": {"*": {"cache": True, "route": [{"name": "s", "split": {"a": 1, "b": 1}, "split_by": "cookie:sid"}]}}})
    def ask(session, client):
        return proxy.get("/", headers=[("X-Forwarded-For", client), ("Cookie", f"x=1; sid={session}")]).body
    seen = {session: ask(session, "10.0.0.1") for session in range(12)}
    assert set(seen.values()) == {b"a", b"b"}
    for session, body in seen.items():
        assert ask(session, "192.0.2.77") == body
    assert [len(server.requests) for server in servers.values()] == [1, 1]


def test_check_shows_an_example_of_each_change(ladle):
    """`check` prints what each route that changes paths makes of one."""
    proxy = ladle("http://127.0.0.1:9", {"site": {"*": {"route": [
        {"path": "/v2/*", "strip": "/v2"}, {"path_regex": "/blog/(.*)", "redirect": "https://blog.test/$1"}]}}}, start=False)
    good = proxy.command("check")
    assert good.returncode == 0
    assert '* "/v2/*": /v2/example -> /example\n' in good.stdout
    assert '* "/blog/(.*)": /blog/example -> 308 https://blog.test/example\n' in good.stdout
