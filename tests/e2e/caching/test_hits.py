# SPDX-License-Identifier: Apache-2.0
"""What is stored answers without the server, in all workers; what is not says why."""

import os
import re
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import chunked_reply, reply

FRESH = [("Cache-Control", "max-age=3600"), ("ETag", '"one"')]


def status_of(response):
    return response.headers.get("Cache-Status")


def metric(proxy, name):
    return proxy.status()["metrics"][name]


@pytest.mark.parametrize("size", [0, 1, 1024, 70_000, 3 << 20])
def test_a_stored_response_needs_no_server(caching, size):
    """Of any size, by any worker: one request to the server, the same bytes to every client."""
    body = os.urandom(size)
    proxy, server = caching(reply(body, headers=FRESH))
    first = proxy.get("/a")
    assert first.body == body and status_of(first).startswith("ladle; fwd=uri-miss; stored")
    for _ in range(9):
        hit = proxy.get("/a")
        assert (hit.status, hit.body) == (200, body) and status_of(hit).startswith("ladle; hit; ttl=")
        assert int(hit.headers.get("Age")) <= 5 and hit.headers.get("ETag") == '"one"' and hit.headers.get("Content-Length") == str(size)
    assert len(server.requests) == 1
    assert metric(proxy, "cache_hits") == 9 and metric(proxy, "cache_misses") == 1 and metric(proxy, "cache_stored") == 1


@pytest.mark.parametrize("pieces", [[b"one"], [b"x" * 1000] * 10, [b"y" * 50_000] * 30])
def test_a_body_without_a_length_is_stored(caching, pieces):
    """A chunked response becomes one with a length once it is whole."""
    proxy, server = caching(chunked_reply(pieces, headers=FRESH))
    assert proxy.get("/").body == b"".join(pieces)
    waiting.until(lambda: metric(proxy, "cache_stored") == 1, "the response to be stored")
    hit = proxy.get("/")
    assert hit.body == b"".join(pieces) and hit.headers.get("Content-Length") == str(len(hit.body))
    assert len(server.requests) == 1


def test_a_head_is_answered_from_what_a_get_stored(caching):
    """HEAD: the same fields, with the length, without the body."""
    proxy, server = caching(reply(b"12345", headers=FRESH))
    proxy.get("/")
    head = proxy.get("/", "HEAD")
    assert head.status == 200 and head.headers.get("Content-Length") == "5" and status_of(head).startswith("ladle; hit")
    assert len(server.requests) == 1


@pytest.mark.parametrize("control,detail", [("no-store", "no-store"), ("private", "private")])
def test_what_is_not_stored_says_why(caching, control, detail):
    """Every request goes to the server, and the field names the reason."""
    proxy, server = caching(reply(headers=[("Cache-Control", control)]))
    for _ in range(3):
        response = proxy.get("/")
        assert status_of(response) == f"ladle; fwd=uri-miss; detail={detail}"
    assert len(server.requests) == 3


def test_what_is_asked_for_often_is_kept(caching):
    """min_uses counts the requests of all workers together."""
    proxy, server = caching(reply(b"body", headers=FRESH), cache={"min_uses": 4})
    said = [status_of(proxy.get("/")) for _ in range(5)]
    assert said[:3] == ["ladle; fwd=uri-miss; detail=min-uses"] * 3
    assert said[3].startswith("ladle; fwd=uri-miss; stored") and said[4].startswith("ladle; hit")
    assert len(server.requests) == 4


def test_only_if_cached(caching):
    """A client that wants nothing but what is stored gets 504, and the server no request (RFC 9111 §5.2.1.7)."""
    proxy, server = caching(reply(headers=FRESH))
    assert proxy.get("/", headers=[("Cache-Control", "only-if-cached")]).status == 504
    assert len(server.requests) == 0
    proxy.get("/")
    assert proxy.get("/", headers=[("Cache-Control", "only-if-cached")]).status == 200


