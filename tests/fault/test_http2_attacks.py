# SPDX-License-Identifier: Apache-2.0
"""Attacks on HTTP/2 from one connection and from many, opened again as soon as they end: what other clients notice of it, and what
memory it takes."""

import multiprocessing
import os
import selectors
import socket
import struct
import time

import pytest

from tests.e2e.http2.test_abuse import FLOODS
from tests.harness import waiting
from tests.harness.h2_client import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, WINDOW_UPDATE, H2Frames
from tests.harness.ladle import IS_SANITIZED, memory_kib

from .load import Load
from .scale import FULL, pick, say

FRAMES = 2000  # of one connection; then it reads until it is closed, and begins anew


def flood(make):
    client = H2Frames()
    return client.opening() + b"".join(make(client) for _ in range(FRAMES))


def empty_data():
    client = H2Frames()
    stream, head = client.request_frames("POST", "/1k", end=False)
    return client.opening() + head + client.frame(DATA, 0, stream) * FRAMES


def continuations():
    client = H2Frames()
    head = client.frame(HEADERS, END_STREAM, 1, client.encoder.encode([(":method", "GET")]))
    return client.opening() + head + b"".join(client.frame(CONTINUATION, 0, 1, client.encoder.encode([(f"x{number}", "y")])) for number in range(FRAMES))


