# SPDX-License-Identifier: Apache-2.0
"""What the master does for the cache: its memory, its folder, its bells; what becomes of them when processes die or are replaced."""

import glob
import os
import pwd
import signal

import pytest

from tests.harness import waiting
from tests.harness.ladle import is_zombie


@pytest.fixture
def caching(ladle, origin):
    """A proxy whose folder for larger bodies lies in a folder of its own."""
    def make(settings=None, start=True):
        proxy = ladle(origin(), start=False)
        os.mkdir(proxy.path("bodies"))
        proxy.configure({"cache": {"memory": "16MiB", "files": proxy.path("bodies")}, "site": {"*": {"cache": True}}})
        proxy.configure(settings or {})
        return proxy.start() if start else proxy
    return make


def folders(proxy):
    return glob.glob(proxy.path("bodies") + "/ladle-cache-*")


def memory_of(pid):
    """The inodes of the caches that a process has mapped."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        return {line.split()[4] for line in file if "memfd:ladle-cache" in line}


def test_the_folder_lives_as_long_as_the_proxy(caching):
    """One folder, mode 0700, the workers' own; it goes with the master's end."""
    proxy = caching()
    [folder] = folders(proxy)
    assert os.stat(folder).st_mode & 0o7777 == 0o700
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    assert os.stat(folder).st_uid == pwd.getpwnam(user).pw_uid
    with open(folder + "/1", "wb") as file:
        file.write(b"body")
    assert proxy.command("stop").returncode == 0
    proxy.process.wait(waiting.PATIENCE)
    assert folders(proxy) == []


def test_a_folder_that_was_left_is_removed_at_the_next_start(caching):
    """A killed master cannot clean up; its folder goes as soon as nobody uses it."""
    proxy = caching()
    [left] = folders(proxy)
    with open(left + "/1", "wb") as file:
        file.write(b"body")
    children = proxy.children()
    os.kill(proxy.pid, signal.SIGKILL)
    proxy.process.wait()
    waiting.until(lambda: all(is_zombie(pid) for pid in children), "its processes to follow")
    assert folders(proxy) == [left]
    proxy.start()
    assert len(folders(proxy)) == 1 and folders(proxy) != [left]
    assert proxy.get().status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a master that is root")
def test_the_rights_of_the_packaged_unit_suffice(caching):
    """Without the right to write in others' folders: what the workers left in theirs goes at the stop, and after a kill."""
    proxy = caching(start=False)
    proxy.wrap = ["setpriv", "--bounding-set=-all,+net_bind_service,+setuid,+setgid,+kill,+chown,+dac_read_search", "--inh-caps=-all"]
    user = pwd.getpwnam("nobody")

    def leave_a_body():
        [folder] = folders(proxy)
        assert os.stat(folder).st_uid == user.pw_uid
        with open(folder + "/1", "wb") as file:
            os.fchown(file.fileno(), user.pw_uid, user.pw_gid)
        return folder
    proxy.start()
    left = leave_a_body()
    children = proxy.children()
    os.kill(proxy.pid, signal.SIGKILL)
    proxy.process.wait()
    waiting.until(lambda: all(is_zombie(pid) for pid in children), "its processes to follow")
    proxy.start()
    assert leave_a_body() != left
    assert proxy.command("stop").returncode == 0
    proxy.process.wait(waiting.PATIENCE)
    assert folders(proxy) == []


def test_without_memory_there_is_nothing(caching):
    """memory = "0B": no folder, no mapping, and status says none."""
    proxy = caching({"cache": {"memory": "0B"}, "site": {"*": {"cache": False}}})
    assert folders(proxy) == []
    assert proxy.status()["cache"] is None
    assert "cache\n  none" in proxy.command("status").stdout
    assert memory_of(proxy.workers()[0]) == set()


def test_status_tells_of_the_cache(caching):
    """Sizes and counts, for people and for programs."""
    cache = caching().status()["cache"]
    assert cache["memory_bytes"] == 16 << 20
    assert 8 << 20 < cache["usable_bytes"] < 16 << 20
    assert cache["objects"] == 0 and cache["fetches"] == 0 and cache["has_files"]
    assert set(cache["refusals"]) == {"too_large", "no_space", "waiting_for_files", "busy", "bad_request"}


def test_killed_processes_leave_the_cache_whole(caching):
    """kill -9 of workers and the caretaker: their rows are repaired and used again, in the same cache."""
    proxy = caching({"server": {"workers": 2}})
    mapped = memory_of(proxy.pid)
    assert len(mapped) == 1
    for _ in range(3):
        before = proxy.wait_workers(2)
        caretaker = proxy.caretaker()
        for pid in [*before.values(), caretaker]:
            os.kill(pid, signal.SIGKILL)
        waiting.until(lambda: len(proxy.workers()) == 2 and not set(proxy.workers().values()) & set(before.values())
                      and proxy.caretaker() not in (None, caretaker), "new processes")
        waiting.until(lambda: all(worker["state"] == "ready" for worker in proxy.status()["workers"]), "them to be ready", 15)
        assert proxy.get().status == 200
    for pid in [*proxy.workers().values(), proxy.caretaker()]:
        assert memory_of(pid) == mapped
    assert proxy.status()["cache"]["fetches"] == 0


def test_an_upgrade_keeps_the_cache(caching):
    """The new image and its workers have the same memory and folder; a new size or folder begins anew, and the old folder goes."""
    proxy = caching()
    mapped, kept = memory_of(proxy.pid), folders(proxy)
    for _ in range(2):
        assert proxy.command("upgrade").returncode == 0
        waiting.until(lambda: len(proxy.status()["workers"]) == 1, "the old workers to leave")
        assert memory_of(proxy.pid) == mapped == memory_of(proxy.workers()[0])
        assert folders(proxy) == kept
    assert proxy.get().status == 200

    proxy.configure({"cache": {"memory": "32MiB"}})
    result = proxy.reload()
    assert result.returncode == 0
    assert "warning: cache.memory changed: takes effect with the next ladle upgrade or restart, with an empty cache" in result.stderr
    assert proxy.status()["cache"]["memory_bytes"] == 16 << 20
    assert proxy.command("upgrade").returncode == 0
    waiting.until(lambda: len(proxy.status()["workers"]) == 1, "the old workers to leave")
    assert proxy.status()["cache"]["memory_bytes"] == 32 << 20
    assert memory_of(proxy.pid).isdisjoint(mapped)
    assert proxy.get().status == 200
    new = set(folders(proxy)) - set(kept)
    assert len(new) == 1
    assert proxy.command("stop").returncode == 0
    proxy.process.wait(waiting.PATIENCE)
    assert not new & set(folders(proxy))


def test_a_folder_that_cannot_be_made_is_a_warning(caching):
    """Small bodies are cached all the same, and status says that large ones are not."""
    if os.geteuid() != 0:
        pytest.skip("needs a folder that a check may see and a master may not use")
    proxy = caching(start=False)
    proxy.configure({"cache": {"files": "/proc"}})
    proxy.start()
    assert proxy.get().status == 200
    assert not proxy.status()["cache"]["has_files"]
    assert "no folder for the cache's larger bodies" in proxy.output()