def test_many_at_once_are_one_request(caching):
    """Simultaneous misses over all workers: the server gets one request, everybody the bytes as they come."""
    go = threading.Event()

    def slowly(request, connection):
        go.wait(60)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nCache-Control: max-age=3600\r\n\r\n" + b"a" * 100_000)
        time.sleep(0.5)
        connection.send(b"b" * 100_000)
    proxy, server = caching(slowly)
    bodies = []
    clients = [threading.Thread(target=lambda: bodies.append(proxy.get("/").body)) for _ in range(60)]
    for client in clients:
        client.start()
    waiting.until(lambda: metric(proxy, "cache_waits") == 59, "all of them to wait")
    go.set()
    for client in clients:
        client.join(20)
    assert bodies == [b"a" * 100_000 + b"b" * 100_000] * 60
    assert len(server.requests) == 1


def test_an_uncacheable_answer_holds_up_nobody(caching):
    """Once a URL is known not to be storable, its requests do not wait for each other: all of them are at the server before it answers one."""
    go = threading.Event()

    def answer(request, connection):
        if len(server.requests) > 1:
            go.wait(60)
        connection.send(reply(headers=[("Cache-Control", "no-store")]))
    proxy, server = caching(answer)
    proxy.get("/")
    clients = [threading.Thread(target=proxy.get) for _ in range(12)]
    for client in clients:
        client.start()
    try:
        server.wait_requests(13)
    finally:
        go.set()
        for client in clients:
            client.join()
    assert len(server.requests) == 13


def test_a_fill_goes_on_without_its_client(caching):
    """The client that caused it leaves; what it asked for is stored all the same."""
    go = threading.Event()

    def slowly(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nCache-Control: max-age=3600\r\n\r\n" + b"a" * 50_000)
        go.wait(60)
        connection.send(b"b" * 50_000)
    proxy, server = caching(slowly)
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: metric(proxy, "cache_fills_open") == 1, "the fill to begin")
        client.reset()
    waiting.until(lambda: metric(proxy, "ended_client_left") == 1, "the client to have left")
    go.set()
    waiting.until(lambda: metric(proxy, "cache_stored") == 1, "the response to be stored")
    assert proxy.get("/").body == b"a" * 50_000 + b"b" * 50_000 and len(server.requests) == 1
    assert metric(proxy, "cache_fills") == 1 and metric(proxy, "cache_fills_open") == 0


