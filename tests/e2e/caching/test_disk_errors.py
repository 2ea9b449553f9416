# SPDX-License-Identifier: Apache-2.0
"""A disk that answers EIO: to system calls of its own (strace makes them fail), and a real device of which a part is gone. No wrong byte,
no failed request; the tier is set aside and comes back."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from tests.harness import waiting
from tests.harness.origin import reply

from .disk_tier import FRESH, body_of, crash, disk, end, files, get, metric, put_on_disk, restart, sized, was_read

TARGETS = ["/0/a", "/1000/a", "/60000/a"]


def asked_for(proxy, server, *targets):
    """How many of them the server is asked for."""
    before = len(server.requests)
    for target in targets:
        get(proxy, target)
    return len(server.requests) - before


@pytest.mark.parametrize("calls", [("openat", "openat2"), ("newfstatat",), ("pread64", "preadv2")])
def test_what_cannot_be_read_is_fetched(kept, traced, calls):
    """EIO to opening, looking and reading: from the server then, and the disk is used again when it answers again."""
    proxy, server = kept()
    put_on_disk(proxy, *TARGETS)
    restart(proxy)
    with traced(proxy, *(f"{call}:error=EIO" for call in calls)):
        assert asked_for(proxy, server, *TARGETS) == len(TARGETS)
    assert metric(proxy, "cache_disk_bad_files") == len(TARGETS)
    put_on_disk(proxy, "/1000/b")
    restart(proxy)
    assert asked_for(proxy, server, "/1000/b") == 0


def test_what_cannot_be_read_on_is_fetched_from_there(kept, traced):
    """EIO in the middle of a body that is being served: the rest is the server's, where a strong ETag says that it is the same."""
    size = 6_000_000  # more reads than there are threads, each of which counts its own
    proxy, server = kept(lambda request: reply(body_of(request.target, size), headers=[*FRESH, ("ETag", '"strong"')]), settings={"cache": {"memory": "64MiB"}})

    def ask():
        response = proxy.get("/x")
        assert response.status == 200 and response.body == body_of("/x", size)
        return True
    ask()
    waiting.until(lambda: ask() and disk(proxy)["objects"] == 1, "it on disk")
    restart(proxy)
    with traced(proxy, "pread64:error=EIO:when=2+"):
        ask()
    assert metric(proxy, "cache_disk_hits") == 1 and metric(proxy, "cache_disk_bad_files") == 1


@pytest.mark.parametrize("call", ["openat", "pwrite64", "renameat"])
def test_what_cannot_be_written_is_kept_in_memory(kept, traced, call):
    """EIO to making, writing and naming a file: set aside after the first, told once a worker, nothing half written stays."""
    proxy, server = kept(settings={"server": {"workers": 1}})
    with traced(proxy, f"{call}:error=EIO"):
        for i in range(5):
            for _ in range(3):
                get(proxy, f"/1000/{i}")
        waiting.until(lambda: disk(proxy)["is_bad"], "the tier to be set aside")
    assert len(server.requests) == 5
    assert metric(proxy, "cache_disk_errors") in (1, 2) and metric(proxy, "cache_disk_write_refused") > 0  # two may be under way
    assert proxy.output().count("nothing is written to the disk tier for a while") == 1
    waiting.until(lambda: not [name for _, _, names in os.walk(proxy.objects) for name in names if name.endswith(".new")], "no half file")
    assert not files(proxy) and disk(proxy)["objects"] == 0


def test_the_tier_is_used_again_after_errors(kept, traced):
    """30 s after the last one."""
    proxy, _ = kept(settings={"server": {"workers": 1}})
    with traced(proxy, "pwrite64:error=EIO"):
        get(proxy, "/1000/a")
        get(proxy, "/1000/a")
        waiting.until(lambda: disk(proxy)["is_bad"], "the tier to be set aside")
    number = 0

    def is_written():
        nonlocal number
        number += 1
        get(proxy, f"/1000/{number}")
        get(proxy, f"/1000/{number}")
        return not disk(proxy)["is_bad"]
    waiting.until(is_written, "the tier to be used again", 40)
    waiting.until(lambda: disk(proxy)["objects"] > 0, "an object on disk")
    assert "the disk tier is used again" in proxy.output()


