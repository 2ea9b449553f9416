# SPDX-License-Identifier: Apache-2.0
"""`ladle purge` and `ladle cache` over a cache with something in it."""

import json
import os
import pathlib
import signal

import pytest

from tests.harness.origin import reply


@pytest.fixture
def cached(ladle, origin):
    """A caching proxy before a server whose answers count up, so that a repeated one came from the cache."""
    def make(settings=None):
        counted = iter(range(1, 10_000))

        def answer(request):
            tags = request.target.rsplit("tag=", 1)[1] if "tag=" in request.target else "none"
            headers = [("Cache-Control", "max-age=60"), ("Surrogate-Key", tags), ("ETag", '"e"')]
            if request.target.startswith("/vary"):
                headers.append(("Vary", "Accept-Encoding"))
            return reply(f"answer {next(counted)}".encode(), headers=headers)
        server = origin(answer)
        return ladle(server, {"cache": {"memory": "16MiB"}, "server": {"workers": 2}, "site": {"*": {"cache": True}}, **(settings or {})})
    return make


def listed(proxy, *arguments):
    result = proxy.command("cache", "--json", *arguments)
    return json.loads(result.stdout)["objects"]


def is_kept(proxy, target, **more):
    """Whether a second request is answered by the cache."""
    return proxy.get(target, **more).body == proxy.get(target, **more).body


def test_purge_takes_what_it_names_out_of_every_worker(cached):
    """By URL, prefix, tag, or all: at once everywhere, and what is not named stays."""
    proxy = cached()
    targets = ["/a?tag=red", "/a/b?tag=blue", "/c?tag=red", "/d"]

    def purged(*arguments):
        before = {target: proxy.get(target).body for target in targets}
        assert all(proxy.get(target).body == body for target, body in before.items()), "all are kept"
        assert proxy.command("purge", *arguments).returncode == 0
        return [target for target in targets if {proxy.get(target).body for _ in range(4)} != {before[target]}]
    assert purged(f"http://SITE.test:80{targets[0]}") == targets[:1]
    assert purged("--prefix", "http://site.test/a") == targets[:2]
    assert purged("--tag", "red") == ["/a?tag=red", "/c?tag=red"]
    assert purged("--tag", "green") == []
    assert purged("--all") == targets


def test_a_soft_purge_makes_stale(cached):
    """What was purged softly is validated before its next use."""
    proxy = cached()
    assert is_kept(proxy, "/x")
    assert proxy.command("purge", "--soft", "http://site.test/x").returncode == 0
    assert listed(proxy, "http://site.test/x")[0]["purged"] == "soft"
    assert "softly purged" in proxy.command("cache", "http://site.test/x").stdout
    before = proxy.status()["cache"]["objects"]
    proxy.get("/x")
    assert proxy.status()["cache"]["objects"] == before


def test_purge_by_url_reaches_keys_of_another_form(cached):
    """A route's own key does not stand between a URL and what it names."""
    proxy = cached({"site": {"*": {"cache": {"key": ["host", "path", "query:!utm_*", "header:X-Form"]}}}})
    assert is_kept(proxy, "/k?a=1&utm_x=1", headers=[("X-Form", "one")])
    assert listed(proxy, "http://site.test/k?a=1")[0]["key"] == "x-form:one"
    before = proxy.get("/k?a=1", headers=[("X-Form", "one")]).body
    assert proxy.command("purge", "http://site.test/k?a=1&utm_y=2").returncode == 0
    assert proxy.get("/k?a=1", headers=[("X-Form", "one")]).body != before


def test_cache_shows_a_url_with_its_variants(cached):
    """Age, lifetime, hits, tags and what a request would get; each variant."""
    proxy = cached()
    for encoding in ("gzip", "br"):
        assert is_kept(proxy, "/vary?tag=one", headers=[("Accept-Encoding", encoding)])
    objects = [one for one in listed(proxy, "http://site.test/vary?tag=one") if one["kind"] == "response"]
    assert sorted(one["variant"] for one in objects) == ["accept-encoding:br\n", "accept-encoding:gzip\n"]
    for one in objects:
        assert (one["status"], one["state"], one["lifetime_s"], one["lifetime_from"], one["tags"]) == (200, "complete", 60, "max-age", 1)
        assert one["hits"] >= 1 and 0 <= one["age_s"] <= 5 and one["verdict"] == "served" and one["flags"] == ["validator"]
    text = proxy.command("cache", "http://site.test/vary?tag=one").stdout
    assert text.startswith("varies by accept-encoding\n")
    assert "http://site.test/vary?tag=one [accept-encoding:br]\n  now       served\n  status    200\n" in text


def test_cache_lists_within_a_limit(cached):
    """--limit bounds the list, and it says that there is more; --prefix chooses."""
    proxy = cached()
    for number in range(5):
        proxy.get(f"/list/{number}")
    proxy.get("/other")
    result = proxy.command("cache", "--limit", "3")
    assert result.stdout.splitlines()[-1] == "3 of about 6 responses; --limit shows more"
    assert len(listed(proxy, "--prefix", "http://site.test/list/")) == 5
    result = proxy.command("cache", "--prefix", "http://site.test/other")
    assert result.stdout.splitlines()[-1] == "1 response" and "http://site.test/other" in result.stdout
    assert proxy.command("cache", "--limit", "0").returncode == 2


def test_cache_check_walks_the_memory(cached):
    """--check finds a cache in use whole, and goes with neither a URL nor a prefix."""
    proxy = cached()
    for number in range(20):
        proxy.get(f"/list/{number}")
    result = proxy.command("cache", "--check")
    assert result.returncode == 0 and result.stdout == "20 objects, the cache is whole, 0 B lost\n"
    answer = json.loads(proxy.command("cache", "--check", "--json").stdout)
    assert (answer["broken"], answer["leaked_bytes"], answer["objects"]) == ([], 0, 20)
    assert proxy.command("cache", "--check", "--prefix", "http://site.test/").returncode == 2


def test_cache_check_of_a_damaged_cache(cached):
    """It says so and fails; the master, which looks, outlives it."""
    proxy = cached()
    for name in "abc":
        proxy.get("/" + name)
    descriptor = next(path for path in pathlib.Path(f"/proc/{proxy.pid}/fd").iterdir() if os.readlink(path).startswith("/memfd:ladle-cache"))
    children = proxy.children()
    with open(descriptor, "r+b", buffering=0) as memory:
        for pid in children:  # they would follow what is written here
            os.kill(pid, signal.SIGSTOP)
        try:
            for word in range(4, 11):  # where the parts lie
                memory.seek(8 * word)
                whole = memory.read(8)
                memory.seek(8 * word)
                memory.write(b"\x5a" * 8)
                result = proxy.command("cache", "--check")
                memory.seek(8 * word)
                memory.write(whole)
                assert result.returncode == 1 and "the cache's header is damaged" in result.stdout, result
        finally:
            for pid in children:
                os.kill(pid, signal.SIGCONT)
    assert proxy.command("cache", "--check").returncode == 0
    assert proxy.get("/a").status == 200 and proxy.children() == children
