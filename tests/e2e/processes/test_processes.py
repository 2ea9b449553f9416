# SPDX-License-Identifier: Apache-2.0
"""Master, workers and caretaker: titles, privileges, crashes, hangs, upgrades."""

import fcntl
import json
import os
import pwd
import signal
import socket
import stat
import struct
import sys
import termios
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.ladle import is_zombie, memory_kib, open_files, title
from tests.harness.origin import reply


def status_fields(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def test_process_titles(ladle, origin):
    """Titles are `ladle: master`, `ladle: worker N`, `ladle: caretaker`."""
    proxy = ladle(origin(), {"server": {"workers": 3}})
    assert title(proxy.pid) == "ladle: master"
    assert sorted(title(pid) for pid in proxy.wait_workers(3).values()) == ["ladle: worker 0", "ladle: worker 1", "ladle: worker 2"]
    assert title(proxy.caretaker()) == "ladle: caretaker"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a master that is root")
def test_workers_drop_their_privileges(ladle, origin):
    """Workers and caretaker run as `user`, with no capabilities and no_new_privs; the master stays."""
    proxy = ladle(origin())
    nobody = pwd.getpwnam("nobody")
    for pid in [*proxy.workers().values(), proxy.caretaker()]:
        fields = status_fields(pid)
        assert fields["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert fields["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
        assert fields["NoNewPrivs"] == "1"
        assert fields["Groups"].split() in ([], [str(nobody.pw_gid)])
    assert status_fields(proxy.pid)["Uid"].split()[0] == "0"


@pytest.mark.skipif(os.geteuid() != 0, reason="reads another user's descriptors")
def test_workers_hold_only_their_descriptors(ladle, origin):
    """A worker holds listeners, channel, shared memory, event loop, logs and nothing else; the caretaker no listener."""
    proxy = ladle(origin())
    proxy.get()

    def is_private_folder(fd):
        status = os.stat(fd)  # the cache's own tmpfs is mounted nowhere, so its root is "/" too
        return stat.S_ISDIR(status.st_mode) and status.st_mode & 0o777 == 0o700 and status.st_dev != os.stat("/").st_dev
    worker = proxy.workers()[0]
    for fd in os.listdir(f"/proc/{worker}/fd"):
        link = os.readlink(f"/proc/{worker}/fd/{fd}")
        if link == "/" and is_private_folder(f"/proc/{worker}/fd/{fd}"):
            continue
        assert link.startswith(("socket:", "anon_inode:", "/memfd:", "pipe:", "/dev/null", "/dev/shm/ladle-cache-", proxy.dir)), link
        assert proxy.config not in link
    with open(f"/proc/{proxy.pid}/net/tcp", encoding="ascii") as file:
        listening = {f"socket:[{line.split()[9]}]" for line in file.readlines()[1:] if line.split()[3] == "0A" and line.split()[1].endswith(f":{proxy.port:04X}")}
    assert listening & set(open_files(proxy.workers()[0]))
    assert not listening & set(open_files(proxy.caretaker()))


def test_runs_as_an_ordinary_user(ladle, origin):
    """On high ports the whole proxy runs as an ordinary user, without a user switch."""
    if os.geteuid() != 0:
        assert ladle(origin()).get().status == 200
        return
    import shutil
    proxy = ladle(origin(), start=False, wrap=["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"])
    for folder, _, files in os.walk(proxy.dir):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            shutil.chown(path, "nobody", "nogroup")
    proxy.configure({"server": {"user": "root"}})
    proxy.start()
    assert proxy.get().status == 200
    assert status_fields(proxy.workers()[0])["Uid"].split()[0] == str(pwd.getpwnam("nobody").pw_uid)


def test_a_killed_worker_is_replaced(ladle, origin):
    """kill -9 of a worker: another takes its place, the count of restarts says so, and requests go on."""
    proxy = ladle(origin(), {"server": {"workers": 2}})
    proxy.expect_failures = True
    before = proxy.wait_workers(2)
    os.kill(before[1], signal.SIGKILL)
    waiting.until(lambda: proxy.workers().get(1, before[1]) != before[1], "a new worker 1")
    for _ in range(20):
        assert proxy.get().status == 200
    from tests.e2e.commands.test_commands import find
    assert find(proxy.status(), "restarts") >= 1


def test_counters_do_not_run_backwards_over_a_crash(ladle, origin):
    """The requests of a killed worker stay counted."""
    from tests.e2e.commands.test_commands import find
    proxy = ladle(origin(), {"server": {"workers": 1}})
    proxy.expect_failures = True
    for _ in range(10):
        proxy.get()
    waiting.until(lambda: find(proxy.status(), "requests") >= 10, "ten requests")
    old = proxy.workers()[0]
    os.kill(old, signal.SIGKILL)
    waiting.until(lambda: proxy.workers().get(0, old) != old, "a new worker")
    assert find(proxy.status(), "requests") >= 10


def test_in_flight_counts_of_a_dead_worker_do_not_leak(ladle, origin):
    """Requests that died with their worker do not count against max_conn for ever."""
    go = threading.Event()
    server = origin(lambda request: (go.wait(60) if request.target == "/hold" else None, reply())[1])
    proxy = ladle(settings={"upstream": {"app": {"servers": [server.text], "max_conn": 2, "queue": {"size": 0}}}, "site": {"*": {"upstream": "app"}}})
    proxy.expect_failures = True
    clients = [proxy.client() for _ in range(2)]
    for client in clients:
        client.send(b"GET /hold HTTP/1.1\r\nHost: site.test\r\n\r\n")
    server.wait_requests(2)
    assert proxy.get().status == 503
    old = proxy.workers()[0]
    os.kill(old, signal.SIGKILL)
    waiting.until(lambda: proxy.workers().get(0, old) != old, "a new worker")
    waiting.until(lambda: proxy.get().status == 200, "the server to be free again")
    go.set()
    for client in clients:
        client.close()


def test_a_killed_caretaker_is_replaced(ladle, origin):
    """kill -9 of the caretaker: another takes its place."""
    proxy = ladle(origin())
    proxy.expect_failures = True
    old = proxy.caretaker()
    os.kill(old, signal.SIGKILL)
    waiting.until(lambda: proxy.caretaker() not in (None, old), "a new caretaker")


def test_a_hung_worker_is_replaced(ladle, origin):
    """A stopped worker is warned about, aborted, killed and replaced; the others serve meanwhile."""
    proxy = ladle(origin(), {"server": {"workers": 2, "worker_hang_timeout": "3s"}})
    proxy.expect_failures = True
    before = proxy.wait_workers(2)
    os.kill(before[0], signal.SIGSTOP)
    for _ in range(20):
        assert proxy.get().status == 200
    waiting.until(lambda: proxy.workers().get(0, before[0]) != before[0], "worker 0 to be replaced", 15)
    waiting.until(lambda: is_zombie(before[0]), "the hung worker to be gone", 15)


def test_workers_die_with_the_master(ladle, origin):
    """When the master is killed, workers finish and leave."""
    proxy = ladle(origin(), {"server": {"workers": 2, "drain_timeout": "1s"}})
    proxy.expect_failures = True
    children = proxy.children()
    os.kill(proxy.pid, signal.SIGKILL)
    proxy.process.wait()
    waiting.until(lambda: all(is_zombie(pid) for pid in children), "all children to be gone", 15)


def test_a_crash_loop_is_reported(ladle, origin):
    """Workers that die again and again are started with back-off, and status says so."""
    proxy = ladle(origin())
    proxy.expect_failures = True
    killed = set()
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline and len(killed) < 12:
        pid = proxy.workers().get(0)
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)  # it may be seen once more before it is gone
            except ProcessLookupError:
                pass
        time.sleep(0.03)
    assert len(killed) < 12, "back-off must slow it down"
    text = proxy.command("status").stdout + proxy.output()
    assert "crash" in text or "back" in text


def test_sigterm_to_a_worker_alone(ladle, origin):
    """A worker that gets SIGTERM leaves in order and is replaced."""
    proxy = ladle(origin(), {"server": {"workers": 2}})
    before = proxy.wait_workers(2)
    os.kill(before[0], signal.SIGTERM)
    waiting.until(lambda: proxy.workers().get(0, before[0]) != before[0], "a new worker 0")
    assert proxy.get().status == 200


def test_upgrade_in_place(ladle, origin):
    """`ladle upgrade` re-execs the master in place: same pid, new workers, no connection lost, a request under way ends."""
    go = threading.Event()
    server = origin(lambda request: (go.wait(60) if request.target == "/hold" else None, reply(b"done"))[1])
    proxy = ladle(server, {"server": {"workers": 2, "drain_timeout": "50s"}})
    before = proxy.wait_workers(2)
    with proxy.client() as client:
        client.send(b"GET /hold HTTP/1.1\r\nHost: site.test\r\n\r\n")
        server.wait_requests(1)
        result = proxy.command("upgrade")
        assert result.returncode == 0, result.stderr
        waiting.until(lambda: not set(proxy.workers().values()) & set(before.values()) and len(proxy.workers()) == 2, "new workers")
        for _ in range(10):
            assert proxy.get().status == 200
        go.set()
        assert client.response().body == b"done"
    assert title(proxy.pid) == "ladle: master"
    waiting.until(lambda: all(is_zombie(pid) for pid in before.values()), "the old workers to leave")
    assert proxy.reload().returncode == 0


def test_upgrade_with_a_bad_configuration_is_refused(ladle, origin):
    """An upgrade that could not read its configuration does not happen."""
    proxy = ladle(origin())
    before = proxy.workers()
    good = open(proxy.config, encoding="utf-8").read()
    proxy.write("nonsense = 1\n")
    result = proxy.command("upgrade")
    proxy.write(good)
    assert result.returncode != 0
    assert proxy.get().status == 200
    assert proxy.workers() == before


def test_memory_is_flat_over_reloads(ladle, origin):
    """Thirty reloads do not make master or worker grow."""
    proxy = ladle(origin())
    for _ in range(5):
        assert proxy.reload().returncode == 0
    before = memory_kib(proxy.workers()[0], "Private_Dirty") + memory_kib(proxy.pid, "Private_Dirty")
    for _ in range(30):
        assert proxy.reload().returncode == 0
    grown = memory_kib(proxy.workers()[0], "Private_Dirty") + memory_kib(proxy.pid, "Private_Dirty") - before
    from tests.harness.ladle import IS_SANITIZED
    assert IS_SANITIZED or grown < 600, f"{grown} KiB"


def test_an_ignored_sigchld_is_not_inherited(ladle, origin):
    """Whoever starts Ladle may ignore SIGCHLD: a worker's end is still seen, and so is the end of a stop."""
    ignoring = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    proxy = ladle(origin(), {"server": {"workers": 1}}, wrap=[sys.executable, "-c", ignoring])
    before = proxy.workers()
    os.kill(before[0], signal.SIGKILL)
    waiting.until(lambda: proxy.workers() and proxy.workers() != before, "a replacement")
    assert proxy.get().status == 200
    os.kill(proxy.pid, signal.SIGTERM)
    assert proxy.process.wait(waiting.PATIENCE) == 0


@pytest.mark.parametrize("command", ["reload", "explain"])
def test_an_order_that_comes_with_a_workers_death_is_done(ladle, origin, command):
    """The master finds the order and a worker that has just died in the same moment, the order first: it is done all the same."""
    proxy = ladle(origin(), {"server": {"workers": 2}})
    worker = proxy.wait_workers(2)[0]
    master = proxy.process.pid
    request = {"command": command, "question": {"method": "GET", "url": f"http://site.test:{proxy.port}/", "client": "", "fields": []}}
    line = json.dumps(request).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(proxy.admin)
        connection.sendall(line[:5])
        waiting.until(lambda: not unread(connection), "the master to take the beginning")
        os.kill(master, signal.SIGSTOP)
        try:
            waiting.until(lambda: is_stopped(master), "the master to stop")
            connection.sendall(line[5:])
            os.kill(worker, signal.SIGKILL)
            waiting.until(lambda: is_zombie(worker), "the worker to be dead")
        finally:
            os.kill(master, signal.SIGCONT)
        with connection.makefile("rb") as lines:
            answer = json.loads(lines.readline())
    assert answer["ok"], answer
    proxy.wait_workers(2, without=worker)


def unread(connection):
    """How many bytes the other end of a Unix socket has not read."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="latin-1") as stat_file:
        return stat_file.read().rpartition(")")[2].split()[0] == "T"