def header_bombs():
    """A table entry of 4 KB, named again and again."""
    client = H2Frames()
    _, first = client.request_frames(headers=[("bomb", "x" * 3900)])
    entry = client.encoder.encode([("bomb", "x" * 3900)])
    bomb = entry * (16384 // len(entry) - 100)
    return client.opening() + first + b"".join(client.frame(HEADERS, END_HEADERS | END_STREAM, client.stream_number(), bomb) for _ in range(50))


def tiny_windows():
    """Large answers, byte by byte."""
    client = H2Frames()
    requests = [client.request_frames(path="/1m") for _ in range(90)]
    byte = struct.pack(">I", 1)
    opened = b"".join(client.frame(WINDOW_UPDATE, 0, stream, byte) for stream, _ in requests)
    return client.opening([(INITIAL_WINDOW_SIZE, 1)]) + b"".join(frame for _, frame in requests) + opened * 20


def too_many_streams():
    client = H2Frames()
    return client.opening() + b"".join(client.request_frames(path="/1k")[1] for _ in range(FRAMES))


ATTACKS = {**{name: flood(make) for name, make in FLOODS.items()}, "empty DATA": empty_data(), "CONTINUATION": continuations(),
           "header bombs": header_bombs(), "tiny windows": tiny_windows(), "too many streams": too_many_streams()}


class Attacker:
    """A process that has what others leave of its processor, as its own machine is another: sends what it has, takes in what comes, begins anew."""

    def __init__(self, port, script, connections):
        self.port, self.script, self.connections = port, script, connections
        spawn = multiprocessing.get_context("fork")
        self.stopping, self.begun = spawn.Event(), spawn.Value("q", 0)
        self.process = spawn.Process(target=self._run, daemon=True)
        self.process.start()

    def stop(self):
        """How many connections it had."""
        self.stopping.set()
        self.process.join(20)
        assert not self.process.is_alive()
        return self.begun.value

    def _open(self, selector):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self.port))
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
        self.left[sock] = memoryview(self.script)
        self.begun.value += 1

    def _run(self):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        self.left = {}
        with selectors.DefaultSelector() as selector:
            for _ in range(self.connections):
                self._open(selector)
            while not self.stopping.is_set():
                for key, events in selector.select(0.1):
                    if not self._step(selector, key.fileobj, events):
                        selector.unregister(key.fileobj)
                        self.left.pop(key.fileobj)
                        key.fileobj.close()
                        self._open(selector)

    def _step(self, selector, sock, events):
        try:
            if events & selectors.EVENT_READ and not sock.recv(1 << 16):
                return False
            if events & selectors.EVENT_WRITE:
                self.left[sock] = self.left[sock][sock.send(self.left[sock][:16384]):]
                if not self.left[sock]:
                    selector.modify(sock, selectors.EVENT_READ)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Visitor(Attacker):
    """Honest, and as busy: on each connection ten requests, and when they are answered ten more."""

    BATCHES, SIZE = 40, 10

    def __init__(self, port, connections):
        client = H2Frames()
        window = struct.pack(">I", 2048 * self.SIZE)
        batch = lambda: b"".join(client.request_frames(path="/1k")[1] for _ in range(self.SIZE)) + client.frame(WINDOW_UPDATE, 0, 0, window)  # noqa: E731
        self.batches = [client.opening() + batch(), *(batch() for _ in range(self.BATCHES - 1))]
        self.sent, self.received = {}, {}
        super().__init__(port, self.batches[0], connections)

    def _step(self, selector, sock, events):
        if events & selectors.EVENT_READ:
            try:
                bytes_read = len(sock.recv(1 << 16))
            except OSError:
                bytes_read = 0
            got = self.received[sock] = self.received.get(sock, 0) + bytes_read
            sent = self.sent.get(sock, 1)
            if got >= sent * self.SIZE * 1024 and not self.left[sock]:
                if sent == self.BATCHES:
                    bytes_read = 0
                else:
                    self.left[sock] = memoryview(self.batches[sent])
                    self.sent[sock] = sent + 1
                    selector.modify(sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            if not bytes_read:
                self.sent.pop(sock, None)
                self.received.pop(sock, None)
                return False
        return super()._step(selector, sock, events & selectors.EVENT_WRITE)


def is_noticed(before, after):
    """Whether a connection of the attacker has been told to go, or was closed."""
    return any(after[metric] > before[metric] for metric in ("h2_cut", "h2_strained"))


def workers_memory(proxy):
    return sum(memory_kib(pid, "Private_Dirty") for pid in proxy.workers().values())


@pytest.fixture
def own_processor():
    """One that is left to the worker, so that attackers come as fast as it can take them: what the test starts gets the others."""
    all_of_them = os.sched_getaffinity(0)
    own = min(all_of_them)
    os.sched_setaffinity(0, all_of_them - {own} or {own})
    yield own
    os.sched_setaffinity(0, all_of_them)


@pytest.mark.parametrize("connections", [1, pick(50, 200)])
def test_others_hardly_notice(own_processor, ladle, nginx, connections):
    """None of their requests fails; by the full numbers their 99th percentile stays below twice the normal one, or what as many honest clients cost them."""
    proxy = ladle(nginx, {"server": {"workers": 1}, "budget": {"spool_memory": "16MiB", "spool_disk": "0B", "requests_per_client": "16MiB"}})
    proxy.wait_workers(1)
    os.sched_setaffinity(proxy.workers()[0], {own_processor})

    def others_during(seconds):
        load = Load("now and then", proxy.port, 4)
        time.sleep(seconds)
        return load.stop()

    seconds = pick(0.3, 4)
    normal = others_during(2 * seconds).percentile(0.99)
    visitor = Visitor(proxy.port, connections)
    beside_honest = others_during(seconds).percentile(0.99)
    visitor.stop()
    say(f"honest and busy, {connections} at once: others p99 {beside_honest * 1000:.2f} ms (normal {normal * 1000:.2f})")
    rested = workers_memory(proxy)
    slower, larger = {}, {}
    for name in ATTACKS:
        before = proxy.status()["metrics"]
        attacker = Attacker(proxy.port, ATTACKS[name], connections)
        count = others_during(seconds)
        waiting.until(lambda: name == "tiny windows" or is_noticed(before, proxy.status()["metrics"]), f"{name} to be cut off")
        during, opened = workers_memory(proxy), proxy.status()["metrics"]["connections_open"]
        begun = attacker.stop()
        after = proxy.status()["metrics"]
        cut = {metric: after[metric] - before[metric] for metric in after if metric.startswith("h2_") and after[metric] != before[metric]}
        p99 = count.percentile(0.99)
        slower[name], larger[name] = p99 / normal, during - rested
        say(f"{name}, {connections} at once, {begun} connections: others {count.done} answered, {count.failed()} failed, p99 {p99 * 1000:.2f} ms "
            f"(normal {normal * 1000:.2f}); workers {during - rested:+d} KiB, {opened} open; {cut}")
        assert count.failed() == 0, count.failures
        assert opened < 5 * connections + 50, "those that were cut are not closed as fast as new ones come"
    assert not FULL or max(slower.values()) < max(2, beside_honest / normal), slower
    # Both budgets, what the allocator keeps, and of each connection itself, one request and the heads that may wait.
    assert IS_SANITIZED or max(larger.values()) < (16 + 16 + 8 << 10) + 130 * connections, larger
