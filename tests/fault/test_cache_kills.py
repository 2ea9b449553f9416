# SPDX-License-Identifier: Apache-2.0
"""kill -9 of workers that share the cache, under everything at once: reads, fetches, ranges, variants, validations, purges, evictions."""

import json
import os
import random
import shutil
import signal
import tempfile
import time

import pytest

from tests.harness import waiting

from .cache_traffic import TrafficOrigin, Versions, Visitors, fill_with_others
from .scale import FULL, pick, say

MEMORY = 16 << 20
SECONDS = 300  # the full number of kills, or as many as fit


@pytest.fixture
def tmpfs(cleanup):
    """A folder on tmpfs for the cache's files alone."""
    class Folder:
        path = tempfile.mkdtemp(prefix="ladle-fault-", dir="/dev/shm")

        def used(self):
            return sum(os.stat(os.path.join(folder, name)).st_blocks * 512 for folder, _, names in os.walk(self.path) for name in names)

        def stop(self):
            shutil.rmtree(self.path, ignore_errors=True)
    cleanup.append(Folder())
    os.chmod(cleanup[-1].path, 0o777)
    return cleanup[-1]


def check_cache(proxy):
    """What `ladle cache --check` says: (lines of what is broken, bytes that nobody owns)."""
    result = proxy.command("cache", "--check", "--json")
    answer = json.loads(result.stdout)
    assert (result.returncode == 0) == (not answer["broken"] and answer["leaked_bytes"] == 0)
    return answer["broken"], answer["leaked_bytes"]


def ready_workers(proxy):
    """Process ids. One that dies before it is ready makes the master wait ever longer, which is not what is to be seen here."""
    return [one["pid"] for one in proxy.status()["workers"] if one["state"] == "ready"]


def has_seen_enough(proxy):
    """For the claim to mean something; the clients' own counts are there at the end."""
    status = proxy.status()
    return status["metrics"]["cache_hits"] > 500 and status["metrics"]["cache_purges"] > 30 and status["cache"]["evictions"] > 100


def kill_at_random(proxy, kills, every):
    """Returns (how many were killed, lines of what was broken after some of them, most bytes leaked)."""
    broken, leaked, killed = [], 0, 0
    end = time.monotonic() + SECONDS
    while killed < kills and time.monotonic() < end:
        time.sleep(random.uniform(0.02, 0.15))
        living = waiting.until(lambda: len(found := ready_workers(proxy)) >= 3 and found, "three workers", 40)
        os.kill(random.choice(living), signal.SIGKILL)
        killed += 1
        if killed % every == 0:
            waiting.until(lambda: len(ready_workers(proxy)) == 4, "four workers", 40)
            lines, bytes_lost = check_cache(proxy)
            broken += lines
            leaked = max(leaked, bytes_lost)
    return killed, broken, leaked


def test_workers_killed_at_random_never_serve_a_wrong_body(ladle, cleanup, tmpfs):
    """No body but what its URL and version say, none older than its purge, nobody hangs; afterwards the checker finds nothing broken,
    no reservation and no pin is left, and no file lies in the folder that is not accounted for."""
    kills = pick(20, 2000)
    versions = Versions()
    cleanup.append(TrafficOrigin(versions, waiting.free_port()))
    proxy = ladle(cleanup[-1].url, {"server": {"workers": 4}, "cache": {"memory": f"{MEMORY}B", "files": tmpfs.path}, "site": {"*": {"cache": True}},
                                   "log": {"error": {"level": "warning"}}})
    proxy.wait_workers(4)
    visitors = Visitors(proxy.port, versions)
    started = time.monotonic()
    time.sleep(1)
    killed, broken, leaked = kill_at_random(proxy, kills, pick(5, 20))
    waiting.until(lambda: has_seen_enough(proxy), "enough of everything", 60)
    time.sleep(0.5)
    seen = visitors.stop()
    took = time.monotonic() - started
    proxy.wait_workers(4, 40)
    before = proxy.status()["cache"]
    wrong = len(seen.wrong) + fill_with_others(proxy.port, 3000)
    rest = waiting.until(lambda: (now := proxy.status()["cache"])["fetches"] == now["leaving"] == now["dead_files"] == 0 and now, "the cache to come to rest", 20)
    lines, bytes_lost = check_cache(proxy)
    stray = max(0, tmpfs.used() - rest["file_bytes"])
    lost = max(leaked, bytes_lost) + stray
    filling = [one["url"] for one in json.loads(proxy.command("cache", "--json", "--limit", "10000").stdout)["objects"] if one.get("state") == "filling"]
    say(f"kill -9 × {killed} in {took:.0f} s: {dict(sorted(seen.counts.items()))}; {before['stored']} stored, {before['evictions']} evicted\n"
        f"{wrong} wrong bodies, {len(seen.outdated)} older than their purge, {len(seen.hanging)} that did not come, {len(broken) + len(lines)} broken invariants, {lost} bytes lost "
        f"({lost / MEMORY:.2%}), {stray} of them in files nobody knows of; {rest['leaving']} pinned, {rest['fetches']} fetches, {len(filling)} half-filled left over")
    assert not seen.wrong and wrong == 0, seen.wrong[:20]
    assert not seen.outdated, seen.outdated[:20]
    assert not broken and not lines, (broken + lines)[:20]
    assert lost < MEMORY // 100 and not filling
    assert not seen.hanging, seen.hanging
    # It was what it says it was.
    assert killed == kills or FULL
    assert seen.counts["hits"] > 100 and seen.counts["purges"] > 10 and seen.counts["status 206"] > 10 and before["evictions"] > 100
