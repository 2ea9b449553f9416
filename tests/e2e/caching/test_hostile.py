# SPDX-License-Identifier: Apache-2.0
"""Clients that would poison, empty or hold up the cache, and servers that lie."""

import os
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply

FRESH = [("Cache-Control", "max-age=3600"), ("ETag", '"one"')]
MANY_NAMES = ", ".join([f"X-{i}" for i in range(40)] + ["X-Who"])


def metric(proxy, name):
    return proxy.status()["metrics"][name]


class Together:
    """A server's part: lets the first request pass, and holds the others until so many are there at once."""

    def __init__(self, count):
        self.first, self.others = threading.Event(), threading.Barrier(count, timeout=waiting.PATIENCE)

    def wait(self):
        if self.first.is_set():
            self.others.wait()
        self.first.set()


def at_once(count, ask):
    """Runs ask() so many times at once; what each returned."""
    results = []
    clients = [threading.Thread(target=lambda: results.append(ask())) for _ in range(count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return results


@pytest.mark.parametrize("vary", [MANY_NAMES, "X-Who; x", "X Who", '"X-Who"', "X-Who, *"])
def test_a_vary_that_is_not_understood_is_not_shared(caching, vary):
    """More names than are told apart, or none that is a name: like Vary: * (RFC 9111 §4.1), whoever asks gets his own."""
    def answer(request, connection):
        connection.send(reply((request.headers.get("X-Who") or "").encode(), headers=FRESH + [("Vary", vary)]))
    proxy, server = caching(answer)
    for who in ("alice", "bob", "alice"):
        assert proxy.get("/", headers=[("X-Who", who)]).body == who.encode()
    assert len(server.requests) == 3


def test_a_validation_that_brings_a_vary_is_not_shared(caching):
    """A 304 says that the response varies, which it did not when it was stored: it is not the answer to all any more."""
    def answer(request, connection):
        if request.headers.get("If-None-Match"):
            connection.send(reply(b"", 304, headers=FRESH + [("Vary", "X-Who")], length=False))
        else:
            who = (request.headers.get("X-Who") or "").encode()
            connection.send(reply(who, headers=[("Cache-Control", "max-age=1"), ("ETag", '"one"')]))
    proxy, _ = caching(answer)
    assert proxy.get("/", headers=[("X-Who", "alice")]).body == b"alice"
    time.sleep(1.2)
    proxy.get("/", headers=[("X-Who", "alice")])
    assert proxy.get("/", headers=[("X-Who", "bob")]).body == b"bob"


@pytest.mark.parametrize("option", ["X-Who", "close, x-who"])
def test_a_field_that_the_server_does_not_see_tells_nothing_apart(caching, option):
    """Connection names the field by which the response varies, so the server answers as if it were not there (poisoning)."""
    def answer(request, connection):
        connection.send(reply((request.headers.get("X-Who") or "nobody").encode(), headers=FRESH + [("Vary", "X-Who")]))
    proxy, _ = caching(answer)
    with proxy.client() as client:
        assert client.request(headers=[("X-Who", "alice"), ("Connection", option)]).body == b"nobody"
    assert proxy.get("/", headers=[("X-Who", "alice")]).body == b"alice"
    assert proxy.get("/").body == b"nobody"


def test_a_field_of_the_key_that_the_server_does_not_see(caching):
    """The same for a field that the key names."""
    def answer(request, connection):
        connection.send(reply((request.headers.get("X-Who") or "nobody").encode(), headers=FRESH))
    proxy, _ = caching(answer, cache={"key": ["host", "path", "query", "header:X-Who"]})
    with proxy.client() as client:
        assert client.request(headers=[("X-Who", "alice"), ("Connection", "X-Who")]).body == b"nobody"
    assert proxy.get("/", headers=[("X-Who", "alice")]).body == b"alice"


OVERRIDES = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"]


def overridden(request):
    """A server that believes such a field, whatever its case."""
    values = [request.headers.get(name) for name in OVERRIDES]
    return reply(next((value for value in values if value), "plain").encode(), headers=FRESH)


@pytest.mark.parametrize("name", [*OVERRIDES, "x-original-URL"])
def test_what_overrides_the_request_goes_past_the_cache(caching, name):
    """Neither stored in the place of the plain request's answer, nor answered by it."""
    proxy, server = caching(overridden)
    poisoned = proxy.get("/", headers=[(name, "evil")])
    assert poisoned.body == b"evil" and poisoned.headers.get("Cache-Status") == "ladle; fwd=bypass; detail=override"
    assert proxy.get("/").body == b"plain"
    assert proxy.get("/").headers.get("Cache-Status").startswith("ladle; hit") and len(server.requests) == 2
    assert proxy.get("/", headers=[(name, "evil")]).body == b"evil"
    assert proxy.get("/").body == b"plain" and len(server.requests) == 3


@pytest.mark.parametrize("name", ["X_Original_URL", "x-http_method-override"])
def test_what_looks_like_an_override_does_not_reach_the_server(caching, name):
    """To a server that makes variables of names (CGI, WSGI) it would be one."""
    proxy, server = caching(overridden)
    assert proxy.get("/", headers=[(name, "evil"), ("X-Other_Name", "stays")]).status == 200
    names = [sent for sent, _ in server.requests[0].headers]
    assert name.lower() not in [sent.lower() for sent in names] and "X-Other_Name" in names


def test_what_overrides_a_post_is_not_stored(caching):
    """Nor is the answer to a POST, which says that it is what its URL shows."""
    def answer(request):
        return reply(b"evil" if request.method == "POST" else b"plain", headers=FRESH + [("Content-Location", "/")])
    proxy, _ = caching(answer)
    for headers, body in (([], b"evil"), ([("X-Original-URL", "/admin")], b"plain")):
        assert proxy.get("/", "POST", body=b"x", headers=headers).body == b"evil"
        assert proxy.get("/").body == body


def test_what_overrides_and_is_in_the_key_is_cached(caching):
    """The route says that its servers do that."""
    proxy, server = caching(overridden, cache={"key": ["host", "path", "query", "header:X-Original-URL"]})
    for _ in range(2):
        assert proxy.get("/", headers=[("X-Original-URL", "/other")]).body == b"/other"
        assert proxy.get("/").body == b"plain"
        assert proxy.get("/", headers=[("X-Rewrite-URL", "evil")]).body == b"evil"
    assert len(server.requests) == 4


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Request-Id"])
def test_what_varies_by_a_field_of_ours_is_not_shared(caching, name):
    """The server decides by a field that we write, for each client or request another: the client's own text says nothing."""
    def answer(request, connection):
        connection.send(reply(request.headers.get(name).encode(), headers=FRESH + [("Vary", name)]))
    proxy, server = caching(answer)
    proxy.get("/")
    with proxy.client(source="127.0.0.9") as client:
        body = client.request().body
    assert body == server.requests[-1].headers.get(name).encode() and len(server.requests) == 2


def test_a_head_brings_nothing_purged_back(caching):
    """PURGE, then HEAD: the answer says that the stored response is current, but it was purged and stays so."""
    bodies = [b"old", b"new"]

    def answer(request, connection):
        headers = [("Cache-Control", "max-age=3600")]
        if request.method == "HEAD":
            connection.send(reply(b"", headers=headers + [("Content-Length", "3")], length=False))
        else:
            connection.send(reply(bodies.pop(0), headers=headers))
    proxy, _ = caching(answer)
    assert proxy.get("/").body == b"old" and proxy.get("/", "PURGE").status == 200
    assert proxy.get("/", "HEAD").status == 200
    assert proxy.get("/").body == b"new"


@pytest.mark.parametrize("header", [("Range", "bytes=0-0,5-6"), ("Range", "lines=1-2"), ("Range", "bytes=9000-"), ("Range", "bytes=-0")])
def test_an_odd_range_spoils_nothing_for_others(caching, header):
    """What a server answers to it is not storable; that says nothing about the URL, and others are still collapsed."""
    def answer(request, connection):
        if request.headers.get("Range"):
            boundary = b"--x\r\nContent-Range: bytes 0-0/9\r\n\r\n1\r\n--x--\r\n"
            multiple = [("Content-Type", "multipart/byteranges; boundary=x")]
            connection.send(reply(boundary, 206, headers=FRESH + multiple) if "," in header[1] else reply(b"", 416))
            return
        time.sleep(0.4)
        connection.send(reply(b"123456789", headers=FRESH))
    proxy, server = caching(answer)
    proxy.get("/", headers=[header])
    before = len(server.requests)
    assert [response.body for response in at_once(9, proxy.get)] == [b"123456789"] * 9
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("control", ["no-cache", "max-age=0"])
def test_what_is_always_validated_queues_nobody(caching, control):
    """Stored, but to be validated each time: simultaneous requests do not wait for each other, all are at the server at once."""
    together = Together(12)

    def answer(request, connection):
        together.wait()
        known = request.headers.get("If-None-Match")
        connection.send(reply(b"" if known else b"body", 304 if known else 200, length=not known,
                              headers=[("Cache-Control", control), ("ETag", '"one"')]))
    proxy, _ = caching(answer)
    proxy.get("/")
    assert [response.body for response in at_once(12, proxy.get)] == [b"body"] * 12


def test_reloading_clients_queue_nobody(caching):
    """The same where it is the clients who say no-cache."""
    together = Together(12)

    def answer(request, connection):
        together.wait()
        connection.send(reply(b"body", headers=FRESH))
    proxy, _ = caching(answer)
    proxy.get("/")
    answers = at_once(12, lambda: proxy.get("/", headers=[("Cache-Control", "no-cache")]))
    assert [response.body for response in answers] == [b"body"] * 12


@pytest.mark.parametrize("status,header", [(400, "X-Bad"), (401, "Authorization"), (429, "X-Bad"), (404, "X-Bad")])
def test_a_client_cannot_drive_out_what_is_stored(caching, status, header):
    """A reload with a field at which the server takes offence: the stored response answers the others as before."""
    def answer(request, connection):
        refusal = reply(b"no", status, headers=[("Cache-Control", "no-store")])
        connection.send(refusal if request.headers.get(header) else reply(b"good", headers=FRESH))
    proxy, server = caching(answer)
    proxy.get("/")
    assert proxy.get("/", headers=[("Cache-Control", "no-cache"), (header, "Basic eDp5")]).status == status
    assert proxy.get("/").body == b"good"
    assert len(server.requests) == (3 if status == 404 else 2)


def test_purge_does_not_read_its_body_as_a_request(caching):
    """What stands behind the head of a PURGE is its body, and no second request."""
    proxy, server = caching(reply(headers=FRESH))
    inner = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"
    with proxy.client() as client:
        client.send(b"PURGE / HTTP/1.1\r\nHost: site.test\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner)
        assert client.response("PURGE").status == 200
    assert proxy.get("/ok").status == 200
    assert [request.target for request in server.requests] == ["/ok"]


def test_a_purge_during_a_fill_counts(caching):
    """The object whose body was on its way when its URL was purged answers nobody afterwards."""
    go = threading.Event()

    def answer(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nCache-Control: max-age=3600\r\n\r\n" + b"a" * 50_000)
        go.wait(60)
        connection.send(b"b" * 50_000)
    proxy, server = caching(answer)
    filler = threading.Thread(target=proxy.get)
    filler.start()
    waiting.until(lambda: metric(proxy, "cache_fills_open") == 1, "the fill to begin")
    assert proxy.get("/", "PURGE").status == 200
    go.set()
    filler.join()
    assert len(proxy.get("/").body) == 100_000 and len(server.requests) == 2


def test_a_content_range_that_has_no_meaning(caching):
    """In a 200 it says nothing (RFC 9110 §14.4); a range of what is stored has one Content-Range, and that is right."""
    proxy, _ = caching(reply(b"0123456789", headers=FRESH + [("Content-Range", "bytes 0-9/99")]))
    proxy.get("/")
    part = proxy.get("/", headers=[("Range", "bytes=2-3")])
    assert (part.status, part.body, part.headers.all("Content-Range")) == (206, b"23", ["bytes 2-3/10"])


@pytest.mark.parametrize("count", [300, 5000])
def test_every_tag_purges(caching, count):
    """However many tags a response has: a purge by the last of them reaches it, or it was not stored."""
    proxy, server = caching(reply(headers=FRESH + [("Cache-Tag", ",".join(f"t{i}" for i in range(count)))]))
    proxy.get("/")
    proxy.get("/")
    before = len(server.requests)
    assert before == (1 if count == 300 else 2)
    assert proxy.command("purge", "--tag", f"t{count - 1}").returncode == 0
    proxy.get("/")
    assert len(server.requests) == before + 1


@pytest.mark.parametrize("wanted", ["bytes=150000-150009", "bytes=190000-190009,0-9", "bytes=-10"])
@pytest.mark.parametrize("size", [40_000, 200_000])
def test_a_range_that_has_not_come_yet_is_waited_for(caching, wanted, size):
    """Of an object that is being filled, bytes behind what is there: the client is sent them once they are."""
    body = bytes(i % 251 for i in range(size))
    wanted = wanted if size > 100_000 else wanted.replace("0000-", "000-").replace("0009", "009")

    go = threading.Event()

    def answer(request, connection):
        connection.send(reply(b"", headers=FRESH + [("Content-Length", str(size))], length=False) + body[: size // 4])
        go.wait(60)
        connection.send(body[size // 4 :])
    proxy, server = caching(answer)
    filler = threading.Thread(target=proxy.get)
    filler.start()
    waiting.until(lambda: metric(proxy, "cache_fills_open") == 1, "the fill to begin")
    threading.Timer(0.7, go.set).start()
    response = proxy.get("/", headers=[("Range", wanted)])
    filler.join()
    last = wanted.split("=")[1].split(",")[0]
    first, end = (size - 10, size) if last == "-10" else (int(last.split("-")[0]), int(last.split("-")[1]) + 1)
    assert response.status == 206 and body[first:end] in response.body
    assert len(server.requests) == 1


def test_clients_that_stop_reading_hold_the_cache_up_for_nobody(caching):
    """What they were being sent is evicted meanwhile: others are served, the memory comes back with `stall`, and storing goes on."""
    bodies = {f"/{i}": os.urandom(900_000) for i in range(60)}

    def answer(request, connection):
        connection.send(reply(bodies[request.target], headers=FRESH))
    proxy, server = caching(answer, settings={"cache": {"memory": "8MiB"}, "timeouts": {"stall": "2s"}})
    stopped = []
    try:
        for i in range(20):
            stopped.append(proxy.client(receive_buffer=4096, timeout=20))
            stopped[-1].send(f"GET /{i} HTTP/1.1\r\nHost: site.test\r\n\r\n")
        for target, body in bodies.items():
            assert proxy.get(target).body == body
        waiting.until(lambda: proxy.status()["cache"]["leaving"] == 0 and proxy.status()["cache"]["dead_files"] == 0, "the memory to come back", 10)
        asked = len(server.requests)
        assert [proxy.get("/59").body == bodies["/59"] for _ in range(3)] == [True] * 3
        assert len(server.requests) <= asked + 1
    finally:
        for client in stopped:
            client.close()
