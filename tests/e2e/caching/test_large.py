# SPDX-License-Identifier: Apache-2.0
"""What is too large for memory is kept on disk alone: fetched there in the background, served from there block by block, and never a
wrong byte of it."""

import functools
import hashlib
import os
import re
import signal
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.ladle import open_files
from tests.harness.origin import reply

from .disk_tier import crash, disk, end, files, kill, metric, restart, was_read

SIZE = 5_000_003
BLOCK = 65536
TARGET = f"/{SIZE}/video"
LONG = "/30000000/long"  # more than all buffers on the way


@functools.lru_cache(maxsize=16)
def body_of(target, size):
    """Bytes that only this target has."""
    return hashlib.shake_128(target.encode()).digest(size)


BODY = body_of(TARGET, SIZE)

class Videos:
    """/SIZE/NAME, with an ETag; answers conditions and single ranges. What tests change: version, control, before (a function)."""

    def __init__(self):
        self.version, self.control, self.more, self.before, self.whole = 1, "max-age=3600", [], None, []

    def body(self, target):
        return body_of(f"{target}" if self.version == 1 else f"{target}#{self.version}", int(target.split("/")[1]))

    def __call__(self, request, connection):
        headers = [("Cache-Control", self.control), ("ETag", f'"v{self.version}"'), ("Surrogate-Key", "videos"), ("Accept-Ranges", "bytes"), *self.more]
        if request.headers.get("If-None-Match") == f'"v{self.version}"':
            return reply(b"", 304, headers=headers, length=False)
        if request.method == "POST":
            return reply(b"changed")
        body = self.body(request.target)
        if request.method == "HEAD":
            return reply(body, headers=headers)[: -len(body)]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if asked and request.headers.get("If-Range") in (None, f'"v{self.version}"'):
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            return reply(body[first : last + 1], 206, headers=[*headers, ("Content-Range", f"bytes {first}-{last}/{len(body)}")])
        self.whole.append(request)
        if self.before:
            return self.before(len(self.whole), reply(body, headers=headers), connection)
        return reply(body, headers=headers)


@pytest.fixture
def large(ladle, origin):
    """large(workers=2, settings={}) → (proxy, server, videos): 8 MiB of memory, so that 5 MB are too large for it."""
    def make(workers=2, settings=None):
        videos = Videos()
        server = origin(videos)
        proxy = ladle(server, {"server": {"workers": workers}, "site": {"*": {"cache": True}}}, start=False)
        proxy.objects = proxy.path("objects")
        proxy.configure({"cache": {"memory": "8MiB", "disk": {"size": "256MiB", "path": proxy.objects}}})
        proxy.configure(settings or {})
        proxy.start()
        waiting.until(lambda: not disk(proxy)["is_being_read"], "the folder to be read")
        return proxy, server, videos
    return make


def ask(proxy, target=TARGET, status=200, body=None, **more):
    response = proxy.get(target, **more)
    assert response.status == status
    if body is not None:
        assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest(), f"{len(response.body)} wrong bytes"
    return response


def how(response):
    return response.headers.get("Cache-Status")


def is_idle(proxy):
    return metric(proxy, "cache_fills_open") == 0 and metric(proxy, "file_jobs") == 0


def put_on_disk(proxy, target=TARGET, body=BODY):
    """Two requests; the second one brings it there."""
    before = disk(proxy)["objects"]
    for _ in range(2):
        ask(proxy, target, body=body)
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] > before, f"{target} on disk")


def ranged(proxy, value, **more):
    return proxy.get(TARGET, headers=[("Range", f"bytes={value}"), *more.get("headers", [])])


def begin_to_take(proxy):
    """A client who takes no more than the beginning."""
    client = proxy.client(receive_buffer=4096)
    client.send(f"GET {LONG} HTTP/1.1\r\nHost: site.test\r\n\r\n")
    client.sock.recv(1000)
    return client


def leftovers(proxy):
    """Everything in the folder that is no object's file."""
    return [name for folder, _, names in os.walk(proxy.objects) for name in names if len(os.path.basename(folder)) == 2 and len(name) != 16]


def test_the_second_request_brings_it_to_disk(large):
    """The first one passes through; then a fetch in the background; then hits, without the server."""
    proxy, server, _ = large()
    first = ask(proxy, body=BODY)
    assert how(first) == "ladle; fwd=uri-miss; detail=large"
    assert metric(proxy, "cache_disk_fetches") == 0 and disk(proxy)["objects"] == 0
    second = ask(proxy, body=BODY)
    assert how(second) == "ladle; fwd=uri-miss; detail=large"
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
    assert len(server.requests) == 3 and metric(proxy, "cache_disk_fetches") == 1 and metric(proxy, "cache_disk_writes") == 1
    for _ in range(3):
        assert how(ask(proxy, body=BODY)).startswith("ladle; hit; ttl=3")
    assert len(server.requests) == 3 and metric(proxy, "cache_disk_serves") == 3
    assert disk(proxy)["file_bytes"] >= SIZE and proxy.status()["cache"]["file_bytes"] == 0
    assert not leftovers(proxy)


# --- bodies whose length the server does not say

def without_length(answer):
    head, body = answer.split(b"\r\n\r\n", 1)
    return re.sub(rb"\r\nContent-Length: \d+", b"", head), body


