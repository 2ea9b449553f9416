# SPDX-License-Identifier: Apache-2.0
"""What the tests of the disk tier share: an origin whose bodies tell their target, and what is done to a proxy and its folder."""

import contextlib
import functools
import hashlib
import os
import signal

from tests.harness import waiting
from tests.harness.ladle import is_zombie
from tests.harness.origin import reply

FRESH = [("Cache-Control", "max-age=3600")]


@functools.lru_cache(maxsize=64)
def body_of(target, size):
    """Bytes that only this target has."""
    return hashlib.shake_128(target.encode()).digest(size)


def sized(request):
    """/SIZE/NAME → a body of that size."""
    return reply(body_of(request.target, int(request.target.split("/")[1])), headers=[*FRESH, ("Surrogate-Key", "all " + request.target[1:])])


def metric(proxy, name):
    return proxy.status()["metrics"][name]


def disk(proxy):
    return proxy.status()["cache"]["disk"]


def get(proxy, target):
    response = proxy.get(target)
    assert response.status == 200
    assert response.body == body_of(target, int(target.split("/")[1])), f"wrong bytes for {target}"
    return response


def put_on_disk(proxy, *targets):
    """Asks for each until it is written: the second time is what counts."""
    before = disk(proxy)["objects"]
    for target in targets:
        get(proxy, target)
        waiting.until(lambda: get(proxy, target) and metric(proxy, "cache_fills_open") == 0 and disk(proxy)["objects"] > before, f"{target} on disk")
        before = disk(proxy)["objects"]


def end(proxy):
    """A clean stop that leaves the folder."""
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(waiting.PATIENCE) == 0
    proxy.stderr.close()


def restart(proxy):
    end(proxy)
    return proxy.start()


def is_over(pid):
    """No thread of it lives, which could hold a socket or a lock after its leader's end."""
    try:
        return is_zombie(pid) and os.listdir(f"/proc/{pid}/task") == [str(pid)]
    except FileNotFoundError:
        return True


def kill(proxy):
    """Everything at once, as a power failure would (but for the page cache)."""
    children = proxy.children()
    for pid in [proxy.pid, *children]:
        os.kill(pid, signal.SIGKILL)
    proxy.process.wait()
    waiting.until(lambda: all(is_over(pid) for pid in children), "the end")
    proxy.stderr.close()


def was_read(proxy):
    assert disk(proxy), proxy.output()
    waiting.until(lambda: not disk(proxy)["is_being_read"], "the folder to be read", 30)


def crash(proxy):
    kill(proxy)
    proxy.start()
    was_read(proxy)
    return proxy


def files(proxy):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(proxy.objects) for name in names
                  if len(os.path.basename(folder)) == 2 and len(name) == 16)


def fill_up(folder):
    with open(folder / "filler", "wb", buffering=0) as filler:
        for size in (65536, 4096):
            with contextlib.suppress(OSError):
                while True:
                    filler.write(b"x" * size)
