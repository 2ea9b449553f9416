# SPDX-License-Identifier: Apache-2.0
"""Slow clients, idle clients, every body size."""

import fcntl
import socket
import statistics
import struct
import termios
import time

from tests.harness import waiting
from tests.harness.ladle import IS_SANITIZED, memory_kib
from tests.harness.origin import Origin, reply

from .scale import pick, say

MEGABYTE = 1 << 20


class HoldOrigin(Origin):
    """Answers with a megabyte; `holds` is how long each exchange kept its server connection busy: until the last byte was taken."""

    def __init__(self):
        self.holds = []
        answer = reply(b"x" * MEGABYTE)

        def give(request, connection):
            started = time.monotonic()
            connection.send(answer)
            # What the proxy has not yet read still stands in the kernel.
            while struct.unpack("i", fcntl.ioctl(connection.sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0] > 0:
                time.sleep(0.0005)
            self.holds.append(time.monotonic() - started)
        super().__init__(give)


def read_slowly(port, clients, rate, path="/1m"):
    """Each client reads at `rate` bytes a second from a small receive buffer; returns how many got a whole megabyte."""
    got = {}
    for _ in range(clients):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        sock.connect(("127.0.0.1", port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n".encode())
        sock.setblocking(False)
        got[sock] = 0
    started = time.monotonic()
    whole = 0
    while got and time.monotonic() - started < 60:
        allowed = (time.monotonic() - started) * rate
        for sock in list(got):
            budget = int(allowed - got[sock])
            if budget < 4096:
                continue
            try:
                piece = sock.recv(min(budget, 65536))
            except BlockingIOError:
                continue
            except OSError:
                piece = b""
            got[sock] += len(piece)
            if not piece:
                whole += got[sock] > MEGABYTE
                del got[sock]
                sock.close()
        time.sleep(0.005)
    for sock in got:
        sock.close()
    return whole


def test_slow_clients_do_not_hold_servers(ladle, cleanup):
    """N clients reading 1 MB at 200 KB/s: a server connection is held ≤ 50 ms at the median; memory within the budget."""
    clients, rate = pick(60, 300), pick(800_000, 200_000)
    server = HoldOrigin()
    cleanup.append(server)
    proxy = ladle(server, {"budget": {"per_client": "1GiB"}})
    worker = proxy.workers()[0]
    before = memory_kib(worker)
    whole = read_slowly(proxy.port, clients, rate)
    grown = memory_kib(worker) - before
    held = statistics.median(server.holds)
    say(f"{clients} clients at {rate // 1000} KB/s: {whole} whole, server held {held * 1000:.1f} ms at the median, worker grew {grown} KiB at the end")
    assert whole == clients
    assert held <= (0.5 if IS_SANITIZED else 0.05) * pick(4, 1), held


def test_idle_connections_cost_little(ladle, nginx):
    """An idle kept connection costs ≤ 2 KiB of user memory; one worker holds N."""
    count = pick(1000, 10000)
    proxy = ladle(nginx, {"timeouts": {"idle": "300s"}})
    worker = proxy.workers()[0]

    def connect(number):
        made = []
        for _ in range(number):
            sock = socket.create_connection(("127.0.0.1", proxy.port))
            sock.sendall(b"GET /1k HTTP/1.1\r\nHost: site.test\r\n\r\n")
            made.append(sock)
            data = b""
            while b"\r\n\r\n" not in data or len(data.split(b"\r\n\r\n", 1)[1]) < 1024:
                data += sock.recv(65536)
        return made
    warm = connect(200)
    time.sleep(0.5)
    before = memory_kib(worker, "Private_Dirty")
    sockets = connect(count)
    time.sleep(0.5)
    each = (memory_kib(worker, "Private_Dirty") - before) * 1024 / count
    say(f"{count} idle connections: {each:.0f} bytes each")
    for sock in [*warm, *sockets]:
        sock.close()
    assert IS_SANITIZED or each <= 2048
    waiting.until(lambda: proxy.get("/1k").status == 200, "the proxy to answer after that")


def test_no_body_size_is_slow(ladle, cleanup):
    """From 0 to 2 MB no size has a p99 above 5 ms on loopback (no cork or Nagle trap)."""
    sizes = sorted({0, 1, 512, 1400, 1448, 1460, 4096, 16383, 16384, 16385, 32768, 60000, 65483, 65535, 65536, 65537, 70000, 131072, 262144, 524288, 1000000, 1 << 20, 2_000_000,
                    *pick((), range(1000, 2_000_000, 49_999))})
    body = b"x" * 2_000_000
    server = Origin(lambda request: reply(body[: int(request.target[1:])]))
    cleanup.append(server)
    proxy = ladle(server)
    slowest = (0.0, 0)
    requests = pick(40, 300)
    with proxy.client() as client:
        for size in sizes:
            times = []
            for _ in range(requests):
                started = time.monotonic()
                assert len(client.request("GET", f"/{size}").body) == size
                times.append(time.monotonic() - started)
            slowest = max(slowest, (statistics.quantiles(times, n=100)[98] if requests >= 100 else sorted(times)[-2], size))
    say(f"{len(sizes)} sizes × {requests}: slowest p99 {slowest[0] * 1000:.2f} ms at {slowest[1]} bytes (client and server in one Python)")
    # A corked or delayed segment waits 40 ms: well above what a busy machine and a Python client cost.
    assert IS_SANITIZED or slowest[0] < pick(0.035, 0.02)