def chunked(_count, answer, _connection):
    head, body = without_length(answer)
    return head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 100_000]), body[at:at + 100_000])
                                                                 for at in range(0, len(body), 100_000)) + b"0\r\n\r\n"


def to_end(_count, answer, connection):
    connection.send(b"\r\nConnection: close\r\n\r\n".join(without_length(answer)))
    connection.close()


def heads(proxy):
    return [name for name in leftovers(proxy) if name.endswith(".head")]


@pytest.mark.parametrize("again", [None, restart, crash])
@pytest.mark.parametrize("kind", [chunked, to_end])
def test_a_body_without_a_length_comes_to_disk(large, kind, again):
    """The second request for what memory did not take begins a fetch; from then on hits, with a length, whole and in ranges, over a start too."""
    proxy, server, videos = large()
    videos.before = kind
    ask(proxy, body=BODY)
    assert metric(proxy, "cache_disk_fetches") == 0
    ask(proxy, body=BODY)
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
    assert metric(proxy, "cache_disk_fetches") == 1 and metric(proxy, "cache_disk_errors") == 0 and len(files(proxy)) == len(heads(proxy)) == 1
    asked = len(server.requests)
    if again:
        again(proxy)
        was_read(proxy)
    hit = ask(proxy, body=BODY)
    assert how(hit).startswith("ladle; hit; ttl=3") and hit.headers.get("Content-Length") == str(SIZE)
    assert ranged(proxy, "4000000-4000009").body == BODY[4000000:4000010]
    assert len(server.requests) == asked
    assert SIZE <= disk(proxy)["file_bytes"] <= SIZE + 12_000 and proxy.command("cache", "--check").returncode == 0
    assert proxy.command("purge", f"http://site.test{TARGET}").returncode == 0
    ask(proxy, body=BODY)
    assert len(server.requests) > asked
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["dead_files"] == 0 and len(files(proxy)) == len(heads(proxy)) == disk(proxy)["objects"], "the old files to go")


def test_nginx_without_a_length(ladle, nginx):
    """nginx as the server, whose SSI takes the length away: on disk after two requests, served from there when it is gone."""
    nginx.add("9000000", 9_000_000)
    body = nginx.body("9000000")
    proxy = ladle(nginx, {"server": {"workers": 3}, "site": {"*": {"cache": True}}}, start=False)
    proxy.objects = proxy.path("objects")
    proxy.configure({"cache": {"memory": "8MiB", "disk": {"size": "256MiB", "path": proxy.objects}}})
    proxy.start()
    was_read(proxy)
    first = ask(proxy, "/chunked/9000000", body=body)
    assert first.headers.get("Content-Length") is None
    ask(proxy, "/chunked/9000000", body=body)
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
    nginx.stop()
    for _ in range(3):
        assert how(ask(proxy, "/chunked/9000000", body=body)).startswith("ladle; hit")
    assert metric(proxy, "cache_disk_serves") == 3


@pytest.mark.parametrize("limit", ["3MiB", "4.5MiB", "tier"])
def test_a_body_that_grows_past_the_limit_is_dropped(large, limit):
    """object.max, or a quarter of the tier: no client misses a byte, nothing stays on disk, nothing is set aside, and no fetch for it is begun again at once."""
    settings = {"uncacheable_for": "1s"} if limit == "3MiB" else {}
    settings |= {"disk": {"size": "16MiB"}} if limit == "tier" else {"object": {"max": f"{int(float(limit[:-3]) * 1024)}KiB"}}
    proxy, _, videos = large(settings={"cache": settings})
    videos.before = chunked
    for _ in range(4):
        ask(proxy, body=BODY)
    waiting.until(lambda: is_idle(proxy) and metric(proxy, "cache_disk_too_large") + metric(proxy, "cache_disk_write_refused") == 1, "it to be dropped")
    waiting.until(lambda: disk(proxy)["dead_files"] == 0 and not files(proxy) and not leftovers(proxy), "the file to go")
    assert metric(proxy, "cache_disk_fetches") == 1 and metric(proxy, "cache_disk_errors") == 0
    assert disk(proxy)["objects"] == 0 and disk(proxy)["file_bytes"] == 0 and not disk(proxy)["is_bad"]
    if "uncacheable_for" in settings:  # one without an end would drive out others again and again
        begun = time.monotonic()
        waiting.until(lambda: ask(proxy, body=BODY) and time.monotonic() - begun > 2.5, "some more requests")
        assert metric(proxy, "cache_disk_fetches") == 1


def test_what_is_past_the_limit_already_is_not_fetched(large):
    """object.max below what memory takes: no fetch for the disk at all."""
    proxy, _, videos = large(settings={"cache": {"object": {"max": "1MiB"}}})
    videos.before = chunked
    for _ in range(4):
        ask(proxy, body=BODY)
    assert is_idle(proxy) and metric(proxy, "cache_disk_fetches") == 0


