# SPDX-License-Identifier: Apache-2.0
"""Every way in which a request may end is made to happen, and tells itself: status, "reason" in the access log, its counter."""

import os
import re
import shutil
import tempfile
import threading

import pytest

from tests.harness import waiting
from tests.harness.certificates import Authority, tls
from tests.harness.h2_client import REFUSED_STREAM
from tests.harness.h2_origin import H2Origin
from tests.harness.ladle import TOP, Ladle
from tests.harness.origin import Origin, reply
from tests.harness.raw_client import RawClient
from tests.harness.silent import Deaf

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "echo")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
ELSEWHERE = {"no_server": "every server that was tried leaves the reason of its own failure",
             "purge_failed": "a process would have to stop for good with the table's lock in its hand",
             "too_early": "a new proxy takes early data after 15 s only: tests/e2e/tls/test_early_data.py"}


def play(connection):
    """The server: what it does is the request's path."""
    while connection.reader.at_start():
        what = connection.reader.request().target
        connection.origin.record(connection, what)
        if what == "/hold":
            connection.origin.go.wait(60)
        if what in ("/", "/hold"):
            connection.send(reply())
        elif what == "/big":
            connection.send(reply(b"x" * (16 << 20)))
        elif what in ANSWERS:
            connection.send(ANSWERS[what])
            if what in ("/stalls", "/silent", "/tunnel-idle"):
                connection.is_ended_by_peer()
            return
        else:
            return


ANSWERS = {
    "/bad-head": b"I am no HTTP\r\n\r\n",
    "/bad-framing": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "/bad-interim": SWITCH,
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234",
    "/bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n",
    "/stalls": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234",
    "/silent": b"",
    "/tunnel": SWITCH,
    "/tunnel-idle": SWITCH,
}


class Bench:
    """A proxy with short times and small limits, its server, and hosts behind which other servers fail in their own ways."""

    def __init__(self):
        self.origin = Origin(script=play)
        self.deaf = Deaf()
        self.refusing = H2Origin(lambda stream: stream.reset(REFUSED_STREAM))
        self.origin.go = threading.Event()
        self.certificates = tempfile.mkdtemp(prefix="ladle-certificates-")
        self.tls_port = waiting.free_port()
        secure = {"listen": f"https://127.0.0.1:{self.tls_port}", "tls": tls(Authority(self.certificates).issue("tls.test"))}
        listen = {"listen": f"http://127.0.0.1:{waiting.free_port()}"}
        self.ladle = Ladle(settings={
            "timeouts": {"header": "2s", "stall": "2s", "response": "2s", "connect": "1s", "tunnel": "2s"},
            "defence": {"request": {"head": "2KiB", "uri": "512B", "body": "1KiB"}},
            "upstream": {"one": {"servers": [self.origin.text], "max_conn": 1, "queue": {"size": 1, "timeout": "3s"}},
                         "old": {"servers": [self.origin.text], "protocol": "h2"}, "refusing": {"servers": [self.refusing.text], "protocol": "h2"},
                         "broken": {"servers": [f"127.0.0.1:{waiting.free_port()}"], "breaker": {"requests": 1, "for": "1h"}}},
            "site": {"site.test": {"upstream": self.origin.url, **listen}, "dead.test": {"upstream": f"http://127.0.0.1:{waiting.free_port()}", **listen},
                     "deaf.test": {"upstream": f"http://{self.deaf.text}", **listen}, "unknown.test": {"upstream": "http://no-such-name.invalid", **listen},
                     "queue.test": {"upstream": "one", "timeouts": {"response": "60s"}, **listen},
                     "cached.test": {"upstream": self.origin.url, "cache": {"purge": []}, **listen},
                     "tls-dead.test": {"upstream": f"https://{self.origin.text}", **listen},
                     "old.test": {"upstream": "old", **listen}, "broken.test": {"upstream": "broken", **listen}, "refusing.test": {"upstream": "refusing", **listen},
                     "tls.test": {"upstream": self.origin.url, **secure},
                     "bare.test": {"route": [{"path": "/only", "respond": 200}], **listen}}})
        self.address = ("127.0.0.1", int(listen["listen"].rsplit(":", 1)[1]))

    def stop(self):
        try:
            self.ladle.stop()
        finally:
            self.origin.stop()
            self.deaf.stop()
            self.refusing.stop()
            shutil.rmtree(self.certificates, ignore_errors=True)

    def is_logged(self):
        """Whether all requests so far stand in the access log."""
        metrics = self.ladle.status()["metrics"]
        return metrics["requests_in_flight"] == 0 and metrics["log_lines"] == metrics["requests"]

    def counter(self, reason):
        return self.ladle.status()["metrics"][f"ended_{reason}"]


@pytest.fixture(scope="module")
def bench():
    made = Bench()
    yield made
    made.stop()


def send(text, end=None):
    """A client that sends the bytes, perhaps does more, and takes what comes."""
    def act(bench):
        with RawClient(bench.address) as client:
            client.send(text)
            if end:
                end(client)
            else:
                client.drain()
    return act


def get(path="/", host="site.test", headers=()):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers) or "Connection: close\r\n"
    return send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")


def post(lines, body=b"", **more):
    return send(b"POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n" + lines + b"\r\n\r\n" + body, **more)


