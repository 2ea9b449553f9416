# SPDX-License-Identifier: Apache-2.0
"""A proxy whose only site caches, before a scripted origin that counts."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from tests.harness import waiting

from .disk_tier import disk, sized


@pytest.fixture
def caching(ladle, origin):
    """caching(answer, cache=True, settings={}) → (proxy, origin); three workers."""
    def make(answer, cache=True, settings=None, **more):
        server = origin(answer, **more)
        proxy = ladle(server, {"server": {"workers": 3}, "cache": {"memory": "64MiB"}, "site": {"*": {"cache": cache}}}, start=False)
        proxy.configure(settings or {})
        return proxy.start(), server
    return make


@pytest.fixture
def kept(ladle, origin):
    """kept(answer, settings) → (proxy, origin); two workers, a disk tier in the proxy's own folder."""
    def make(answer=sized, settings=None, path=None):
        server = origin(answer)
        proxy = ladle(server, {"server": {"workers": 2}, "site": {"*": {"cache": True}}}, start=False)
        proxy.objects = path or proxy.path("objects")
        proxy.configure({"cache": {"memory": "16MiB", "disk": {"size": "256MiB", "path": proxy.objects}}})
        proxy.configure(settings or {})
        proxy.start()
        waiting.until(lambda: disk(proxy) is None or not disk(proxy)["is_being_read"], "the folder to be read")
        return proxy, server
    return make


@pytest.fixture
def traced():
    """traced(proxy, injection…): strace with these on all workers and the caretaker (or the master), while it lasts."""
    @contextlib.contextmanager
    def trace(proxy, *injections, master=False):
        if shutil.which("strace") is None:
            pytest.skip("there is no strace")
        workers = proxy.wait_workers(proxy.status()["workers_wanted"]).values()
        pids = [proxy.pid] if master else [*workers, proxy.caretaker()]
        calls = ",".join([*(injection.split(":")[0] for injection in injections), "restart_syscall", "futex", "epoll_wait"])
        with tempfile.NamedTemporaryFile(mode="r") as output:
            command = ["strace", "-f", "-qq", "-o", output.name, "-e", f"trace={calls}"]
            for injection in injections:
                command += ["-e", f"inject={injection}"]
            for pid in pids:
                command += ["-p", str(pid)]
            with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
                seen = set()

                def is_traced():  # each thread has been seen in a call: what it waits in goes on from there
                    seen.update(line.split(" ", 1)[0] for line in output)
                    return all(task in seen for pid in pids for task in os.listdir(f"/proc/{pid}/task"))
                waiting.until(lambda: tracer.poll() is not None or is_traced(), "strace")
                if tracer.poll() is not None:
                    pytest.skip("tracing is not allowed here: " + tracer.stderr.read().decode())
                try:
                    yield
                finally:
                    tracer.terminate()
    return trace


@pytest.fixture
def small_disk():
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    where = pathlib.Path(tempfile.mkdtemp(prefix="ladle-disk-"))  # where every user may go
    os.chmod(where, 0o755)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0755", "none", where], check=False).returncode != 0:
        os.rmdir(where)
        pytest.skip("mounting is not allowed here")
    yield where
    subprocess.run(["umount", "-l", where], check=True)
    os.rmdir(where)