def check_that_nothing_is_left(proxy, videos):
    """Clients ask twice; the third answer, that of the fetch for the disk, ends early."""
    ask(proxy, body=BODY)
    ask(proxy, body=BODY)
    waiting.until(lambda: len(videos.whole) == 3 and is_idle(proxy), "the end of the fetch")
    waiting.until(lambda: disk(proxy)["dead_files"] == 0 and not files(proxy) and not leftovers(proxy), "the file to go")
    assert disk(proxy)["objects"] == 0 and disk(proxy)["file_bytes"] == 0 and not disk(proxy)["is_bad"]


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_chunked_body_that_ends_early_leaves_nothing(large, kind):
    """No object, no file, no header."""
    proxy, _, videos = large()

    def halt(count, answer, connection):
        whole = chunked(count, answer, connection)
        if count != 3:
            return whole
        connection.send(whole[:4_000_000])
        connection.close() if kind == "cut" else connection.reset()
        return None
    videos.before = halt
    check_that_nothing_is_left(proxy, videos)


@pytest.mark.parametrize("kind", ["no header", "header", "first block", "shorter", "longer"])
def test_a_damaged_file_of_unknown_length_is_never_served(large, kind):
    """Its header is a file of its own: gone, flipped, or of another length of body, it is seen before the first byte."""
    proxy, server, videos = large()
    videos.before = chunked
    put_on_disk(proxy)
    asked = len(server.requests)
    end(proxy)
    path, = files(proxy)
    if kind == "no header":
        os.unlink(path + ".head")
    elif kind == "header":
        flip(path + ".head", 200)
    elif kind == "first block":
        flip(path, os.path.getsize(path) - SIZE)
    else:
        os.truncate(path, os.path.getsize(path) + (1 if kind == "longer" else -1))
    proxy.start()
    ask(proxy, body=BODY)
    assert len(server.requests) > asked and metric(proxy, "cache_disk_bad_files") == 1


def test_a_validation_renews_the_header_of_one_without_a_length(large):
    """A 304 puts a newer header in the place of the only one; the body stays where it is."""
    proxy, server, videos = large()
    videos.before = chunked
    put_on_disk(proxy)
    videos.more = [("X-Version", "2")]
    assert ask(proxy, body=BODY, headers=[("Cache-Control", "no-cache")]).headers.get("X-Version") == "2"
    assert metric(proxy, "cache_validated") == 1
    waiting.until(lambda: is_idle(proxy), "the header to be written")
    restart(proxy)
    asked = len(server.requests)
    ask(proxy, body=BODY)
    assert len(server.requests) == asked


def test_the_first_request_does_without_second_sight(large):
    """second_sight = false."""
    proxy, server, _ = large(settings={"cache": {"disk": {"second_sight": False}}})
    ask(proxy, body=BODY)
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
    ask(proxy, body=BODY)
    assert len(server.requests) == 2


def test_many_at_once_make_one_fetch(large):
    """Over three workers; nobody waits for it."""
    proxy, _, videos = large(workers=3)
    clients = [proxy.client(timeout=30) for _ in range(12)]
    for client in clients:
        client.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
    for client in clients:
        assert client.response().body == BODY
        client.close()
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
    assert metric(proxy, "cache_disk_fetches") == 1 and len(videos.whole) == 13
    for _ in range(9):
        ask(proxy, body=BODY)
    assert len(videos.whole) == 13


def test_ranges_conditions_and_head(large):
    """All that HTTP offers, from what is on disk."""
    proxy, server, _ = large()
    put_on_disk(proxy)
    asked = len(server.requests)
    for first, last in [(0, 0), (0, 99), (BLOCK - 1, BLOCK), (1_000_000, 3_999_999), (SIZE - 1, SIZE - 1), (SIZE - 70_000, SIZE - 1), (4 * BLOCK, 5 * BLOCK - 1)]:
        response = ranged(proxy, f"{first}-{last}")
        assert response.status == 206 and response.body == BODY[first : last + 1], (first, last)
        assert response.headers.get("Content-Range") == f"bytes {first}-{last}/{SIZE}"
    assert ranged(proxy, "-5").body == BODY[-5:]
    assert ranged(proxy, f"{SIZE}-").status == 416
    several = ranged(proxy, "10-19,2000000-2000099,4900000-4999999")
    assert several.status == 206
    boundary = several.headers.get("Content-Type").split("boundary=")[1].encode()
    parts = [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in several.body.split(b"--" + boundary)[1:-1]]
    assert parts == [BODY[10:20], BODY[2000000:2000100], BODY[4900000:5000000]]
    assert ranged(proxy, "5-9", headers=[("If-Range", '"v1"')]).body == BODY[5:10]
    assert ranged(proxy, "5-9", headers=[("If-Range", '"other"')]).body == BODY
    head = proxy.get(TARGET, "HEAD")
    assert head.status == 200 and head.headers.get("Content-Length") == str(SIZE) and how(head).startswith("ladle; hit")
    assert proxy.get(TARGET, headers=[("If-None-Match", '"v1"')]).status == 304
    assert proxy.get(TARGET, headers=[("If-Match", '"v2"')]).status == 412
    assert len(server.requests) == asked
    with proxy.client() as client:  # and a kept connection stays in step
        for first in (0, 3_000_000, 77):
            assert client.request(target=TARGET, headers=[("Range", f"bytes={first}-{first + 200_000}")]).body == BODY[first : first + 200_001]
        assert client.request(target=TARGET).body == BODY
        assert client.request(target=TARGET, headers=[("If-None-Match", '"v1"')]).status == 304