def test_a_cut_response_is_not_kept(caching):
    """The server ends in the middle: the client's answer is cut, nothing is stored, the next request asks again."""
    def cut(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nCache-Control: max-age=3600\r\n\r\n" + b"a" * 50_000)
        time.sleep(0.2)
        connection.close()
    proxy, server = caching(cut)
    for count in (1, 2):
        with proxy.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
            assert len(client.drain()[0]) < 51_000
        assert len(server.requests) == count
    assert metric(proxy, "cache_fills_aborted") == 2 and metric(proxy, "cache_stored") == 0


def test_a_body_that_the_cache_cannot_hold_arrives_whole(caching):
    """Without a length, and larger than an object may be: its client still gets every byte."""
    pieces = [os.urandom(100_000) for _ in range(60)]
    proxy, _ = caching(chunked_reply(pieces, headers=FRESH), cache={"max": "1MiB"})
    response = proxy.get("/")
    assert response.body == b"".join(pieces)
    assert metric(proxy, "cache_fills_aborted") == 1 and metric(proxy, "cache_stored") == 0


def test_validation_and_background_validation(caching):
    """A stale response is validated with its ETag: at once, or, within stale-while-revalidate, behind the client's back."""
    def answer(request, connection):
        known = request.headers.get("If-None-Match") == '"one"'
        headers = [("Cache-Control", "max-age=1" + (", stale-while-revalidate=60" if request.target == "/swr" else "")), ("ETag", '"one"')]
        connection.send(reply(b"" if known else b"body", 304 if known else 200, headers=headers, length=not known))
    proxy, server = caching(answer)
    proxy.get("/")
    proxy.get("/swr")
    time.sleep(1.2)
    response = proxy.get("/")
    assert response.body == b"body" and status_of(response).startswith("ladle; fwd=stale; fwd-status=304; stored")
    assert metric(proxy, "cache_validated") == 1 and metric(proxy, "cache_background") == 0
    stale = proxy.get("/swr")
    assert stale.body == b"body" and int(stale.headers.get("Age")) >= 1
    waiting.until(lambda: metric(proxy, "cache_validated") == 2, "the validation in the background")
    assert metric(proxy, "cache_background") == 1 and metric(proxy, "cache_stale_hits") == 1
    assert len(server.requests) == 4 # the next may be stale again already, on a slow machine
    waiting.until(lambda: int(proxy.get("/swr").headers.get("Age")) == 0, "one that was just validated")


@pytest.mark.parametrize("how", ["status", "gone"])
def test_stale_stands_in_for_a_failing_server(caching, how):
    """With stale-if-error for an error's status; without more, when no server answers at all (RFC 5861 §4, RFC 9111 §4.2.4)."""
    state = {"fails": False}

    def answer(request, connection):
        if not state["fails"]:
            connection.send(reply(b"good", headers=[("Cache-Control", "max-age=1, stale-if-error=60")]))
        elif how == "status":
            connection.send(reply(b"bad", status=503))
        else:
            connection.close()
    proxy, _ = caching(answer)
    proxy.get("/")
    time.sleep(1.2)
    state["fails"] = True
    response = proxy.get("/")
    assert (response.status, response.body) == (200, b"good") and "fwd=stale" in status_of(response)
    assert metric(proxy, "cache_stale_on_error") == 1


def test_unsafe_requests_invalidate(caching):
    """A POST that succeeds makes what is stored for its URL, and for its Location, unusable (RFC 9111 §4.4)."""
    def answer(request, connection):
        location = [("Location", "/other")] if request.method == "POST" else []
        connection.send(reply(request.target.encode(), headers=FRESH + location))
    proxy, server = caching(answer)
    for target in ("/a", "/other", "/third"):
        proxy.get(target)
    proxy.get("/a", "POST", body=b"x")
    assert len(server.requests) == 4 and metric(proxy, "cache_invalidated") == 2
    for target, count in (("/a", 5), ("/other", 6), ("/third", 6)):
        proxy.get(target)
        assert len(server.requests) == count


def test_an_invalidated_fetch_is_not_stored(caching):
    """A POST while the URL is being fetched: what that fetch brings is from before, and not kept."""
    go = threading.Event()

    def answer(request, connection):
        if request.method == "GET" and len(server.requests) == 1:
            go.wait(60)
        connection.send(reply(b"old" if len(server.requests) < 3 else b"new", headers=FRESH))
    proxy, server = caching(answer)
    first = threading.Thread(target=proxy.get)
    first.start()
    server.wait_requests(1)
    proxy.get("/", "POST", body=b"x")
    go.set()
    first.join()
    assert proxy.get("/").body == b"new" and len(server.requests) == 3


def test_requests_that_change_things_leave_the_rest_alone(caching):
    """However many POSTs there are, to whatever URLs: what they are not about stays."""
    proxy, server = caching(reply(headers=FRESH))
    proxy.get("/page")
    with proxy.client(timeout=30) as client:
        for batch in range(200):
            client.send(b"".join(b"POST /x?%d HTTP/1.1\r\nHost: site.test\r\nContent-Length: 0\r\n\r\n" % (batch * 50 + i) for i in range(50)))
            for _ in range(50):
                client.response()
    assert metric(proxy, "cache_invalidated") == 10_000
    hits = metric(proxy, "cache_hits")
    proxy.get("/page")
    assert metric(proxy, "cache_hits") == hits + 1


@pytest.mark.parametrize("kind", ["chunked", "to the end"])
def test_nobody_is_cut_where_the_cache_has_no_room(caching, kind):
    """Simultaneous clients of a body without a length that is larger than the cache takes: every one gets every byte."""
    body = os.urandom(6 << 20)

    def answer(request, connection):
        if kind == "chunked":
            connection.send(chunked_reply([body[at : at + 100_000] for at in range(0, len(body), 100_000)], headers=FRESH[:1]))
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\n\r\n" + body)
            connection.close()
    proxy, _ = caching(answer, cache={"max": "2MiB"})
    for _ in range(2):
        bodies = []
        clients = [threading.Thread(target=lambda: bodies.append(proxy.get("/").body)) for _ in range(12)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(30)
        assert [found == body for found in bodies] == [True] * 12


def test_variants(caching):
    """Each variant is stored by itself, and equal meanings share one; a purge takes all of them."""
    def answer(request, connection):
        connection.send(reply((request.headers.get("Accept-Encoding") or "none").encode(), headers=FRESH + [("Vary", "Accept-Encoding")]))
    proxy, server = caching(answer)
    for _ in range(2):
        for coding in ("gzip", "br", "identity"):
            assert proxy.get("/", headers=[("Accept-Encoding", coding)]).body == coding.encode()
    assert len(server.requests) == 3
    assert proxy.get("/", headers=[("Accept-Encoding", "GZIP")]).body == b"gzip" and len(server.requests) == 3
    assert proxy.get("/", "PURGE").status == 200 and metric(proxy, "cache_purges") == 1
    proxy.get("/", headers=[("Accept-Encoding", "br")])
    proxy.get("/", headers=[("Accept-Encoding", "gzip")])
    assert len(server.requests) == 5


def test_purge_is_for_those_who_may(caching):
    """The method PURGE from an address that is not in the route's list: 403, and nothing is purged."""
    proxy, server = caching(reply(headers=FRESH), cache={"purge": ["192.0.2.0/24"]})
    proxy.get("/")
    assert proxy.get("/", "PURGE").status == 403
    proxy.get("/")
    assert len(server.requests) == 1


def test_ranges(caching):
    """Of a stored response: one, several, one that cannot be met, and If-Range with another validator."""
    body = bytes(range(200))
    proxy, server = caching(reply(body, headers=FRESH + [("Content-Type", "image/x")]))
    proxy.get("/")
    one = proxy.get("/", headers=[("Range", "bytes=10-19")])
    assert (one.status, one.body, one.headers.get("Content-Range")) == (206, body[10:20], "bytes 10-19/200")
    several = proxy.get("/", headers=[("Range", "bytes=0-9,50-59")])
    boundary = re.match(r"multipart/byteranges; boundary=(\S+)", several.headers.get("Content-Type"))[1].encode()
    assert several.status == 206 and body[0:10] in several.body and body[50:60] in several.body and several.body.endswith(b"--" + boundary + b"--\r\n")
    unmet = proxy.get("/", headers=[("Range", "bytes=500-")])
    assert (unmet.status, unmet.headers.get("Content-Range")) == (416, "bytes */200")
    whole = proxy.get("/", headers=[("Range", "bytes=0-9"), ("If-Range", '"other"')])
    assert (whole.status, whole.body) == (200, body)
    assert len(server.requests) == 1


def test_conditions(caching):
    """304 and 412 from the cache."""
    proxy, server = caching(reply(b"body", headers=FRESH))
    proxy.get("/")
    same = proxy.get("/", headers=[("If-None-Match", '"one"')])
    assert (same.status, same.body, same.headers.get("ETag")) == (304, b"", '"one"')
    assert proxy.get("/", headers=[("If-None-Match", '"two"')]).status == 200
    assert proxy.get("/", headers=[("If-Match", '"two"')]).status == 412
    assert len(server.requests) == 1


def test_what_is_stored_survives_its_processes(caching):
    """A killed worker, a reload and an upgrade lose nothing."""
    body = os.urandom(300_000)
    proxy, server = caching(reply(body, headers=FRESH))
    proxy.get("/")
    killed = proxy.wait_workers(3).values()
    for pid in killed:
        os.kill(pid, 9)
    proxy.wait_workers(3, without=killed)
    assert proxy.get("/").body == body
    assert proxy.reload().returncode == 0 and proxy.get("/").body == body
    assert proxy.command("upgrade").returncode == 0 and proxy.get("/").body == body
    assert len(server.requests) == 1
