# SPDX-License-Identifier: Apache-2.0
"""The disk tier under kill -9 of workers and of everything, and under hands that damage its files: never a wrong byte, nothing that was
purged comes back, every start succeeds."""

import contextlib
import os
import random
import signal
import time

from tests.harness import waiting
from tests.e2e.caching.disk_tier import is_over

from . import cache_traffic
from .cache_traffic import TrafficOrigin, Versions, Visitors
from .scale import pick, say
from .test_cache_kills import ready_workers


def make(ladle, cleanup, size="32MiB"):
    """Memory for a fraction of the keys; the disk takes what is asked for again."""
    versions = Versions()
    cleanup.append(TrafficOrigin(versions, waiting.free_port()))
    proxy = ladle(cleanup[-1].url, {"server": {"workers": 3}, "site": {"*": {"cache": True}}, "log": {"error": {"level": "warning"}}}, start=False)
    proxy.configure({"cache": {"memory": "8MiB", "disk": {"size": size, "path": proxy.path("objects")}}})
    return proxy.start(), versions


def kill(pid):
    """It may have ended, and been waited for, since it was seen."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_all(proxy):
    pids = [proxy.pid, *proxy.children()]
    random.shuffle(pids)
    for pid in pids:
        kill(pid)
    proxy.process.wait()
    waiting.until(lambda: all(is_over(pid) for pid in pids), "the end", 20)
    proxy.stderr.close()


def stop_cleanly(proxy):
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(60) == 0
    proxy.stderr.close()


def object_files(proxy):
    return [os.path.join(folder, name) for folder, _, names in os.walk(proxy.path("objects")) for name in names
            if len(os.path.basename(folder)) == 2]


def damage_some(paths):
    """One in ten: a flipped bit, a cut, another's content, none at all."""
    for path in random.sample(paths, len(paths) // 10):
        size = os.path.getsize(path)
        if size == 0:  # damaged before, and not asked for since
            continue
        how = random.randrange(4)
        if how == 0:
            with open(path, "r+b") as file:
                file.seek(random.randrange(size))
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 1 << random.randrange(8)]))
        elif how == 1:
            os.truncate(path, random.randrange(size))
        elif how == 2:
            other = random.choice(paths)
            if os.path.exists(other):
                with open(other, "rb") as source, open(path, "wb") as out:
                    out.write(source.read())
        else:
            os.unlink(path)


def check(seen, wrong):
    wrong += seen.wrong + seen.outdated + seen.hanging
    assert not wrong, wrong[:5]


def test_everything_killed_and_files_damaged_again_and_again(ladle, cleanup):
    """Crash or clean stop, with and without damage: no wrong body, none older than its purge, and much still comes from disk."""
    proxy, versions = make(ladle, cleanup)
    rounds, loads, files, bad = pick(6, 100), 0, 0, 0
    for number in range(5 * rounds):
        if number >= rounds and loads > 50 and files > 50 and bad > 0:  # a busy machine needs more of them for that
            break
        visitors = Visitors(proxy.port, versions, processes=2, clients=6)
        time.sleep(pick(1.5, 3))
        if number % 2 == 0:  # in the middle of it all
            metrics = proxy.status()["metrics"]
            kill_all(proxy)
            check(visitors.stop(), [])
        else:
            check(visitors.stop(), [])
            metrics = proxy.status()["metrics"]
            stop_cleanly(proxy)
        loads += metrics["cache_disk_loads"]
        bad += metrics["cache_disk_bad_files"]
        found = object_files(proxy)
        files = max(files, len(found))
        if number % 3 != 0:
            damage_some(found)
        proxy.start()
    waiting.until(lambda: not proxy.status()["cache"]["disk"]["is_being_read"], "the folder to be read", 30)
    assert loads > 50 and files > 50 and bad > 0, (loads, files, bad)
    say(f"disk tier: {rounds} stops and crashes, up to {files} files, {loads} loads, {bad} bad files found: 0 wrong bodies, 0 purged ones")


def test_workers_killed_while_the_disk_is_read_and_written(ladle, cleanup):
    """A worker's death costs nobody a right answer, and leaves no file that is not accounted for."""
    proxy, versions = make(ladle, cleanup)
    visitors = Visitors(proxy.port, versions, processes=2, clients=6)
    killed = 0
    for _ in range(pick(8, 200)):
        time.sleep(random.uniform(0.05, 0.3))
        living = waiting.until(lambda: len(found := ready_workers(proxy)) == 3 and found, "three workers", 40)
        kill(random.choice([*living, proxy.caretaker() or living[0]]))
        killed += 1
    time.sleep(1)

    def enough():
        now = proxy.status()["metrics"]
        return now["cache_disk_writes"] > 50 and now["cache_disk_loads"] > 10 and now
    metrics = waiting.until(enough, "the disk to be written and read", 60)
    check(visitors.stop(), [])
    proxy.wait_workers(3, 40)

    def is_at_rest():
        disk = proxy.status()["cache"]["disk"]
        return disk["dead_files"] == 0 and disk["objects"] == len(object_files(proxy)) and not disk["is_being_read"]
    waiting.until(is_at_rest, "one file for each object", 30)
    say(f"disk tier: {killed} kills of workers and caretaker, {metrics['cache_disk_writes']} writes: 0 wrong bodies, no stray file")


def test_large_ones_are_killed_damaged_and_purged(ladle, cleanup, monkeypatch):
    """What is on disk alone, while it is fetched and served: no wrong body, none older than its purge, no stray file in the end."""
    monkeypatch.setattr(cache_traffic, "LARGE_SCALE", 16)
    proxy, versions = make(ladle, cleanup, "192MiB")
    sums = dict.fromkeys(("cache_disk_fetches", "cache_disk_serves", "cache_disk_bad_files"), 0)
    rounds, number, is_last = pick(6, 60), -1, False
    while not is_last:
        number += 1
        visitors = Visitors(proxy.port, versions, processes=2, clients=4)
        for _ in range(pick(4, 10)):
            time.sleep(random.uniform(0.5, 1))
            living = waiting.until(lambda: len(found := ready_workers(proxy)) == 3 and found, "three workers", 40)
            kill(random.choice([*living, proxy.caretaker() or living[0]]))
        metrics = proxy.status()["metrics"]
        for name in sums:
            sums[name] += metrics[name]
        has_enough = sums["cache_disk_fetches"] > 10 and sums["cache_disk_serves"] > 3  # a busy machine needs more rounds for that
        is_last = number >= rounds - 1 and has_enough or number >= 5 * rounds
        if is_last:
            check(visitors.stop(), [])
        elif number % 2 == 0:
            kill_all(proxy)
            check(visitors.stop(), [])
        else:
            check(visitors.stop(), [])
            stop_cleanly(proxy)
        if not is_last:
            if number % 3 != 0:
                damage_some(object_files(proxy))
            proxy.start()

    def is_at_rest():
        disk = proxy.status()["cache"]["disk"]
        found = object_files(proxy)
        files = [path for path in found if len(os.path.basename(path)) == 16]
        has_owner = all(path[:path.index(".", path.rindex("/"))] in files for path in found if path not in files)
        return disk["dead_files"] == 0 and disk["objects"] == len(files) and has_owner and not disk["is_being_read"]
    waiting.until(is_at_rest, "one file for each object", 30)
    assert proxy.command("cache", "--check").returncode == 0
    assert sums["cache_disk_fetches"] > 10 and sums["cache_disk_serves"] > 3, sums
    say(f"disk tier, large objects: {rounds} stops and crashes, {sums}: 0 wrong bodies, 0 purged ones")