def test_ranges_are_passed_on_and_count(large):
    """A player that asks for ranges of what is not there gets them; from the second on the whole is fetched."""
    proxy, _, videos = large()
    assert ranged(proxy, "1000000-3999999").body == BODY[1000000:4000000]
    assert metric(proxy, "cache_disk_fetches") == 0
    assert ranged(proxy, "4000000-4999999").body == BODY[4000000:5000000]
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "the whole on disk")
    assert len(videos.whole) == 1
    assert how(ranged(proxy, "1-2000000")).startswith("ladle; hit")


def test_conditions_pass_as_they_are_while_it_is_not_there(large):
    """Who has it is told so by the server, and not sent 5 MB."""
    proxy, server, _ = large()
    ask(proxy, body=BODY)
    assert proxy.get(TARGET, headers=[("If-None-Match", '"v1"')]).status == 304
    assert server.requests[-1].headers.get("If-None-Match") == '"v1"'


@pytest.mark.parametrize("again", [restart, crash])
def test_it_outlives_a_start(large, again):
    """Clean or not: a hit without the server, in parts and whole."""
    proxy, server, _ = large()
    put_on_disk(proxy)
    asked = len(server.requests)
    again(proxy)
    assert ranged(proxy, "3000000-3000009").body == BODY[3000000:3000010]
    assert how(ask(proxy, body=BODY)).startswith("ladle; hit")
    assert len(server.requests) == asked and metric(proxy, "cache_disk_serves") == 2


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x10]))


