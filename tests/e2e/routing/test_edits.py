# SPDX-License-Identifier: Apache-2.0
"""Where edits of headers count: every final answer, whoever gives it; interim responses and trailers lose fields and get none."""

import re

import pytest

from tests.harness.h2_client import H2Client
from tests.harness.origin import chunked_reply, reply

EDITS = {"response_set": {"X-Frame-Options": "DENY"}, "response_remove": ["X-Secret", "Server"]}


def site(server, *routes, **more):
    return {"site": {"*": {"upstream": server.url, "route": list(routes), **more}}}


def test_interim_responses_lose_what_is_removed_and_get_nothing_that_is_set(ladle, origin):
    """A 103 goes on without removed fields and without the server's word about set ones; what is set comes with the final answer."""
    server = origin(lambda request: b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Secret: 1\r\nX-Frame-Options: ALLOW\r\n\r\n"
                    + reply(headers=[("X-Secret", "2")]))
    proxy = ladle(None, site(server, headers=EDITS))
    with proxy.client() as client:
        response = client.request()
    interim, = response.interim
    assert (interim.status, interim.headers.get("Link")) == (103, "</a.css>")
    assert not interim.headers.has("X-Secret") and not interim.headers.has("X-Frame-Options")
    assert response.headers.all("X-Frame-Options") == ["DENY"] and not response.headers.has("X-Secret")


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_trailers_of_responses_lose_what_is_removed_or_set(ladle, origin, protocol):
    """A removed field is removed from the trailers as well, and what is set in the head is not said otherwise there."""
    server = origin(lambda request: chunked_reply([b"abc"], trailers=[("X-Sum", "1"), ("X-Secret", "2"), ("X-Frame-Options", "ALLOW")]))
    proxy = ladle(None, site(server, headers=EDITS))
    if protocol == "h1":
        with proxy.client() as client:
            trailers = list(client.request(headers=[("TE", "trailers"), ("Connection", "TE")]).trailers)
    else:
        with H2Client(proxy.address) as client:
            trailers = client.get("GET", "/").trailers
    assert [(name.lower(), value) for name, value in trailers] == [("x-sum", "1")]


@pytest.mark.parametrize("mode", ["full", "stream"])
def test_trailers_of_requests_lose_what_is_removed_or_set(ladle, origin, mode):
    """request_remove and request_set count for the fields behind a body, too: in h1, in h2, and where nothing is left of them."""
    server = origin(lambda request: reply(request.body))
    proxy = ladle(None, site(server, buffer={"request": mode}, headers={"request_remove": ["X-Secret"], "request_set": {"X-Env": "prod"}}))
    for sent, left in [([("X-Sum", "4"), ("x-secret", "5"), ("X-Env", "test")], [("x-sum", "4")]), ([("X-Secret", "5")], [])]:
        with proxy.client() as client:
            lines = "".join(f"{name}: {value}\r\n" for name, value in sent)
            client.send(f"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{lines}\r\n".encode())
            assert client.response().body == b"abc"
        assert [(name.lower(), value) for name, value in server.requests[-1].trailers] == left
        with H2Client(proxy.address) as client:
            stream = client.start("POST", "/", body=b"abc", trailers=[(name.lower(), value) for name, value in sent])
            assert client.response(stream).body == b"abc"
        assert [(name.lower(), value) for name, value in server.requests[-1].trailers] == left


