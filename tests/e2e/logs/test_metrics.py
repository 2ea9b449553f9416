# SPDX-License-Identifier: Apache-2.0
"""Counters count what they say: each is moved by the traffic it is about, by as much as there was. (ended_… : test_reasons.py)"""

import os
import re
import threading

import pytest

from tests.harness import waiting
from tests.harness.ladle import TOP
from tests.harness.origin import reply


def metrics(proxy):
    return proxy.status()["metrics"]


@pytest.fixture
def grown(ladle, origin):
    """grown(answer, act, settings) → how much each metric has grown by `act(proxy)`, once it is at rest."""
    def make(answer, act, settings=None, script=None):
        server = origin(answer, script=script)
        proxy = ladle(server, settings)
        before = metrics(proxy)
        act(proxy)
        waiting.until(lambda: metrics(proxy)["requests_in_flight"] == 0 and metrics(proxy)["connections_open"] == 0, "the traffic to end")
        after = metrics(proxy)
        return {name: value - before[name] for name, value in after.items()}
    return make


def get(*arguments, **more):
    return lambda proxy: proxy.get(*arguments, **more)


@pytest.mark.parametrize("status,name", [(200, "responses_2xx"), (302, "responses_3xx"), (404, "responses_4xx"), (500, "responses_5xx")])
def test_responses_are_counted_by_class(grown, status, name):
    """A response counts in the class of its status and in no other."""
    found = grown(reply(status=status), get())
    assert {key: value for key, value in found.items() if key.startswith("responses_") and value} == {name: 1}
    assert found["requests"] == 1 and found["ended_ok"] == 1 and found["requests_refused"] == 0


def test_interim_responses_are_counted(grown):
    """Each 1xx that is passed on counts, beside the answer."""
    found = grown(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + reply(), get())
    assert found["responses_1xx"] == 3 and found["responses_2xx"] == 1


def test_cut_responses_are_counted(grown):
    """A response that ends before its length is one that was cut."""
    def act(proxy):
        with proxy.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
            client.drain()
    found = grown(None, act, script=lambda connection: (connection.reader.request(), connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")))
    assert found["responses_cut"] == 1


def test_refused_requests_are_counted(grown):
    """What the parser or a limit refuses is a request, and a refused one."""
    found = grown(reply(), get(host="a b"))
    assert found["requests"] == found["requests_refused"] == found["responses_4xx"] == 1
    assert found["server_connections_made"] == 0


def test_bytes_are_counted_on_all_four_ways(ladle, origin):
    """Received and sent, by clients and servers: exactly the bytes that went over the sockets."""
    server = origin(lambda request: reply(b"y" * 5000))
    proxy = ladle(server)
    before = metrics(proxy)
    with proxy.client() as client:
        sent = b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n" + b"x" * 3000
        client.send(sent)
        got, _ = client.drain()
    after = waiting.until(lambda: (found := metrics(proxy))["connections_open"] == 0 and found, "the client to be gone")
    moved = {name: after[name] - before[name] for name in after if name.startswith("bytes_")}
    assert moved == {"bytes_from_clients": len(sent), "bytes_to_clients": len(got),
                     "bytes_to_servers": len(server.received), "bytes_from_servers": len(reply(b"y" * 5000))}


def test_server_connections_are_counted(ladle, origin):
    """One connection made, used twice more, open and idle between the requests; closed when the server closes it."""
    server = origin()
    proxy = ladle(server)
    for _ in range(3):
        assert proxy.get().status == 200
    found = waiting.until(lambda: (now := metrics(proxy))["server_connections_idle"] == 1 and now, "the connection to be kept")
    assert (found["server_connections_made"], found["server_connections_reused"], found["server_connections_open"]) == (1, 2, 1)
    server.connections[0].close()
    waiting.until(lambda: metrics(proxy)["server_connections_open"] == metrics(proxy)["server_connections_idle"] == 0, "the gauges to fall")


def test_failed_connects_and_bad_answers_are_counted(ladle, origin):
    """A refused connection, a server that talks no HTTP, and the second try of a request."""
    dead = f"127.0.0.1:{waiting.free_port()}"
    proxy = ladle(settings={"upstream": {"app": {"servers": [dead, origin().text], "balance": "round_robin"}}, "site": {"*": {"upstream": "app"}}})
    for _ in range(2):
        assert proxy.get().status == 200
    found = metrics(proxy)
    assert found["server_connect_failures"] == 1 and found["server_retries"] == 1
    proxy = ladle(origin(b"no HTTP at all\r\n\r\n"))
    assert proxy.get().status == 502
    assert metrics(proxy)["server_bad_responses"] == 1


def test_the_queue_is_counted(ladle, origin):
    """Who waits is in the gauge, who is sent away in the counter."""
    go = threading.Event()
    server = origin(lambda request: go.wait(60) and reply())
    proxy = ladle(settings={"upstream": {"app": {"servers": [server.text], "max_conn": 1, "queue": {"size": 1, "timeout": "60s"}}}, "site": {"*": {"upstream": "app"}}})
    with proxy.client() as first, proxy.client() as second, proxy.client() as third:
        first.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        server.wait_requests(1)
        second.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: metrics(proxy)["server_queue"] == 1, "one to wait")
        third.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert third.response().status == 503
        assert metrics(proxy)["server_queue_refused"] == 1
        go.set()
        assert [first.response().status, second.response().status] == [200, 200]
    assert metrics(proxy)["server_queue"] == 0


def test_the_spool_is_counted(ladle, origin):
    """A body that outgrows memory goes to disk once; one that outgrows the disk too has to wait."""
    body = os.urandom(16 << 20)
    proxy = ladle(origin(reply(body)), {"budget": {"spool_memory": "1MiB", "spool_disk": "4MiB", "per_client": "16MiB"}})
    with proxy.client(receive_buffer=8192, timeout=30) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        found = waiting.until(lambda: (now := metrics(proxy))["spool_back_pressure"] > 0 and now["spool_disk_bytes"] > 3 << 20 and now, "the budgets to be used up")
        assert found["spool_to_disk"] == 1 and found["spool_disk_bytes"] <= 4 << 20 and 0 < found["spool_memory_bytes"] <= 2 << 20
        assert client.response().body == body
    waiting.until(lambda: metrics(proxy)["spool_memory_bytes"] == metrics(proxy)["spool_disk_bytes"] == 0, "the spool to be empty")


def test_every_metric_is_in_a_test(ladle, origin):
    """status has all of the table, and whoever adds a metric adds a test that names it."""
    with open(os.path.join(TOP, "common", "shm", "metrics_table.h"), encoding="utf-8") as table:
        names = re.findall(r"^ +M\((\w+), (?:counter|gauge),", table.read(), re.MULTILINE)
    shown = metrics(ladle(origin()))
    assert len(names) > 30 and set(names) <= set(shown)
    tests = ""
    for folder, _, files in os.walk(os.path.join(TOP, "tests")):
        if os.path.basename(os.path.dirname(folder)) == "e2e" or "fault" in folder:
            tests += "".join(open(os.path.join(folder, file), encoding="utf-8").read() for file in files if file.endswith(".py"))
    assert [name for name in names if not re.search(rf"\b{name}\b", tests)] == []