@pytest.mark.parametrize("when", ["running", "stopped"])
@pytest.mark.parametrize("kind", ["first block", "header", "truncated", "deleted", "emptied"])
def test_a_damaged_file_is_never_served(large, kind, when):
    """Seen before the first byte: the server is asked, and the file goes."""
    proxy, server, _ = large()
    put_on_disk(proxy)
    asked = len(server.requests)
    if when == "stopped":
        end(proxy)
    else:
        waiting.until(lambda: not any(link.startswith(proxy.objects + "/") for pid in proxy.workers().values() for link in open_files(pid)),
                      "no worker to have it open")
    path, = files(proxy)
    if kind == "deleted":
        os.unlink(path)
    elif kind in ("truncated", "emptied"):
        os.truncate(path, os.path.getsize(path) - 1 if kind == "truncated" else 0)
    else:
        flip(path, 20 if kind == "header" else os.path.getsize(path) - SIZE)
    if when == "stopped":
        proxy.start()
    ask(proxy, body=BODY)
    assert len(server.requests) > asked and metric(proxy, "cache_disk_bad_files") == 1
    waiting.until(lambda: ask(proxy, body=BODY) and is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk again")
    assert how(ask(proxy, body=BODY)).startswith("ladle; hit")


def test_a_flipped_bit_late_in_the_body_cuts(large):
    """The client has good bytes and an end that it sees; the next is served by the server."""
    proxy, server, _ = large()
    put_on_disk(proxy)
    asked = len(server.requests)
    path, = files(proxy)
    flip(path, -5)
    with proxy.client() as client:
        client.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\n\r\n")
        got, ending = client.drain(10)
    body = got.split(b"\r\n\r\n", 1)[1]
    assert ending != "open" and BODY.startswith(body) and 4_000_000 < len(body) < SIZE
    assert ranged(proxy, f"{SIZE - 3}-").body == BODY[-3:]
    assert len(server.requests) > asked and metric(proxy, "cache_disk_bad_files") == 1


def test_slow_and_leaving_clients(large):
    """A slow one gets every byte, whatever happens to the object meanwhile; one that leaves costs nothing."""
    proxy, server, _ = large()
    put_on_disk(proxy)
    asked = len(server.requests)
    slow = proxy.client(receive_buffer=65536, timeout=30)
    slow.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
    for how_many in (1, 20_000):
        with proxy.client(receive_buffer=4096) as leaving:
            leaving.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\n\r\n")
            leaving.sock.recv(how_many)
            leaving.reset()
    assert proxy.command("purge", "--all").returncode == 0
    ask(proxy, body=BODY)
    assert slow.response().body == BODY
    slow.close()
    assert len(server.requests) > asked
    waiting.until(lambda: metric(proxy, "requests_in_flight") == 0 and is_idle(proxy), "the end of all")
    assert metric(proxy, "ended_client_left") == 2


@pytest.mark.parametrize("per_client, blocks", [("10MiB", 6), ("100KiB", 1)], ids=["room", "no room"])
def test_what_is_held_for_clients_that_take_nothing_is_counted(large, per_client, blocks):
    """In the budget, a block for each; where that is used up, nothing. Who goes on gets every byte."""
    proxy, _, _ = large(workers=1, settings={"budget": {"per_client": per_client}})
    body = body_of(LONG, 30_000_000)
    put_on_disk(proxy, LONG, body)
    clients = [begin_to_take(proxy) for _ in range(6)]
    waiting.until(lambda: metric(proxy, "requests_in_flight") == 6 and is_idle(proxy) and 0 < metric(proxy, "spool_memory_bytes") <= blocks * BLOCK, "all to stall")
    rest = bytearray()
    while not rest.endswith(body[-1000:]) and (more := clients[0].sock.recv(1 << 20)):
        rest += more
    assert rest[-29_000_000:] == body[-29_000_000:]
    for client in clients:
        client.close()
    waiting.until(lambda: metric(proxy, "requests_in_flight") == 0 and metric(proxy, "spool_memory_bytes") == 0, "the end of all")
    ask(proxy, LONG, body=body)


def test_a_stalled_client_is_given_up(large):
    """timeouts.stall counts here as well."""
    proxy, _, _ = large(settings={"timeouts": {"stall": "3s"}})
    put_on_disk(proxy, LONG, body_of(LONG, 30_000_000))
    with begin_to_take(proxy):
        waiting.until(lambda: metric(proxy, "ended_client_stalled") == 1, "it to be given up")


@pytest.mark.parametrize("kind", ["cut", "reset", "stalled"])
def test_a_server_that_ends_early_leaves_nothing(large, kind):
    """No object, no file; the clients get what the server gave them."""
    proxy, _, videos = large(settings={"timeouts": {"stall": "3s"}})

    def halt(count, answer, connection):
        if count != 3:  # the third one is the fetch for the disk
            return answer
        connection.send(answer[:3_000_000])
        if kind == "stalled":
            connection.is_ended_by_peer()
        elif kind == "cut":
            connection.close()
        else:
            connection.reset()
        return None
    videos.before = halt
    check_that_nothing_is_left(proxy, videos)
    ask(proxy, body=BODY)
    assert metric(proxy, "cache_disk_fetches") == 1, "not tried again at once"


def test_a_file_that_is_made_late_goes_too(large, traced):
    """The server has ended before a slow disk has made the file."""
    proxy, _, videos = large()
    go = threading.Event()

    def cut(count, answer, connection):
        if count != 3:
            return answer
        connection.send(answer[:1000])
        go.wait(60)
        connection.close()
        return None
    videos.before = cut
    with traced(proxy, "openat:delay_enter=500000"):
        ask(proxy, body=BODY)
        ask(proxy, body=BODY)
        waiting.until(lambda: metric(proxy, "file_jobs") > 0, "the file to be made")
        go.set()
        waiting.until(lambda: is_idle(proxy), "the end of the fetch")
    waiting.until(lambda: disk(proxy)["dead_files"] == 0 and not leftovers(proxy), "the file to go")
    assert disk(proxy)["file_bytes"] == 0


def test_only_so_many_are_fetched_at_once(large):
    """Four by each worker, counted from when the server is asked."""
    proxy, _, videos = large(workers=1)
    go = threading.Event()

    def hold_the_third(_, answer, connection):
        target = connection.requests[-1].target
        if sum(request.target == target for request in list(videos.whole)) == 3:
            go.wait(60)
        return answer
    videos.before = hold_the_third
    for i in range(8):
        for _ in range(2):
            ask(proxy, f"/{SIZE}/{i}")
    go.set()
    waiting.until(lambda: disk(proxy)["objects"] >= 4 and is_idle(proxy), "four of them on disk")
    assert metric(proxy, "cache_disk_fetches") == 4 and disk(proxy)["objects"] == 4


class Gate:
    """Holds the fetch for the disk in mid-body until it is let go."""

    def __init__(self, videos):
        self.reached, self.go = threading.Event(), threading.Event()
        videos.before = self

    def __call__(self, count, answer, connection):
        if count != 3:
            return answer
        connection.send(answer[:3_000_000])
        self.reached.set()
        self.go.wait(60)
        connection.send(answer[3_000_000:])
        return None


def begin_fetch(proxy, videos):
    gate = Gate(videos)
    ask(proxy, body=BODY)
    ask(proxy, body=BODY)
    assert gate.reached.wait(waiting.PATIENCE)
    return gate


def test_a_fetch_that_nobody_waits_for_ends(large):
    """All who asked have left: it goes on by object.finish, no more. The next one begins it anew."""
    proxy, _, videos = large(settings={"cache": {"object": {"finish": "1MiB"}}})
    gate = Gate(videos)
    clients = [begin_to_take(proxy), begin_to_take(proxy)]
    assert gate.reached.wait(waiting.PATIENCE)
    waiting.until(lambda: metric(proxy, "cache_disk_fetches") == 1, "the fetch")
    for client in clients:
        client.reset()
    waiting.until(lambda: metric(proxy, "ended_client_left") == 2, "them to have left")
    gate.go.set()
    waiting.until(lambda: is_idle(proxy), "the end of the fetch")
    assert disk(proxy)["objects"] == 0 and not disk(proxy)["is_bad"]
    waiting.until(lambda: not leftovers(proxy), "the file to go")
    put_on_disk(proxy, LONG, body_of(LONG, 30_000_000))
    assert metric(proxy, "cache_disk_fetches") == 2


def test_a_fetch_goes_on_for_those_who_came_later(large):
    """On whatever worker: it is not begun anew for them."""
    proxy, _, videos = large(workers=3, settings={"cache": {"object": {"finish": "0B"}}})
    gate = Gate(videos)
    first = [begin_to_take(proxy), begin_to_take(proxy)]
    assert gate.reached.wait(waiting.PATIENCE)
    later = [begin_to_take(proxy) for _ in range(4)]
    for client in first:
        client.reset()
    waiting.until(lambda: metric(proxy, "ended_client_left") == 2, "them to have left")
    gate.go.set()
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
    assert metric(proxy, "cache_disk_fetches") == 1
    for client in later:
        client.close()


def test_who_came_during_the_fetch_and_is_answered_after_it_begins_none(large):
    """It has been brought meanwhile."""
    proxy, _, videos = large()
    gate, go = begin_fetch(proxy, videos), threading.Event()
    videos.before = lambda count, answer, connection: go.wait(60) and answer
    with proxy.client(timeout=30) as late:
        late.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: len(videos.whole) == 4, "the late one at the server")
        gate.go.set()
        waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")
        go.set()
        assert late.response().body == BODY
    waiting.until(lambda: metric(proxy, "requests_in_flight") == 0, "the end of all")
    assert metric(proxy, "cache_disk_fetches") == 1