def test_a_file_that_cannot_be_unlinked_does_not_come_back(kept, traced):
    """What an unsafe request made invalid is purged then; its file goes when that is possible."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a", "/1000/b")
    with traced(proxy, "unlinkat:error=EIO"):
        assert proxy.get("/1000/a", "POST", body=b"x").status == 200
        assert len(files(proxy)) == 2
        crash(proxy)
    assert asked_for(proxy, server, "/1000/a") == 1 and asked_for(proxy, server, "/1000/b") == 0
    waiting.until(lambda: len(files(proxy)) == 1, "the file to go")


def test_a_purge_that_cannot_be_made_durable_holds(kept, traced):
    """EIO to fdatasync: nothing on disk is believed after a crash, until purges are remembered again."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a", "/1000/b")
    with traced(proxy, "fdatasync:error=EIO"):
        assert proxy.get("/1000/a", "PURGE").status == 200
    assert not os.path.exists(os.path.join(proxy.objects, "purges.base"))
    waiting.until(lambda: os.path.exists(os.path.join(proxy.objects, "purges.base")), "purges to be remembered again", 15)
    crash(proxy)
    assert asked_for(proxy, server, "/1000/a") == 1 and asked_for(proxy, server, "/1000/b") == 0


def test_a_folder_that_cannot_be_changed_is_told_to_who_purges(kept, traced):
    """As on a file system that became read-only: the purge is in force, and its answer says what it cannot promise."""
    proxy, server = kept()
    put_on_disk(proxy, "/1000/a")
    with traced(proxy, "openat:error=EROFS", "unlinkat:error=EROFS", master=True):
        done = proxy.command("purge", "http://site.test/1000/a")
    assert done.returncode == 0 and "nothing can be changed in" in done.stdout
    assert asked_for(proxy, server, "/1000/a") == 1


@pytest.fixture
def device():
    """A file system on a device whose last part can be taken away."""
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in ("mkfs.ext4", "mount", "filefrag", "findmnt", "losetup")):
        pytest.skip("no root, or no tools")
    with tempfile.TemporaryDirectory(prefix="ladle-device-") as place:
        os.chmod(place, 0o755)
        made = Device(pathlib.Path(place))
        try:
            made.make()
            yield made
        finally:
            made.close()


class Device:
    def __init__(self, place):
        self.image = place / "image"
        self.where = place / "disk"

    def make(self):
        self.where.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-b", "4096", self.image], check=True)
        self.mount()

    def mount(self):
        if subprocess.run(["mount", "-o", "loop,errors=continue", self.image, self.where], check=False).returncode != 0:
            pytest.skip("loop devices are not to be had here")

    def close(self):
        with contextlib.suppress(OSError):
            subprocess.run(["umount", "-l", self.where], check=False)

    def cut_from(self, path):
        """Takes away the device's end, from the body of this file on; nothing of it is in the page cache any more."""
        subprocess.run(["sync", "-f", path], check=True)
        table = subprocess.run(["filefrag", "-v", "-b4096", path], check=True, capture_output=True, text=True).stdout
        first = int(next(line for line in table.splitlines() if line.strip().startswith("0:")).split(":")[2].split(".")[0])
        subprocess.run(["umount", self.where], check=True)
        self.mount()
        os.truncate(self.image, (first + 1) * 4096)  # while it is mounted, else it would not be
        loop = subprocess.run(["findmnt", "-no", "SOURCE", self.where], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run(["losetup", "--set-capacity", loop], check=True)  # from now on reading behind it is an error


@pytest.mark.parametrize("again", ["clean stop", "crash"])
def test_a_device_that_lost_its_end(kept, device, again):
    """Its EIO is the kernel's own: what lay there comes from the server, the rest from disk, and nothing is wrong."""
    proxy, server = kept(path=str(device.where / "objects"))
    targets = [f"/{100_000 + i}/x" for i in range(20)]
    put_on_disk(proxy, *targets)
    end(proxy)
    if again == "crash":
        os.unlink(os.path.join(proxy.objects, "clean"))
    device.cut_from(files(proxy)[10])
    proxy.start()
    was_read(proxy)
    lost = asked_for(proxy, server, *targets)
    assert 0 < lost < len(targets), lost
    assert metric(proxy, "cache_disk_bad_files") > 0
    put_on_disk(proxy, "/1000/new")
    end(proxy)