def test_what_no_route_takes_is_edited_as_its_site_says_and_what_no_site_takes_as_the_file_says(ladle, origin):
    """The 404 without a route gets the site's edits, one without a site, and a 400, the file's; a route's own are its own."""
    server = origin(lambda request: reply())
    proxy = ladle(None, {"headers": {"response_set": {"X-Level": "file"}, "response_remove": ["Server"]},
                         "site": {"a.test": {"headers": {"response_set": {"X-Level": "site"}},
                                             "route": [{"path": "/x", "respond": 200, "headers": {"response_set": {"X-Level": "route"}}}]},
                                  "b.test": {"upstream": server.url, "route": [{"path": "/gone", "respond": 404}]}}})
    for host, path, status, level in [("a.test", "/x", 200, ["route"]), ("a.test", "/y", 404, ["site"]), ("c.test", "/", 404, ["file"]),
                                      ("b.test", "/gone", 404, ["file"])]:
        answer = proxy.get(path, host=host)
        assert (answer.status, answer.headers.all("x-level")) == (status, level), (host, path)
        assert not answer.headers.has("Server")
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n")
        answer = client.response()
    assert answer.status == 400 and answer.headers.all("x-level") == ["file"]


def test_grpc_errors_of_ours_are_edited_but_keep_what_they_say(ladle):
    """A call that no server takes gets response_set in its head; its type, grpc-status and grpc-message stay ours."""
    edits = {**EDITS, "response_set": {**EDITS["response_set"], "Content-Type": "text/x", "Grpc-Status": "0", "Grpc-Message": "fine"}}
    proxy = ladle("http://127.0.0.1:9", {"headers": edits})
    with H2Client(proxy.address) as client:
        answer = client.get("POST", "/a/B", headers=[("content-type", "application/grpc"), ("te", "trailers")])
    def all_of(name):
        return [value for known, value in answer.headers if known == name]
    assert all_of("grpc-status") == ["14"] and all_of("grpc-message") == ["Bad Gateway"] and all_of("content-type") == ["application/grpc"]
    assert all_of("x-frame-options") == ["DENY"] and not all_of("server")


@pytest.mark.parametrize("edits,inner", [({"response_set": {"Content-Type": "text/x"}}, b"text/x"),
                                         ({"response_remove": ["Content-Type"]}, None), ({"response_set": {"X-A": "1"}}, b"text/plain")],
                         ids=["set", "removed", "others"])
def test_several_ranges_have_one_content_type(ladle, origin, edits, inner):
    """multipart/byteranges is never edited, from the cache and from a server; the type that is set is that of the cached parts."""
    def answer(request):
        if request.target == "/own":
            return reply(b"--x--", status=206, headers=[("Content-Type", "multipart/byteranges; boundary=x")])
        return reply(b"0123456789", headers=[("Content-Type", "text/plain"), ("Cache-Control", "max-age=60")])
    proxy = ladle(None, site(origin(answer), headers=edits, cache=True))
    assert proxy.get("/").status == 200
    several = proxy.get("/", headers=[("Range", "bytes=0-1,4-5")])
    assert several.status == 206 and len(several.headers.all("Content-Type")) == 1
    boundary = re.match(r"multipart/byteranges; boundary=(\S+)", several.headers.get("Content-Type"))[1].encode()
    parts = several.body.split(b"--" + boundary)[1:-1]
    assert [re.findall(rb"Content-Type: ([^\r]*)\r\n", part) for part in parts] == [[inner] if inner else []] * 2
    own = proxy.get("/own", headers=[("Range", "bytes=0-1,4-5")])
    assert own.headers.all("Content-Type") == ["multipart/byteranges; boundary=x"]


def test_fields_that_are_not_stored_are_edited_with_the_answer_that_fetched_them(ladle, origin):
    """What no-cache="…" keeps out of the cache is edited as the rest is, in the one answer that has it."""
    server = origin(lambda request: reply(headers=[("Cache-Control", 'max-age=60, no-cache="X-Secret, X-Frame-Options, X-Stay"'),
                                                   ("X-Secret", "1"), ("X-Frame-Options", "ALLOW"), ("X-Stay", "2")]))
    proxy = ladle(None, site(server, headers=EDITS, cache=True))
    for stay in (["2"], []):
        headers = proxy.get("/").headers
        assert headers.all("X-Frame-Options") == ["DENY"] and not headers.has("X-Secret")
        assert headers.all("X-Stay") == stay
    assert len(server.requests) == 1