def test_a_fetch_goes_on_for_those_who_got_it(large):
    """Who has taken all of it has not left."""
    proxy, _, videos = large(settings={"cache": {"object": {"finish": "0B"}}})
    begin_fetch(proxy, videos).go.set()
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1, "it on disk")


def test_who_asks_for_two_bytes_is_no_reason_to_fetch_all(large):
    """As players do, to see whether ranges are to be had."""
    proxy, _, videos = large(settings={"cache": {"object": {"finish": "64KiB"}}})
    before, go = metric(proxy, "requests"), threading.Event()
    videos.before = lambda count, answer, connection: go.wait(60) and answer
    for first in (0, 1000):
        assert ranged(proxy, f"{first}-{first + 1}").body == BODY[first : first + 2]
    waiting.until(lambda: len(videos.whole) == 1 and metric(proxy, "requests") == before + 2, "the fetch, and both answered")
    go.set()
    waiting.until(lambda: metric(proxy, "requests_in_flight") == 0 and is_idle(proxy), "the end of the fetch")
    assert disk(proxy)["objects"] == 0


@pytest.mark.parametrize("way", ["command", "tag", "method", "all", "post"])
def test_a_purge_during_the_fetch_counts(large, way):
    """What was fetched before is not stored."""
    proxy, _, videos = large()
    gate = begin_fetch(proxy, videos)
    ask(proxy, body=BODY)  # nobody waits for it
    if way in ("method", "post"):
        assert proxy.get(TARGET, "PURGE" if way == "method" else "POST").status == 200
    else:
        what = {"command": [f"http://site.test{TARGET}"], "tag": ["--tag", "videos"], "all": ["--all"]}[way]
        assert proxy.command("purge", *what).returncode == 0
    gate.go.set()
    waiting.until(lambda: is_idle(proxy), "the end of the fetch")
    waiting.until(lambda: not files(proxy) and not leftovers(proxy), "the file to go")
    assert disk(proxy)["objects"] == 0
    videos.version, videos.before = 2, None
    assert ask(proxy).body == videos.body(TARGET)


@pytest.mark.parametrize("again", [None, restart, crash])
@pytest.mark.parametrize("way", ["command", "tag", "method", "post"])
def test_a_purge_takes_it_away(large, way, again):
    """At once, and for good."""
    proxy, _, videos = large()
    put_on_disk(proxy)
    videos.version = 2
    if way in ("method", "post"):
        assert proxy.get(TARGET, "PURGE" if way == "method" else "POST").status == 200
        assert way == "method" or not files(proxy)
    else:
        assert proxy.command("purge", *(["--tag", "videos"] if way == "tag" else [f"http://site.test{TARGET}"])).returncode == 0
    if again:
        again(proxy)
    for _ in range(2):
        assert ask(proxy).body == videos.body(TARGET)
    waiting.until(lambda: is_idle(proxy) and ask(proxy).body == videos.body(TARGET) and disk(proxy)["objects"] == 1, "the new one on disk")
    assert how(ask(proxy, body=videos.body(TARGET))).startswith("ladle; hit")


@pytest.mark.parametrize("again", [None, restart, crash])
def test_a_validation_keeps_it(large, again):
    """304: the same body under its new head, which also stands on disk."""
    proxy, server, videos = large()
    videos.control = "max-age=0"
    put_on_disk(proxy)
    videos.control = "max-age=1800"
    videos.more = [("X-Confirmed", "yes")]
    response = ask(proxy, body=BODY)
    assert how(response).startswith("ladle; fwd=stale; fwd-status=304; stored")
    waiting.until(lambda: is_idle(proxy) and leftovers(proxy), "the new header on disk")
    asked = len(server.requests)
    if again:
        again(proxy)
    response = ask(proxy, body=BODY)
    assert how(response).startswith("ladle; hit; ttl=1") and response.headers.get("X-Confirmed") == "yes"
    assert response.headers.get("Cache-Control") == "max-age=1800" and len(server.requests) == asked
    assert disk(proxy)["objects"] == 1
    assert proxy.command("purge", "--all").returncode == 0
    ask(proxy, body=BODY)
    waiting.until(lambda: is_idle(proxy) and len(files(proxy)) <= 1 and not leftovers(proxy), "the header to go with its file")


def test_a_header_that_was_not_written_before_a_stop_is_not_believed(large, traced):
    """A 304 said no-cache, and the disk was slow, and failed, while Ladle stopped."""
    proxy, server, videos = large()
    put_on_disk(proxy)
    videos.control = "no-cache"
    with traced(proxy, "renameat:error=EIO:delay_enter=1000000"):
        ask(proxy, body=BODY, headers=[("Cache-Control", "no-cache")])
        end(proxy)
    proxy.start()
    asked = len(server.requests)
    ask(proxy, body=BODY)
    assert len(server.requests) > asked


