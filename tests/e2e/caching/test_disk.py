# SPDX-License-Identifier: Apache-2.0
"""The disk tier: what was asked for again outlives memory, restarts and crashes; no damaged byte is ever served; no failure of the disk
is a client's."""

import json
import os
import pwd
import re
import signal

import pytest

from tests.harness import waiting
from tests.harness.origin import reply

from .disk_tier import FRESH, body_of, crash, disk, end, files, fill_up, get, kill, metric, put_on_disk, restart, sized, was_read

SIZES = ["/0/a", "/1000/a", "/60000/a", "/65536/a", "/200000/a", "/3000000/a"]


@pytest.mark.parametrize("again", [restart, crash])
def test_objects_are_served_from_disk_after_a_start(kept, again):
    """Small and large ones, without a request to the server, whether the stop was clean or not."""
    proxy, server = kept()
    put_on_disk(proxy, *SIZES)
    assert metric(proxy, "cache_disk_writes") == len(SIZES) and len(files(proxy)) == len(SIZES)
    asked = len(server.requests)
    again(proxy)
    assert disk(proxy)["objects"] == len(SIZES)
    for target in SIZES:
        response = get(proxy, target)
        assert response.headers.get("Cache-Status").startswith("ladle; hit")
    assert len(server.requests) == asked
    waiting.until(lambda: metric(proxy, "cache_disk_loads") == len(SIZES), "all to be loaded")
    assert metric(proxy, "cache_disk_hits") == len(SIZES) and metric(proxy, "cache_misses") == 0
    for target in SIZES:
        get(proxy, target)
    assert metric(proxy, "cache_disk_hits") == len(SIZES), "the second time comes from memory"


def test_what_was_asked_for_once_is_not_written(kept):
    """Second sight: a scan does not wear the disk."""
    proxy, _ = kept()
    for i in range(50):
        get(proxy, f"/1000/{i}")
    assert disk(proxy)["objects"] == 0 and metric(proxy, "cache_disk_writes") == 0 and not files(proxy)


def test_everything_is_written_without_second_sight(kept):
    """second_sight = false."""
    proxy, _ = kept(settings={"cache": {"disk": {"second_sight": False}}})
    get(proxy, "/1000/a")
    waiting.until(lambda: disk(proxy)["objects"] == 1, "the object on disk")


def test_what_memory_has_no_room_for_is_on_disk(kept):
    """8 MiB of memory, 40 MiB of objects: evicted ones come back from disk."""
    proxy, server = kept(settings={"cache": {"memory": "8MiB"}})
    targets = [f"/500000/{i}" for i in range(40)]
    put_on_disk(proxy, *targets)
    asked = len(server.requests)
    for target in targets:
        get(proxy, target)
    assert len(server.requests) == asked and metric(proxy, "cache_disk_loads") > 0


def test_variants_come_back_with_the_record_that_leads_to_them(kept):
    """Vary: each client gets its own from disk."""
    proxy, server = kept(lambda request: reply(request.headers.get("Accept-Language", "").encode() * 1000, headers=[*FRESH, ("Vary", "Accept-Language")]))

    def ask(language):
        response = proxy.get("/x", headers=[("Accept-Language", language)])
        assert response.body == language.encode() * 1000
    for language in ("de", "fr"):
        ask(language)
        waiting.until(lambda: ask(language) or metric(proxy, "cache_disk_writes") >= (2 if language == "de" else 3), "the variant on disk")
    asked = len(server.requests)
    restart(proxy)
    ask("fr")
    ask("de")
    assert len(server.requests) == asked