def read_nothing(bench):
    client = RawClient(bench.address, receive_buffer=4096)
    client.send(b"GET /big HTTP/1.1\r\nHost: site.test\r\n\r\n")
    waiting.until(lambda: bench.counter("client_stalled"), "the stall")
    client.close()


def crowd(bench, count, reason):
    """So many requests for a server that takes one at a time and holds it until one of the others has ended for the reason."""
    bench.origin.go.clear()
    before, ended = len(bench.origin.requests), bench.counter(reason)
    threads = [threading.Thread(target=get("/hold", "queue.test"), args=(bench,)) for _ in range(count)]
    for number, thread in enumerate(threads):
        thread.start()
        if number == 0:
            bench.origin.wait_requests(before + 1)
        elif number == 1:
            waiting.until(lambda: bench.ladle.status()["metrics"]["server_queue"] == 1, "the queue to be full")
    waiting.until(lambda: bench.counter(reason) > ended, "one to be refused")
    bench.origin.go.set()
    for thread in threads:
        thread.join()


def shut_after_101(client):
    assert client.reader.response_head().status == 101
    client.close()


CASES = {
    "ok": (200, get()),
    "bad_request": (400, send(b"GET / HTTP/1.1\r\nHost: site.test\r\nno field\r\n\r\n")),
    "bad_framing": (400, post(b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n")),
    "bad_host": (400, send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")),
    "misdirected": (421, get("https://site.test/")),
    "not_tls": (400, lambda bench: RawClient(("127.0.0.1", bench.tls_port)).send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n").drain()),
    "bad_chunk": (400, post(b"Transfer-Encoding: chunked", b"zz\r\n")),
    "bad_version": (505, send(b"GET / HTTP/2.7\r\nHost: site.test\r\n\r\n")),
    "method_not_allowed": (405, send(b"CONNECT site.test:80 HTTP/1.1\r\nHost: site.test:80\r\n\r\n")),
    "target_too_long": (414, get("/" + "a" * 1000)),
    "head_too_large": (431, get(headers=[("X-Long", "b" * 3000)])),
    "body_too_large": (413, post(b"Content-Length: 5000")),
    "expectation_failed": (417, post(b"Expect: a-miracle\r\nContent-Length: 1", b"x")),
    "head_timeout": (408, send(b"GET / HTTP/1.1\r\nHo")),
    "body_timeout": (408, post(b"Content-Length: 5", b"12")),
    "no_site": (404, get(host="nobody.test")),
    "no_route": (404, get("/other", "bare.test")),
    "only_if_cached": (504, get("/", "cached.test", headers=[("Cache-Control", "only-if-cached"), ("Connection", "close")])),
    "purge_refused": (403, send("PURGE / HTTP/1.1\r\nHost: cached.test\r\nConnection: close\r\n\r\n")),
    "client_left": (499, post(b"Content-Length: 5", b"12", end=lambda client: client.reset())),
    "client_stalled": (200, read_nothing),
    "breaker_open": (503, lambda bench: [get(host="broken.test")(bench) for _ in range(2)]),  # the first one opens it
    "name_unresolved": (503, get(host="unknown.test")),
    "queue_full": (503, lambda bench: crowd(bench, 3, "queue_full")),
    "queue_timeout": (503, lambda bench: crowd(bench, 2, "queue_timeout")),
    "connect_failed": (502, get(host="dead.test")),
    "connect_timeout": (504, get(host="deaf.test")),
    "server_not_h2": (502, get(host="old.test")),
    "server_refused": (502, get(host="refusing.test")),
    "server_tls": (502, get(host="tls-dead.test")),
    "server_reset": (502, get("/closes")),
    "server_timeout": (504, get("/silent")),
    "server_bad_head": (502, get("/bad-head")),
    "server_bad_framing": (502, get("/bad-framing")),
    "server_bad_interim": (502, get("/bad-interim")),
    "server_cut": (200, get("/cut")),
    "server_bad_chunk": (200, get("/bad-chunk")),
    "server_stalled": (200, get("/stalls")),
    "tunnel_closed": (101, send(b"GET /tunnel-idle HTTP/1.1\r\nHost: site.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", end=shut_after_101)),
    "tunnel_idle": (101, get("/tunnel-idle", headers=UPGRADE)),
}


@pytest.mark.parametrize("reason", CASES)
def test_a_request_that_ends_so_says_so(bench, reason):
    """The request ends with the status and the reason of its case; the reason's counter grows by one, and the log has one such line more."""
    status, act = CASES[reason]

    def lines():
        return [line["status"] for line in bench.ladle.access_log() if line["reason"] == reason]
    waiting.until(bench.is_logged, "the lines of the requests before")
    counted, logged = bench.counter(reason), len(lines())
    act(bench)
    waiting.until(lambda: len(lines()) > logged, f"a line with {reason}")
    assert lines()[logged:] == [status]
    assert bench.counter(reason) == counted + 1


def test_every_reason_has_a_case():
    """Whoever adds a reason to the table adds a request that ends so."""
    with open(os.path.join(TOP, "common", "shm", "reasons_table.h"), encoding="utf-8") as table:
        reasons = set(re.findall(r'R\(X, (\w+), "', table.read()))
    assert len(reasons) > 30 and reasons - set(CASES) == set(ELSEWHERE)