def test_who_reloads_writes_nothing(large):
    """A client has a fresh one validated, again and again: its file says enough as it is."""
    proxy, _, _ = large()
    put_on_disk(proxy)
    for _ in range(3):
        assert "fwd-status=304" in how(ask(proxy, body=BODY, headers=[("Cache-Control", "no-cache")]))
    waiting.until(lambda: is_idle(proxy), "the end of all")
    assert not leftovers(proxy)


@pytest.mark.parametrize("control", ["no-cache", "max-age=0", "max-age=1"])
def test_what_is_validated_all_the_time_stays(large, control):
    """Many at once, each asks the server whether it is still good: the file is not lost, and hardly written."""
    proxy, _, videos = large(workers=3)
    videos.control = control
    put_on_disk(proxy)
    whole = len(videos.whole)
    clients = [proxy.client(timeout=30) for _ in range(30)]
    for client in clients:
        client.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nRange: bytes=4000000-4000099\r\n\r\n")
    for client in clients:
        assert client.response().body == BODY[4000000:4000100]
        client.close()
    ask(proxy, body=BODY)
    waiting.until(lambda: is_idle(proxy), "the end of all")
    assert len(videos.whole) == whole and disk(proxy)["objects"] == 1 and metric(proxy, "cache_disk_bad_files") == 0
    assert len(leftovers(proxy)) <= (control == "max-age=1")


def test_a_new_version_replaces_it(large):
    """200 to a validation: it passes through, the old one goes, the new one is fetched."""
    proxy, _, videos = large()
    videos.control = "max-age=0"
    put_on_disk(proxy)
    videos.version, videos.control = 2, "max-age=3600"
    new = videos.body(TARGET)
    assert ask(proxy).body == new
    waiting.until(lambda: is_idle(proxy) and disk(proxy)["objects"] == 1 and len(files(proxy)) == 1, "the new one on disk")
    assert how(ask(proxy, body=new)).startswith("ladle; hit")
    assert proxy.command("cache", "--check").returncode == 0


def test_an_answer_that_comes_late_takes_away_no_newer_one(large):
    """Two ask whether it is still good; the one who is told so late removes what he asked for, not what the other brought."""
    proxy, _, videos = large()
    videos.control = "max-age=0"
    put_on_disk(proxy)
    videos.version, videos.control = 2, "max-age=3600"
    asked, go = len(videos.whole), threading.Event()
    videos.before = lambda count, answer, connection: (count != asked + 1 or go.wait(60)) and answer
    with proxy.client(timeout=30) as late:
        late.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: len(videos.whole) == asked + 1, "the first question")
        new = videos.body(TARGET)
        ask(proxy, body=new)
        waiting.until(lambda: is_idle(proxy) and len(videos.whole) == asked + 3 and disk(proxy)["objects"] == 1, "the new one on disk")
        go.set()
        assert late.response().body == new
    assert how(ask(proxy, body=new)).startswith("ladle; hit")
    assert disk(proxy)["objects"] == 1


def test_a_smaller_version_takes_its_place(large):
    """What fits memory is kept there; nothing of the large one is left."""
    proxy, _, videos = large()
    videos.control = "max-age=0"
    put_on_disk(proxy)
    videos.body = lambda target: b"small"
    videos.version, videos.control = 2, "max-age=3600"
    assert ask(proxy).body == b"small" and ask(proxy).body == b"small"
    waiting.until(lambda: is_idle(proxy) and not any(os.path.getsize(path) > 5000 for path in files(proxy)), "the old file to go")


def test_variants_of_it(large):
    """Vary: each is kept for itself, and found again after a restart."""
    proxy, server, videos = large()
    videos.more = [("Vary", "Accept-Language")]

    def get(language):
        return ask(proxy, headers=[("Accept-Language", language)], body=BODY)
    for language in ("de", "fr"):
        waiting.until(lambda: how(get(language)).startswith("ladle; hit") or (waiting.until(lambda: is_idle(proxy), "idle"), False)[1], f"a hit for {language}")
    waiting.until(lambda: disk(proxy)["objects"] == 3, "both and the record that leads to them on disk")
    asked = len(server.requests)
    restart(proxy)
    assert how(get("fr")).startswith("ladle; hit") and how(get("de")).startswith("ladle; hit")
    assert len(server.requests) == asked


def test_a_worker_killed_in_the_middle_of_the_fetch(large):
    """Nothing half written is published; its room is free again; the next fetch succeeds."""
    proxy, _, videos = large(workers=2)
    gate = begin_fetch(proxy, videos)
    before = proxy.wait_workers(2)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    gate.go.set()
    proxy.wait_workers(2, without=before.values())
    assert disk(proxy)["objects"] == 0
    waiting.until(lambda: disk(proxy)["dead_files"] == 0 and not files(proxy) and not leftovers(proxy), "the file to go", 10)
    assert disk(proxy)["file_bytes"] == 0
    put_on_disk(proxy)
    assert how(ask(proxy, body=BODY)).startswith("ladle; hit")
    assert proxy.command("cache", "--check").returncode == 0