def test_simultaneous_misses_load_once(kept):
    """One file is read once for all who wait, over all workers."""
    proxy, server = kept()
    put_on_disk(proxy, "/3000000/a")
    asked = len(server.requests)
    restart(proxy)
    clients = [proxy.client() for _ in range(20)]
    for client in clients:
        client.send(b"GET /3000000/a HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
    for client in clients:
        assert client.response().body == body_of("/3000000/a", 3000000)
        client.close()
    assert len(server.requests) == asked and metric(proxy, "cache_disk_hits") == 1


def damage(path, kind):
    size = os.path.getsize(path)
    if kind == "deleted":
        os.unlink(path)
    elif kind == "truncated":
        os.truncate(path, size - 1)
    elif kind == "emptied":
        os.truncate(path, 0)
    elif kind == "a folder":
        os.unlink(path)
        os.mkdir(path)
    else:
        at = {"first byte": 0, "header": 150, "body": size - 100, "early in the body": size // 2}[kind]
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 0x20]))


KINDS = ["deleted", "truncated", "emptied", "a folder", "first byte", "header", "early in the body"]


@pytest.mark.parametrize("kind", [*KINDS, "body"])
@pytest.mark.parametrize("again", [restart, crash])
def test_a_damaged_file_is_fetched_anew(kept, kind, again):
    """Never a wrong byte, no error for the client, the file goes."""
    proxy, server = kept()
    put_on_disk(proxy, "/40000/a", "/1000/b")
    asked = len(server.requests)
    end(proxy) if again is restart else kill(proxy)
    damage(next(path for path in files(proxy) if os.path.getsize(path) > 40000), kind)
    proxy.start()
    was_read(proxy)
    get(proxy, "/40000/a")
    assert len(server.requests) == asked + 1
    get(proxy, "/1000/b")
    assert len(server.requests) == asked + 1
    assert metric(proxy, "cache_disk_bad_files") == (0 if again is crash and kind == "deleted" else 1)
    put_on_disk(proxy, "/1000/c")


def test_a_flipped_bit_late_in_a_body_cuts_and_never_lies(kept):
    """The client that was being served has the good blocks and an end that it sees; the next is served by the server."""
    proxy, server = kept()
    put_on_disk(proxy, "/3000000/a")
    asked = len(server.requests)
    end(proxy)
    damage(files(proxy)[0], "body")
    proxy.start()
    with proxy.client() as client:
        client.send(b"GET /3000000/a HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
        got, _ = client.drain(10)
    body = got.split(b"\r\n\r\n", 1)[1]
    assert body_of("/3000000/a", 3000000).startswith(body)
    waiting.until(lambda: metric(proxy, "cache_disk_bad_files") == 1, "the file to be found bad")
    get(proxy, "/3000000/a")
    assert len(server.requests) == asked + 1


@pytest.mark.parametrize("again", [restart, crash])
def test_exchanged_files_are_not_taken_for_each_other(kept, again):
    """Each file says whose it is."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a", "/1000/b")
    asked = len(server.requests)
    end(proxy) if again is restart else kill(proxy)
    one, two = files(proxy)
    os.rename(one, one + "x")
    os.rename(two, one)
    os.rename(one + "x", two)
    proxy.start()
    was_read(proxy)
    get(proxy, "/1000/a")
    get(proxy, "/1000/b")
    assert len(server.requests) == asked + 2


@pytest.mark.parametrize("name", ["index", "clean", "purges.base", "purges.log"])
@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "deleted"])
def test_broken_records_never_make_a_wrong_answer(kept, name, how):
    """The start succeeds; what the records do not vouch for is read from the files, or fetched anew."""
    proxy, _ = kept()
    put_on_disk(proxy, "/1000/a", "/200000/b")
    end(proxy)
    path = next(os.path.join(proxy.objects, found) for found in os.listdir(proxy.objects) if found.startswith(name))
    size = os.path.getsize(path)
    if how == "deleted":
        os.unlink(path)
    elif how == "flipped" and size:
        with open(path, "r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 1]))
    else:
        os.truncate(path, size // 2 if how == "cut" else 0)
    proxy.start()
    get(proxy, "/1000/a")
    get(proxy, "/200000/b")
    was_read(proxy)
    get(proxy, "/1000/a")


@pytest.mark.parametrize("again", [restart, crash])
@pytest.mark.parametrize("how", ["command", "prefix", "tag", "all", "method", "post"])
def test_a_purge_is_remembered(kept, again, how):
    """What was purged does not come back from disk; what was not, does."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/gone", "/1000/stays")
    if how == "method":
        assert proxy.get("/1000/gone", "PURGE").status == 200
    elif how == "post":
        assert proxy.get("/1000/gone", "POST", body=b"x").status == 200
    else:
        what = {"command": ["http://site.test/1000/gone"], "prefix": ["--prefix", "http://site.test/1000/g"], "tag": ["--tag", "1000/gone"],
                "all": ["--all"]}[how]
        assert proxy.command("purge", *what).returncode == 0
    asked = len(server.requests)
    again(proxy)
    get(proxy, "/1000/gone")
    assert len(server.requests) == asked + 1
    get(proxy, "/1000/stays")
    assert len(server.requests) == asked + (2 if how == "all" else 1)
    # And what is stored after it lives.
    get(proxy, "/1000/gone")
    waiting.until(lambda: get(proxy, "/1000/gone") and disk(proxy)["objects"] >= (1 if how == "all" else 2), "the new one on disk")
    asked = len(server.requests)
    again(proxy)
    get(proxy, "/1000/gone")
    assert len(server.requests) == asked


