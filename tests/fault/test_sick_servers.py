# SPDX-License-Identifier: Apache-2.0
"""Servers that die under load, and one that takes a single request at a time, over four workers: what clients see, and how soon a dead one is out."""

import os
import signal
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.ladle import children_of
from tests.harness.nginx_origin import NginxOrigin
from tests.harness.origin import reply

from .load import Load
from .scale import pick, say

PER_TRY = 0.3  # seconds


def group(ladle, servers, **upstream):
    return ladle(settings={"server": {"workers": 4}, "upstream": {"app": {"servers": servers, **upstream}}, "site": {"*": {"upstream": "app"}}})


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_a_server_that_dies_costs_no_request_and_is_out_soon(ladle, how):
    """One of four nginx dies under load, or stops: not one GET fails; the time from the first evidence to its ejection is told."""
    servers = [NginxOrigin() for _ in range(4)]
    pids = [servers[0].process.pid, *children_of(servers[0].process.pid)]
    try:
        proxy = group(ladle, [server.text for server in servers], retry={"per_try": f"{int(PER_TRY * 1000)}ms"})
        proxy.wait_workers(4)
        load = Load("kept", proxy.port, 16)
        state = lambda: proxy.status()["servers"][0]  # noqa: E731
        waiting.until(lambda: state()["requests"] > pick(100, 2000), "load", 30)
        began = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL if how == "refuses" else signal.SIGSTOP)
        if how == "hangs":
            began += PER_TRY  # when the first of its requests has had its time
        waiting.until(lambda: state()["state"] == "ejected", "it to be ejected", 30)
        took = time.monotonic() - began
        time.sleep(pick(0.2, 3))
        count = load.stop()
        dead = state()
        say(f"one of four servers {how}: ejected {max(took, 0) * 1000:.0f} ms after the evidence; {count.done} requests answered, {count.failed()} failed; "
            f"at the dead one: {dead['failures']}")
        assert count.failed() == 0, count.failures
    finally:
        if how == "hangs":
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        for server in servers:
            server.stop()


class Narrow:
    """Answers at once, and knows how many requests it had at a time."""

    def __init__(self):
        self.lock, self.now, self.most, self.all = threading.Lock(), 0, 0, 0

    def __call__(self, request):
        with self.lock:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)
        time.sleep(0.0002)  # two that overlap are seen to
        with self.lock:
            self.now -= 1
        return reply(b"x" * 1024)


def test_a_server_that_takes_one_at_a_time_never_has_two(ladle, origin):
    """max_conn = 1, four workers, 32 clients."""
    server = Narrow()
    proxy = group(ladle, [origin(server).text], max_conn=1, queue={"size": 100, "timeout": "60s"})
    proxy.wait_workers(4)
    load = Load("kept", proxy.port, 32)
    waiting.until(lambda: server.all >= pick(300, 10_000), "requests", 120)
    count = load.stop()
    say(f"max_conn = 1: {server.all} requests by four workers, at most {server.most} at a time; {count.failed()} failed")
    assert server.most == 1
    assert count.failed() == 0, count.failures
