# SPDX-License-Identifier: Apache-2.0
"""Workers that die in the middle of handshakes."""

import os
import signal
import socket
import ssl
import threading
import time

from tests.e2e.tls.conftest import authority, pair, secure  # noqa: F401 (fixtures)
from tests.harness import waiting
from tests.harness.origin import reply
from tests.harness.wire import Reader, WireError

from .scale import pick, say


class Visitors:
    """Threads that make one TLS connection after the other, with a request each; `outcomes` counts how they ended."""

    def __init__(self, proxy, authority, count):  # noqa: F811
        self.proxy, self.authority = proxy, authority
        self.stopping = False
        self.outcomes = {"good": 0, "lost": 0, "other": []}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        context = ssl.create_default_context(cafile=self.authority.pem)
        while not self.stopping:
            how = "good"
            try:
                with socket.create_connection(self.proxy.address, 60) as plain, context.wrap_socket(plain, server_hostname="site.test") as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
                    assert Reader(sock).response("GET").status == 200
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError, WireError):
                how = "lost"
            except (OSError, AssertionError) as error:
                how = repr(error)
            with self.lock:
                if how in self.outcomes:
                    self.outcomes[how] += 1
                else:
                    self.outcomes["other"].append(how)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(70)
        return self.outcomes


def test_kill_9_during_handshakes(secure, authority, origin):  # noqa: F811
    """kill -9 of a worker, N times while clients shake hands: only those that it had accepted are cut off, at once; no handshake hangs, breaks
    otherwise or is refused, and a session from before is resumed afterwards."""
    clients, times = 12, pick(6, 60)
    proxy = secure(origin(reply(b"ok")), {"server": {"workers": 3}})
    proxy.expect_failures = True
    proxy.wait_workers(3)
    context = ssl.create_default_context(cafile=authority.pem)

    def visit(session=None):
        with socket.create_connection(proxy.address, 60) as plain, context.wrap_socket(plain, server_hostname="site.test", session=session) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
            assert Reader(sock).response("GET").status == 200
            return sock.session_reused, sock.session

    session = visit()[1]
    visitors = Visitors(proxy, authority, clients)
    try:
        for turn in range(times):
            time.sleep(0.2)
            workers = waiting.until(lambda: len(found := proxy.workers()) == 3 and found, "three workers", 40)
            os.kill(workers[turn % 3], signal.SIGKILL)
        proxy.wait_workers(3, 40)
    finally:
        outcomes = visitors.stop()
    say(f"kill -9 during handshakes: {times} kills, {outcomes['good']} whole, {outcomes['lost']} cut off")
    assert outcomes["other"] == []
    assert outcomes["lost"] <= clients * times and outcomes["good"] > 10 * times
    assert visit(session)[0]