def test_a_newer_response_replaces_the_one_on_disk(kept):
    """After a restart the old one does not come back."""
    answers = iter([b"old", b"new", b"newest"])
    proxy, server = kept(lambda request: reply(next(answers), headers=FRESH))
    proxy.get("/x")
    waiting.until(lambda: proxy.get("/x").body == b"old" and disk(proxy)["objects"] == 1, "the old one on disk")
    assert proxy.get("/x", headers=[("Cache-Control", "no-cache")]).body == b"new"
    assert proxy.get("/other").body == b"newest"
    waiting.until(lambda: disk(proxy)["objects"] == 0 or proxy.get("/x").body == b"new", "the old one to go")
    restart(proxy)
    assert len(server.requests) == 3
    response = proxy.get("/x") if disk(proxy)["objects"] else None
    assert response is None or response.body == b"new"


def test_a_stale_object_is_validated(kept):
    """What comes stale from disk is asked about, not fetched."""
    def answer(request):
        if request.headers.get("If-None-Match") == '"v"':
            return reply(b"", 304, headers=[("ETag", '"v"'), ("Cache-Control", "max-age=1")], length=False)
        return reply(b"x" * 300_000, headers=[("ETag", '"v"'), ("Cache-Control", "max-age=1")])
    proxy, server = kept(answer)
    proxy.get("/x")
    waiting.until(lambda: len(proxy.get("/x").body) == 300_000 and disk(proxy)["objects"] == 1, "it on disk")
    restart(proxy)
    waiting.until(lambda: len(proxy.get("/x").body) == 300_000 and server.requests[-1].headers.get("If-None-Match") == '"v"', "a validation")
    assert sum(1 for request in server.requests if not request.headers.has("If-None-Match")) == 1


def test_the_budget_holds(kept):
    """Old objects make room; the files go with them."""
    proxy, _ = kept(settings={"cache": {"memory": "16MiB", "disk": {"size": "8MiB"}}})
    for i in range(30):
        get(proxy, f"/500000/{i}")
        waiting.until(lambda: get(proxy, f"/500000/{i}") and metric(proxy, "cache_disk_writes") > i * 0.9, "it on disk")
    assert disk(proxy)["file_bytes"] <= 8 << 20 and disk(proxy)["evictions"] > 0
    waiting.until(lambda: disk(proxy)["dead_files"] == 0 and len(files(proxy)) == disk(proxy)["objects"], "the dead files to go", 10)
    assert sum(os.path.getsize(path) for path in files(proxy)) <= 8 << 20