def test_all_killed_in_the_middle_of_the_fetch(large):
    """After the crash the unfinished file goes, and the finished one stays."""
    proxy, _, videos = large()
    other = f"/{SIZE}/other"
    put_on_disk(proxy, other, body_of(other, SIZE))
    videos.whole.clear()
    gate = begin_fetch(proxy, videos)
    waiting.until(lambda: leftovers(proxy), "a beginning on disk")
    kill(proxy)
    gate.go.set()
    proxy.start()
    was_read(proxy)
    assert not leftovers(proxy) and len(files(proxy)) == 1 and disk(proxy)["objects"] == 1
    assert how(ask(proxy, other, body=body_of(other, SIZE))).startswith("ladle; hit")


def test_workers_killed_while_they_serve_it(large):
    """It stays, for those who come then."""
    proxy, server, _ = large(workers=2)
    put_on_disk(proxy)
    asked = len(server.requests)
    clients = [proxy.client(receive_buffer=4096) for _ in range(4)]
    for client in clients:
        client.send(f"GET {TARGET} HTTP/1.1\r\nHost: site.test\r\n\r\n")
        client.sock.recv(1000)
    before = proxy.wait_workers(2)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    proxy.wait_workers(2, without=before.values())
    assert how(ask(proxy, body=BODY)).startswith("ladle; hit") and len(server.requests) == asked
    for client in clients:
        client.close()
    assert proxy.command("cache", "--check").returncode == 0


def test_a_stop_in_the_middle_of_the_fetch_leaves_nothing(large):
    """A clean stop does not wait for it; nothing of it is there after the next start."""
    proxy, _, videos = large()
    gate = begin_fetch(proxy, videos)
    end(proxy)
    gate.go.set()
    proxy.start()
    waiting.until(lambda: not files(proxy) and not leftovers(proxy), "the file to go", 10)
    assert disk(proxy)["objects"] == 0


def test_what_the_disk_has_no_room_for_passes(large):
    """More than a quarter of the tier, or over [cache.object] max: as ever."""
    for settings in ({"cache": {"disk": {"size": "16MiB"}}}, {"cache": {"object": {"max": "4MiB"}}}):
        proxy, _, _ = large(settings=settings)
        for _ in range(4):
            assert how(ask(proxy, body=BODY)) == "ladle; fwd=uri-miss; detail=too-large"
        assert metric(proxy, "cache_disk_fetches") == 0 and not files(proxy)


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_what_is_too_large_for_the_room_left_is_not_written_and_others_are(large, small_disk, kind):
    """A tmpfs of 4 MiB: nothing is left of it, the clients get theirs, and nothing is set aside, as the disk is well."""
    proxy, _, videos = large(settings={"cache": {"disk": {"path": str(small_disk / "objects")}}})
    proxy.objects = str(small_disk / "objects")
    videos.before = {"length": None, "chunked": chunked}[kind]
    for _ in range(3):
        ask(proxy, body=BODY)
    waiting.until(lambda: is_idle(proxy) and metric(proxy, "cache_disk_too_large") == 1, "it to be refused")
    waiting.until(lambda: not files(proxy) and not leftovers(proxy), "the file to go")
    assert metric(proxy, "cache_disk_errors") == 0 and not disk(proxy)["is_bad"] and disk(proxy)["objects"] == 0
    put_on_disk(proxy, "/3000000/b", body_of("/3000000/b", 3_000_000))


def test_room_is_made_for_it(large):
    """Older objects go, one after the other, and the budget holds."""
    proxy, _, _ = large(settings={"cache": {"disk": {"size": "24MiB"}}})
    for i in range(8):
        target = f"/{SIZE}/{i}"
        waiting.until(lambda: how(ask(proxy, target, body=body_of(target, SIZE))).startswith("ladle; hit") or
                      (waiting.until(lambda: is_idle(proxy), "idle"), False)[1], f"a hit for {target}")
    assert disk(proxy)["file_bytes"] <= 24 << 20 and disk(proxy)["evictions"] >= 3
    waiting.until(lambda: disk(proxy)["dead_files"] == 0 and len(files(proxy)) == disk(proxy)["objects"], "the dead files to go", 10)
    ask(proxy, f"/{SIZE}/0", body=body_of(f"/{SIZE}/0", SIZE))
    assert proxy.command("cache", "--check").returncode == 0


def test_what_is_not_to_be_stored_is_not_fetched(large):
    """no-store, private, and requests with Authorization: no fetch for the disk."""
    proxy, _, videos = large()
    videos.control = "no-store"
    for value in (None, "0-99", "100-199", "200-299"):
        proxy.get(TARGET, headers=[("Range", f"bytes={value}")] if value else [])
    videos.control = "max-age=60"
    for _ in range(3):
        proxy.get(f"/{SIZE}/x", headers=[("Authorization", "Basic eDp5")])
    assert metric(proxy, "cache_disk_fetches") == 0


def test_ladle_cache_shows_it(large):
    """The listing says what it is; memory is charged for its cells alone."""
    proxy, _, _ = large()
    empty = proxy.status()["cache"]["used_bytes"]
    put_on_disk(proxy)
    assert TARGET in proxy.command("cache").stdout
    assert "the body on disk" in proxy.command("cache", f"http://site.test{TARGET}").stdout
    assert proxy.status()["cache"]["used_bytes"] - empty < 10_000
