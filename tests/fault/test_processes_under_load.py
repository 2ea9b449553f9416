# SPDX-License-Identifier: Apache-2.0
"""Crashes, hangs, reloads and upgrades under load."""

import itertools
import os
import signal
import statistics
import time

import pytest

from tests.e2e.proxying.test_upgrade import EchoServer
from tests.harness import waiting
from tests.harness.ladle import IS_SANITIZED, is_zombie, memory_kib, open_files

from .load import Load
from .scale import pick, say


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def client_ports_of(pid, port):
    """The clients' ports of the connections that a process has accepted on `port`: its descriptors, found in the kernel's table."""
    inodes = {link[8:-1] for link in open_files(pid) if link.startswith("socket:[")}
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(row[2].split(":")[1], 16) for row in rows if row[9] in inodes and int(row[1].split(":")[1], 16) == port and row[3] != "0A"}


def kill_and_list(pid, port):
    """kill -9, and the clients whose connections the process had accepted at that moment (it is stopped while they are counted)."""
    os.kill(pid, signal.SIGSTOP)
    waiting.until(lambda: state_of(pid) == "T", "the worker to stand still")
    ports = client_ports_of(pid, port)
    os.kill(pid, signal.SIGKILL)
    return ports


def test_kill_9_of_workers(ladle, nginx):
    """kill -9 of a worker, N times under load: whoever gets no whole answer was connected to the worker that died; no refused
    connection, no hang. Connections that it had not accepted yet, and those of its siblings, lose nothing."""
    clients = 16
    times = pick(8, 100)
    proxy = ladle(nginx, {"server": {"workers": 4}})
    proxy.expect_failures = True
    proxy.wait_workers(4)
    loads = [Load("short", proxy.port, clients // 2), Load("kept", proxy.port, clients // 2)]
    killed, held = 0, []
    for turn in range(times):
        time.sleep(0.1)
        workers = waiting.until(lambda: len(found := proxy.workers()) == 4 and found, "four workers", 40)
        victim = workers[turn % 4]
        held.append(kill_and_list(victim, proxy.port))
        killed += 1
        waiting.until(lambda: is_zombie(victim), "the worker to be gone")
    time.sleep(0.3)
    counts = [load.stop() for load in loads]
    failed = sum(count.failed() for count in counts)
    done = sum(count.done for count in counts)
    worst = max(count.percentile(1.0) for count in counts)
    lost = [port for count in counts for port in count.lost_ports]
    begun = sum(len(ports) for ports in held)
    say(f"kill -9 × {killed}: {done} answered, {failed} failed, {len(lost)} without an answer of {begun} connections of dead workers ({dict(counts[0].failures + counts[1].failures)}), slowest {worst * 1000:.0f} ms")
    assert set(lost) <= set().union(*held), "somebody lost an answer who was not connected to a worker that died"
    assert failed <= len(lost) <= begun and begun > 0
    assert not any("Refused" in kind or "Timeout" in kind for count in counts for kind in count.failures)
    assert worst < 20, "nobody hangs"


def test_one_of_four_workers_stopped(ladle, nginx):
    """SIGSTOP of one of four workers: ≥ 70 % of the throughput of new connections, p99 bounded, replaced within the hang timeout."""
    proxy = ladle(nginx, {"server": {"workers": 4, "worker_hang_timeout": "3s"}})
    proxy.expect_failures = True
    before = proxy.wait_workers(4)
    seconds = pick(1.5, 2.5)

    def measure():
        load = Load("short", proxy.port, 8)
        started = time.monotonic()
        time.sleep(seconds)
        count = load.stop()
        return count, count.done / (time.monotonic() - started)
    whole, rate = measure()
    os.kill(before[2], signal.SIGSTOP)
    stopped_at = time.monotonic()
    hurt, hurt_rate = measure()
    say(f"one of four stopped: {hurt_rate:.0f} of {rate:.0f} requests/s ({hurt_rate / rate:.0%}), p99 {hurt.percentile(0.99) * 1000:.1f} ms (before {whole.percentile(0.99) * 1000:.1f})")
    waiting.until(lambda: proxy.workers().get(2, before[2]) != before[2], "a replacement", 20)
    replaced = time.monotonic() - stopped_at
    say(f"replaced after {replaced:.1f} s, hang timeout 3 s")
    # Its own connections, accepted before the stop, are few: each client had at most one.
    assert hurt.failed() <= 8
    # Plain SO_REUSEPORT leaves about one per cent.
    assert IS_SANITIZED or hurt_rate >= pick(0.1, 0.7) * rate
    assert replaced <= 20, "as worker_hang_timeout says, not as its default"


def resting_memory(proxy):
    """Of master and workers, KiB: the least of some moments, as what is on its way comes and goes."""
    moments = []
    for _ in range(pick(3, 8)):
        moments.append(sum(memory_kib(pid, "Private_Dirty") for pid in (proxy.pid, *proxy.workers().values())))
        time.sleep(0.1)
    return min(moments)


@pytest.mark.parametrize("what", ["reload", "workers", "upgrade"])
def test_changes_under_load_lose_nothing(ladle, nginx, cleanup, what):
    """Reloads, 4 → 1 → 4 workers and upgrades under kept, short and WebSocket load: 0 failed, 0 WebSockets closed by a reload."""
    cleanup.append(EchoServer())
    echo = cleanup[-1]
    proxy = ladle(nginx, {"server": {"workers": 4, "drain_timeout": "20s"}, "site": {"*": {"route": [{"path": "/echo", "upstream": echo.url}]}}})
    proxy.wait_workers(4)
    loads = {kind: Load(kind, proxy.port, clients) for kind, clients in (("kept", 6), ("short", 6), ("websocket", 4))}
    time.sleep(0.5)
    started = time.monotonic()
    turns = {"reload": pick(15, 100), "workers": pick(3, 10), "upgrade": pick(2, 5)}[what]
    memory = []
    for turn in range(turns):
        if what == "reload":
            assert proxy.reload().returncode == 0
            time.sleep(pick(0.02, 0.5))
            if (turn + 1) % (turns // 5) == 0:
                memory.append(resting_memory(proxy))
        elif what == "workers":
            for count in (1, 4):
                proxy.configure({"server": {"workers": count}})
                result = proxy.reload()
                assert result.returncode == 0, result.stderr
                time.sleep(pick(0.3, 1))
        else:
            result = proxy.command("upgrade")
            assert result.returncode == 0, result.stderr
            time.sleep(pick(0.5, 2))
    took = time.monotonic() - started
    # A burst that fills the pools of buffers once is a step up; what every reload keeps is in each fifth of the way.
    steps = [later - earlier for earlier, later in itertools.pairwise(memory)]
    counts = {kind: load.stop() for kind, load in loads.items()}
    say(f"{what} × {turns} in {took:.1f} s: " + ", ".join(f"{kind} {count.done} answered {count.failed()} failed {dict(count.failures)}" for kind, count in counts.items())
        + (f"; memory {memory[0]} KiB, then {steps}" if memory else ""))
    assert counts["kept"].failed() == 0, counts["kept"].failures
    assert counts["short"].failed() == 0, counts["short"].failures
    if what == "reload":
        assert counts["websocket"].closed_sockets == 0
        assert IS_SANITIZED or statistics.median(steps) < pick(256, 128)
    assert proxy.get("/1k").status == 200