def test_workers_and_caretaker_killed_in_between(kept):
    """What was written outlives them; nothing half written is taken up."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a", "/3000000/b")
    before = proxy.wait_workers(2)
    for pid in [*before.values(), proxy.caretaker()]:
        os.kill(pid, signal.SIGKILL)
    proxy.wait_workers(2, without=before.values())
    get(proxy, "/1000/a")
    get(proxy, "/3000000/b")
    asked = len(server.requests)
    restart(proxy)
    get(proxy, "/1000/a")
    get(proxy, "/3000000/b")
    assert len(server.requests) == asked and disk(proxy)["objects"] == 2


def test_the_tier_outlives_an_upgrade(kept):
    """The new image goes on with it, and with its purges."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a", "/1000/b")
    before = proxy.wait_workers(2)
    assert proxy.command("upgrade").returncode == 0
    proxy.wait_workers(2, without=before.values())
    assert disk(proxy)["objects"] == 2
    assert proxy.command("purge", "http://site.test/1000/a").returncode == 0
    asked = len(server.requests)
    crash(proxy)
    get(proxy, "/1000/b")
    assert len(server.requests) == asked
    get(proxy, "/1000/a")
    assert len(server.requests) == asked + 1


def test_two_proxies_do_not_share_a_folder(kept):
    """The second one has no disk tier, says so, and serves."""
    proxy, _ = kept()
    other, _ = kept(path=proxy.objects)
    get(other, "/1000/a")
    assert disk(other) is None and "another Ladle uses it" in other.output()
    put_on_disk(proxy, "/1000/a")


@pytest.mark.parametrize("how", ["no tier", "no cache", "another's folder"])
def test_what_a_life_without_the_tier_purged_does_not_come_back(kept, how):
    """Its purges are told to nobody, so it takes away what vouches for the objects."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a")
    end(proxy)
    settings = {"no tier": {"memory": "16MiB", "disk": {"size": "0B"}}, "no cache": {"memory": "0B", "disk": {"size": "0B"}}}
    if how in settings:
        proxy.configure({"cache": settings[how], "site": {"*": {"cache": how == "no tier"}}})
    else:
        os.chown(proxy.objects, 0, 0)
    proxy.start()
    assert (proxy.status()["cache"] or {}).get("disk") is None
    if how != "no cache":
        assert proxy.command("purge", "http://site.test/1000/a").returncode == 0
    end(proxy)
    proxy.configure({"cache": {"memory": "16MiB", "disk": {"size": "256MiB"}}, "site": {"*": {"cache": True}}})
    if how not in settings:
        user = pwd.getpwnam("nobody")
        os.chown(proxy.objects, user.pw_uid, user.pw_gid)
    proxy.start()
    was_read(proxy)
    asked = len(server.requests)
    get(proxy, "/1000/a")
    assert len(server.requests) == asked + 1


def test_a_tier_that_is_off_does_not_touch_another_ones_folder(kept, ladle, origin):
    """A Ladle that has none leaves alone what another one is using."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a")
    other = ladle(origin(sized), {"site": {"*": {"cache": True}}}, start=False)
    other.configure({"cache": {"disk": {"size": "0B", "path": proxy.objects}}})
    other.start()
    asked = len(server.requests)
    crash(proxy)
    get(proxy, "/1000/a")
    assert len(server.requests) == asked


def test_an_unsafe_request_is_answered_when_the_file_is_gone(kept, traced):
    """A crash after the answer does not bring it back, however slow the disk is."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a")
    with traced(proxy, "unlinkat:delay_enter=400000"):
        assert proxy.get("/1000/a", "POST", body=b"x").status == 200
        assert not files(proxy)
        kill(proxy)
    proxy.start()
    was_read(proxy)
    asked = len(server.requests)
    get(proxy, "/1000/a")
    assert len(server.requests) == asked + 1


def test_an_unsafe_request_while_the_file_is_being_written(kept, traced):
    """What comes to be after it does not count: the log says so before the answer."""
    proxy, server = kept(settings={"server": {"workers": 1}})
    with traced(proxy, "renameat:delay_enter=2000000"):
        get(proxy, "/1000/a")
        get(proxy, "/1000/a")
        waiting.until(lambda: any(name.endswith(".new") for _, _, names in os.walk(proxy.objects) for name in names), "the write to begin")
        assert proxy.get("/1000/a", "POST", body=b"x").status == 200
        with open(os.path.join(proxy.objects, "purges.log"), "rb") as log:
            assert b"1000/a" in log.read()
        waiting.until(lambda: disk(proxy)["dead_files"] == 0 and metric(proxy, "cache_disk_writes") == 1, "the write to end")
    waiting.until(lambda: not files(proxy), "its file to go")
    crash(proxy)
    asked = len(server.requests)
    get(proxy, "/1000/a")
    assert len(server.requests) == asked + 1


def test_a_caretaker_goes_on_where_the_last_one_was_killed(kept):
    """It takes nothing up that has been taken up once: that may have left the index since, and its file is about to go."""
    proxy, _ = kept(settings={"cache": {"disk": {"second_sight": False}}})
    targets = [f"/1000/{i}" for i in range(60)]
    waiting.until(lambda: [get(proxy, target) for target in targets] and disk(proxy)["objects"] == len(targets), "all on disk")
    kill(proxy)
    proxy.start()
    waiting.until(lambda: 20 <= disk(proxy)["objects"], "some to be taken up")
    os.kill(proxy.caretaker(), signal.SIGKILL)
    was_read(proxy)
    assert disk(proxy)["objects"] == len(targets)
    told = re.search(r'"the disk tier was read" objects=(\d+)', proxy.output())
    assert told and int(told[1]) < len(targets) - 10  # at most one subfolder was read twice


def test_an_unsafe_request_while_the_file_is_being_read(kept, traced):
    """What is shown in memory afterwards is not what the disk had."""
    posts = []

    def answer(request):
        if request.method == "POST":
            posts.append(request)
            return reply(b"ok")
        return reply(b"new" * 20000 if posts else b"old" * 20000, headers=FRESH)
    proxy, _ = kept(answer)
    proxy.get("/x")
    waiting.until(lambda: proxy.get("/x").status == 200 and disk(proxy)["objects"] == 1, "it on disk")
    restart(proxy)
    with traced(proxy, "pread64:delay_enter=600000"):
        with proxy.client() as client:
            client.send(b"GET /x HTTP/1.1\r\nHost: site.test\r\n\r\n")
            waiting.until(lambda: metric(proxy, "cache_disk_hits") == 1, "the file to be opened")
            assert proxy.get("/x", "POST", body=b"x").status == 200
            assert client.response().status == 200
    assert proxy.get("/x").body == b"new" * 20000


def validated(lifetimes):
    """The same body for ever: 200 with the first lifetime, then 304 with the others; the last one stays."""
    left = list(lifetimes)

    def answer(request):
        lifetime = left.pop(0) if len(left) > 1 else left[0]
        headers = [("ETag", '"v"'), ("Cache-Control", f"max-age={lifetime}")]
        if request.headers.get("If-None-Match") == '"v"':
            return reply(b"", 304, headers=headers, length=False)
        return reply(b"x" * 3000, headers=headers)
    return answer


def full_answers(server):
    return sum(1 for request in server.requests if not request.headers.has("If-None-Match"))


def test_a_validated_object_stays_on_disk(kept):
    """Stale anyway, it can only be validated again, also after a restart; the same file, written once."""
    proxy, server = kept(validated([1]))
    proxy.get("/x")
    waiting.until(lambda: proxy.get("/x").status == 200 and disk(proxy)["objects"] == 1, "it on disk")
    before = files(proxy)
    waiting.until(lambda: proxy.get("/x").status == 200 and metric(proxy, "cache_validated") >= 2, "two validations")
    assert files(proxy) == before and disk(proxy)["objects"] == 1 and metric(proxy, "cache_disk_writes") == 1
    for again in (restart, crash):
        again(proxy)
        assert proxy.get("/x").body == b"x" * 3000
        assert full_answers(server) == 1, "validated, not fetched"


def test_an_object_that_became_fresh_for_long_is_written_again(kept):
    """After the next hit, so that a restart needs no server."""
    proxy, server = kept(validated([1, 3600]))
    proxy.get("/x")
    waiting.until(lambda: proxy.get("/x").status == 200 and disk(proxy)["objects"] == 1, "it on disk")
    before = files(proxy)
    waiting.until(lambda: proxy.get("/x").status == 200 and metric(proxy, "cache_disk_writes") == 2, "it to be written again")
    waiting.until(lambda: len(files(proxy)) == 1 and files(proxy) != before, "the old file to go")
    asked = len(server.requests)
    restart(proxy)
    assert proxy.get("/x").body == b"x" * 3000 and len(server.requests) == asked


def test_a_shorter_lifetime_is_not_forgotten(kept):
    """A 304 that takes back what the stored response allowed: once its file is gone, or has a new header, the disk does not allow it again."""
    proxy, server = kept(validated([3600, 0]))
    proxy.get("/x")
    waiting.until(lambda: proxy.get("/x").status == 200 and disk(proxy)["objects"] == 1, "it on disk")
    proxy.get("/x", headers=[("Cache-Control", "no-cache")])
    assert metric(proxy, "cache_validated") == 1
    waiting.until(lambda: all(os.path.exists(file + ".head") for file in files(proxy)), "the disk to follow")
    asked = len(server.requests)
    crash(proxy)
    assert proxy.get("/x").body == b"x" * 3000
    assert len(server.requests) == asked + 1


def test_a_disk_that_is_full_at_a_start(kept, small_disk):
    """What is there is served; what could not be written then is written when there is room, without another start."""
    proxy, server = kept(path=str(small_disk / "objects"))
    put_on_disk(proxy, "/1000/a")
    kill(proxy)
    fill_up(small_disk)
    proxy.start()
    was_read(proxy)
    asked = len(server.requests)
    get(proxy, "/1000/a")
    assert len(server.requests) == asked and metric(proxy, "cache_disk_hits") == 1
    os.unlink(small_disk / "filler")
    waiting.until(lambda: os.path.exists(small_disk / "objects" / "purges.base"), "purges to be remembered", 20)
    put_on_disk(proxy, "/1000/b")
    asked = len(server.requests)
    crash(proxy)
    get(proxy, "/1000/a")
    get(proxy, "/1000/b")
    assert len(server.requests) == asked


def test_a_purge_that_could_not_be_written_down_holds(kept, small_disk):
    """The tier begins empty after a crash rather than to bring it back; and remembers again when there is room."""
    proxy, server = kept(path=str(small_disk / "objects"))
    put_on_disk(proxy, "/1000/a", "/1000/b")
    fill_up(small_disk)
    tag = "t" * 5000
    for i in range(2):
        assert proxy.command("purge", "--tag", f"{tag}{i}", "http://site.test/1000/a").returncode == 0
    asked = len(server.requests)
    crash(proxy)
    get(proxy, "/1000/a")
    get(proxy, "/1000/b")
    assert len(server.requests) == asked + 2


def test_a_full_disk_fails_no_request(kept, small_disk):
    """Not kept on disk, told once, and used again when there is room."""
    objects = str(small_disk / "objects")
    proxy, _ = kept(path=objects)
    put_on_disk(proxy, "/1000/a")
    fill_up(small_disk)
    for i in range(10):
        get(proxy, f"/300000/{i}")
        get(proxy, f"/300000/{i}")
    waiting.until(lambda: disk(proxy)["is_bad"], "the tier to be set aside")
    assert metric(proxy, "cache_disk_errors") >= 1 and metric(proxy, "cache_disk_bad") >= 1
    assert proxy.output().count("nothing is written to the disk tier for a while") <= 2
    assert "SET ASIDE" in proxy.command("status").stdout
    waiting.until(lambda: get(proxy, "/1000/b") and get(proxy, "/1000/b") and metric(proxy, "cache_disk_write_refused") > 0, "a write to be refused")
    os.unlink(small_disk / "filler")


def test_status_shows_the_tier(kept):
    """Objects and bytes, for people."""
    proxy, _ = kept()
    put_on_disk(proxy, "/1000/a")
    assert "on disk 1 objects" in proxy.command("status").stdout
    assert 4096 < disk(proxy)["index_bytes"] < 2 << 20 < disk(proxy)["index_memory_bytes"], "what was never touched costs nothing"


def test_the_listing_shows_what_is_only_on_disk(kept):
    """By its file, or by its URL; what memory has as well is listed once."""
    proxy, _ = kept()
    put_on_disk(proxy, "/1000/a", "/1000/b")
    restart(proxy)

    def listed(*arguments):
        return json.loads(proxy.command("cache", "--json", *arguments).stdout)["objects"]
    objects = listed()
    assert sorted(one["file"] for one in objects) == sorted("/".join(path.split("/")[-2:]) for path in files(proxy))
    assert all(one["tier"] == "disk" and one["status"] == 200 and one["lifetime_s"] == 3600 and one["tags"] == 2 for one in objects)
    assert len(listed("--limit", "1")) == 1
    shown = proxy.command("cache", "http://site.test/1000/a")
    assert shown.returncode == 0 and "and not in memory" in shown.stdout and "now       served\n" in shown.stdout
    assert "2 responses; on disk 2 objects in all" in proxy.command("cache").stdout
    assert proxy.command("cache", "http://site.test/1000/none").returncode == 1
    get(proxy, "/1000/a")
    waiting.until(lambda: metric(proxy, "cache_disk_loads") == 1, "it in memory")
    (one,) = listed("http://site.test/1000/a")
    assert one["tier"] == "memory" and one["file"] in {object["file"] for object in objects}
    assert sorted(one["tier"] for one in listed()) == ["disk", "memory"]
    assert proxy.command("purge", "http://site.test/1000/b").returncode == 0
    (one,) = listed("http://site.test/1000/b")
    assert one["verdict"] == "not served: purged"


@pytest.mark.parametrize("again", [restart, crash])
def test_variants_that_are_only_on_disk_are_listed(kept, again):
    """All of the URL that was asked for, with what tells them apart, and none of another; those that memory has are listed once."""
    def varied(request):
        kind = request.headers.get("X-Kind", "none")
        return reply(f"{request.target} {kind} ".encode() * 100, headers=[*FRESH, ("Vary", "X-Kind")])
    proxy, server = kept(varied)

    def ask(target, kind):
        response = proxy.get(target, headers=[("X-Kind", kind)])
        assert response.body == f"{target} {kind} ".encode() * 100
        return True

    def listed(target):
        return json.loads(proxy.command("cache", "--json", f"http://site.test{target}").stdout)["objects"]
    kinds = ["one", "two", "three", "x" * 1000]
    for target in ("/a", "/b"):
        for kind in kinds:
            before = disk(proxy)["objects"]
            waiting.until(lambda: ask(target, kind) and metric(proxy, "cache_fills_open") == 0 and disk(proxy)["objects"] > before, f"{kind} on disk")
    assert {one["tier"] for one in listed("/a")} == {"memory"} and len(listed("/a")) == 5
    waiting.until(lambda: len(files(proxy)) == 10, "all on disk")
    again(proxy)
    was_read(proxy)
    asked = len(server.requests)
    objects = listed("/a")
    assert len(objects) == 5 and {one["tier"] for one in objects} == {"disk"} and {one["url"] for one in objects} == {"http://site.test/a"}
    assert sorted(one["kind"] for one in objects) == ["response"] * 4 + ["vary"]
    shown = [one["variant"] for one in objects if one["kind"] == "response"]
    assert all(sum(kind[:50] in variant for variant in shown) == 1 for kind in kinds) and max(map(len, shown)) <= 200
    assert len({one["file"] for one in objects}) == 5
    ask("/a", "two")
    assert sorted(one["tier"] for one in listed("/a")) == ["disk"] * 3 + ["memory"] * 2
    assert listed("/c") == [] and len(server.requests) == asked
    assert proxy.command("purge", "http://site.test/a").returncode == 0
    assert {one["verdict"] for one in listed("/a") if one["kind"] == "response"} == {"not served: purged"}
