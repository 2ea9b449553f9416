# SPDX-License-Identifier: Apache-2.0
"""`hedge` of an upstream: a request that waits for longer than most goes to a second server as well, and the first answer counts."""

import hashlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.hedging.conftest import all_hedges, hedges, in_flight, warm_up
from tests.harness import waiting
from tests.harness.h2_client import CANCEL
from tests.harness.h2_origin import H2Origin
from tests.harness.origin import reply


def start(proxy, method="GET", target="/", headers="", body=b""):
    """A client that has sent a request."""
    client = proxy.client()
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    client.send(f"{method} {target} HTTP/1.1\r\nHost: site.test\r\n{length}{headers}\r\n".encode() + body)
    return client


def wait_until_free(proxy):
    waiting.until(lambda: in_flight(proxy) == 0, "nothing to be in flight")


def test_a_stalled_request_is_answered_by_another_server_and_the_first_one_is_given_up(group, hedging):
    """The other server's answer; one line in the log, one id; the first server's connection is closed, and what it says is nobody's."""
    servers = group()
    proxy = hedging(servers.servers)
    with start(proxy, target="/stall/1") as client:
        answer = client.response()
        first, second = servers.came["/stall/1"]
        assert (answer.status, answer.body.decode()) == (200, second) and first != second
        assert servers.connections["/stall/1"][first].is_ended_by_peer()
        servers.go("/stall/1")
        assert hedges(proxy) == (1, 1, 0)
        assert client.request("GET", "/quick/last").body.decode() in servers.came["/quick/last"]
    ids = servers.ids["/stall/1"]
    assert ids[0] == ids[1]
    lines = [line for line in proxy.access_log(152) if line["target"] == "/stall/1"]
    assert [(line["id"], line["hedge"], line["attempts"]) for line in lines] == [(ids[0], "won", 2)]
    texts = dict(zip("ab", (server.text for server in servers.servers)))
    assert lines[0]["server"] == texts[second]
    wait_until_free(proxy)


def test_the_first_server_may_still_be_the_quicker_one(group, hedging):
    """The second one fails at once; the first one answers in the end, and that is the answer."""
    servers = group()
    proxy = hedging(servers.servers)
    target = "/second-fails/1"  # its 503 is no answer while the first one runs
    with start(proxy, target=target) as client:
        waiting.until(lambda: any(server["failures"].get("bad status") for server in proxy.status()["servers"]), "the 503 to be taken")
        servers.go(target)
        assert client.response().body.decode() == servers.came[target][0]
    assert hedges(proxy) == (1, 0, 0)
    assert [line["hedge"] for line in proxy.access_log(151) if line["target"] == target] == ["lost"]
    wait_until_free(proxy)


def test_a_second_request_under_way_is_given_up_when_the_first_is_answered(group, hedging):
    """The second server has it and says nothing; the first one's answer closes its connection."""
    servers = group()
    release = threading.Event()
    proxy = hedging(servers.servers)
    seen = []

    def hold(_, connection):
        seen.append(connection)
        if len(seen) == 1:
            release.wait(60)
            return reply(b"first")
        return None
    for server in servers.servers:
        server.answer = hold
    with start(proxy, target="/both") as client:
        waiting.until(lambda: len(seen) == 2, "both to have it")
        release.set()
        assert client.response().body == b"first"
    waiting.until(lambda: seen[1].closed_at, "the second one's connection to be closed")
    assert hedges(proxy) == (1, 0, 0)
    wait_until_free(proxy)


@pytest.mark.parametrize("hedge", ["p95", "off"])
def test_the_slowest_requests_take_little_longer_than_the_percentile(group, hedging, hedge):
    """Three in a hundred stall for two seconds at one server of two: with hedging none takes that long, without it they do."""
    servers = group()
    proxy = hedging(servers.servers, warm=hedge != "off", hedge={"at": hedge})
    stall = 2.0

    def run(number):
        target = f"/stall/{number}" if number % 33 == 0 else f"/quick/more{number}"
        timer = threading.Timer(stall, servers.go, [target])
        begun = time.monotonic()
        timer.start()
        assert proxy.get(target).status == 200
        timer.cancel()
        return time.monotonic() - begun
    with ThreadPoolExecutor(4) as pool:
        times = sorted(pool.map(run, range(200)))
    if hedge == "off":
        assert times[-6] >= stall
    else:
        assert times[-3] < stall
        assert hedges(proxy)[1] >= 4


def test_what_may_not_be_repeated_or_is_streamed_is_sent_once(group, hedging):
    """POST, PUT, DELETE, an upgrade, and a body that is passed on as it comes wait for their server, while a GET that came later is hedged."""
    servers = group()
    proxy = hedging(servers.servers, settings={"site": {"*": {"route": [{"path": "/stall/stream*", "upstream": "app",
                                                                          "buffer": {"request": "stream"}},
                                                                         {"path": "/*", "upstream": "app"}]}}})
    clients = {"/stall/post": start(proxy, "POST", "/stall/post", body=b"x"),
               "/stall/put": start(proxy, "PUT", "/stall/put", body=b"x"),
               "/stall/delete": start(proxy, "DELETE", "/stall/delete"),
               "/stall/upgrade": start(proxy, "GET", "/stall/upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
               "/stall/stream": start(proxy, "GET", "/stall/stream", body=b"x")}
    for target in clients:
        servers.wait(target, 1)
    for number in range(3):
        assert proxy.get(f"/stall/later{number}").status == 200
    assert hedges(proxy) == (3, 3, 0)
    for target, client in clients.items():
        servers.go(target)
        assert client.response().status == 200
        client.close()
        assert len(servers.came[target]) == 1
    wait_until_free(proxy)


def test_the_budget_holds_when_all_servers_are_slow(group, hedging):
    """Every answer takes far longer than it did: of all requests, over two workers, the servers get no more than the budget twice."""
    servers = group()
    proxy = hedging(servers.servers, hedge={"budget": "5%"})
    slow = threading.Event()
    for server in servers.servers:
        quick = server.answer
        server.answer = lambda request, connection, quick=quick: (slow.wait(0.3), quick(request, connection))[1]
    with ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(lambda number: proxy.get(f"/quick/slow{number}").status, range(200)))
    assert statuses == [200] * 200
    sent, _, refused = hedges(proxy)
    assert 3 <= sent <= (350 + sent) * 5 // 100 and refused > 5
    assert servers.total <= 350 + all_hedges(proxy)[0]


def test_a_client_that_leaves_ends_both(group, hedging):
    """Both servers have the request as the client resets its connection: both connections are closed, nothing stays in flight."""
    servers = group()
    proxy = hedging(servers.servers)
    client = start(proxy, target="/hang/1")
    servers.wait("/hang/1", 2)
    assert in_flight(proxy) == 2
    client.reset()
    for connection in servers.connections["/hang/1"].values():
        assert connection.is_ended_by_peer()
    wait_until_free(proxy)


def test_a_killed_worker_leaves_nothing_of_either_in_flight(group, hedging):
    """kill -9 while both servers have the request: the counts of both are free again."""
    servers = group()
    proxy = hedging(servers.servers, settings={"server": {"workers": 1}})
    proxy.expect_failures = True
    with start(proxy, target="/hang/1"):
        servers.wait("/hang/1", 2)
        old = proxy.workers()[0]
        os.kill(old, signal.SIGKILL)
        waiting.until(lambda: proxy.workers().get(0, old) != old, "a new worker")
        wait_until_free(proxy)


def test_a_failure_waits_for_the_other_attempt(group, hedging):
    """The first server answers 503 while the second has the request: the second one's answer is the client's."""
    servers = group()
    proxy = hedging(servers.servers)
    answer = proxy.get("/first-fails/1")
    assert (answer.status, answer.body.decode()) == (200, servers.came["/first-fails/1"][1])
    assert hedges(proxy) == (1, 1, 0)
    assert len(servers.came["/first-fails/1"]) == 2
    wait_until_free(proxy)


@pytest.mark.parametrize("count, status", [(3, 200), (2, 503)])
def test_after_two_failures_the_rules_of_retry_go_on(group, hedging, count, status):
    """Both answer 503: a third server is asked where there is one, else the client gets a server's 503. Nobody is asked twice."""
    servers = group(count)
    proxy = hedging(servers.servers)
    answer = proxy.get("/fail/1")
    assert (answer.status, answer.body != b"no") == (status, status == 200)
    assert sorted(servers.came["/fail/1"]) == list("abc"[:count])
    assert [line["attempts"] for line in proxy.access_log(151) if line["target"] == "/fail/1"] == [count]
    wait_until_free(proxy)


def test_a_first_server_that_resets_leaves_the_second_one_its_time(group, hedging):
    """The first connection ends while the second server has the request: its answer is the client's, no third server is asked."""
    servers = group(3)
    proxy = hedging(servers.servers)
    with start(proxy, target="/hang/1") as client:
        servers.wait("/hang/1", 2)
        first, second = servers.came["/hang/1"]
        servers.connections["/hang/1"][first].reset()
        texts = dict(zip("abc", (server.text for server in servers.servers)))
        waiting.until(lambda: {one["server"]: one["in_flight"] for one in proxy.status()["servers"]}[texts[first]] == 0, "the first to be free")
        servers.go("/hang/1")
        assert client.response().body.decode() == second
    assert len(servers.came["/hang/1"]) == 2
    wait_until_free(proxy)


def test_a_server_at_its_max_conn_is_sent_no_hedge(group, hedging):
    """max_conn = 1: while the other server has a request none is sent there, and none waits for it; once it is free one is."""
    servers = group()
    proxy = hedging(servers.servers, max_conn=1)
    with start(proxy, target="/stall/busy") as busy:
        assert busy.response().status == 200
        assert len(servers.came["/stall/busy"]) == 2
        with start(proxy, target="/hang/one") as one, start(proxy, target="/hang/two") as two:
            servers.wait("/hang/one", 1)
            servers.wait("/hang/two", 1)
            sent = hedges(proxy)[0]
            begun = time.monotonic()
            waiting.until(lambda: time.monotonic() - begun > 0.3, "ten times as long as a hedge waits")
            assert hedges(proxy)[0] == sent
            assert [server["in_flight"] for server in proxy.status()["servers"]] == [1, 1]
            for target, client in (("/hang/one", one), ("/hang/two", two)):
                servers.go(target)
                assert client.response().status == 200
                assert len(servers.came[target]) == 1
    wait_until_free(proxy)


def test_a_client_that_is_kept_to_its_server_is_not_hedged(group, hedging):
    """Its session is there: with the cookie it waits, without one it does not."""
    servers = group()
    proxy = hedging(servers.servers, sticky={"cookie": "srv"})
    cookie = proxy.get("/quick/first").headers.get("set-cookie").split(";")[0]
    with start(proxy, target="/stall/kept", headers=f"Cookie: {cookie}\r\n") as client:
        servers.wait("/stall/kept", 1)
        answer = proxy.get("/stall/new")
        assert answer.status == 200 and len(servers.came["/stall/new"]) == 2
        assert answer.headers.get("set-cookie").startswith("srv=")
        servers.go("/stall/kept")
        assert client.response().status == 200
    assert len(servers.came["/stall/kept"]) == 1


def test_a_body_in_a_spool_file_is_sent_twice(group, hedging):
    """A request with more of a body than memory may hold: both servers get every byte of it."""
    servers = group()
    proxy = hedging(servers.servers, settings={"budget": {"spool_memory": "1MiB"}})
    body = os.urandom(2_000_000)

    def held():
        metrics = proxy.status()["metrics"]
        return metrics["spool_memory_bytes"] + metrics["spool_disk_bytes"] if metrics["file_jobs"] == 0 else 0
    with proxy.client() as client:
        client.send(f"GET /stall/put HTTP/1.1\r\nHost: site.test\r\nContent-Length: {len(body)}\r\n\r\n")
        for at in range(0, len(body), 60_000):  # no quicker than the disk takes it, or it is passed on as it comes
            client.send(body[at:at + 60_000])
            if at + 60_000 < len(body):
                waiting.until(lambda at=at: held() >= at + 60_000, "the part to be kept")
        assert client.response().status == 200
    assert proxy.status()["metrics"]["spool_to_disk"] == 1 and hedges(proxy) == (1, 1, 0)
    want = hashlib.sha256(body).digest()
    assert [hashlib.sha256(got).digest() for got in servers.bodies["/stall/put"]] == [want] * 2
    waiting.until(lambda: proxy.status()["metrics"]["spool_memory_bytes"] == proxy.status()["metrics"]["spool_disk_bytes"] == 0, "all to be given back")
    wait_until_free(proxy)


def test_a_fill_of_the_cache_is_hedged_as_others_are(group, hedging):
    """A miss that stalls is answered and stored from the second server: the next one is a hit."""
    servers = group()
    proxy = hedging(servers.servers, settings={"cache": {"memory": "16MiB"}, "site": {"*": {"cache": True}}})
    answers = [proxy.get("/stall/cached").body.decode() for _ in range(2)]
    assert answers == [servers.came["/stall/cached"][1]] * 2
    assert len(servers.came["/stall/cached"]) == 2


def test_a_reload_while_both_run_changes_nothing_for_them(group, hedging):
    """A configuration without hedging comes while two servers have the request: the answer is still one of theirs."""
    servers = group()
    proxy = hedging(servers.servers)
    with start(proxy, target="/hang/1") as client:
        servers.wait("/hang/1", 2)
        proxy.configure({"upstream": {"app": {"hedge": "off"}}})
        assert proxy.reload().returncode == 0
        servers.go("/hang/1")
        assert client.response().body.decode() in servers.came["/hang/1"]
        assert client.request("GET", "/quick/after").status == 200
    wait_until_free(proxy)


def test_large_answers_of_the_second_server_come_whole(group, hedging):
    """What the second server sends is delivered as any answer, and its connection is used again."""
    body = os.urandom(3_000_000)
    servers = group(body=body)
    proxy = hedging(servers.servers)
    with start(proxy, target="/stall/1") as client:
        assert client.response().body == body
    assert hedges(proxy) == (1, 1, 0)
    wait_until_free(proxy)


def test_too_few_answers_are_no_ground_for_a_hedge(group, hedging):
    """Before a hundred answers nobody knows what takes long: a stalled request waits."""
    servers = group()
    proxy = hedging(servers.servers, warm=False)
    with proxy.client() as client:
        for number in range(60):
            client.request("GET", f"/quick/{number}")
    assert proxy.reload().returncode == 0
    assert proxy.status()["servers"][0]["hedge"] == {"at": "p95", "after_ms": 0}
    assert "hedge of the upstream: not yet" in proxy.command("status").stdout
    with start(proxy, target="/stall/1") as client:
        servers.wait("/stall/1", 1)
        threading.Timer(0.2, servers.go, ["/stall/1"]).start()
        assert client.response().body.decode() == servers.came["/stall/1"][0]
    assert hedges(proxy) == (0, 0, 0)


def test_streams_of_http_2_servers_are_reset_and_their_connections_stay(hedging, cleanup):
    """The stream that lost is reset (CANCEL); the connection goes on and the next request uses it."""
    first = []

    def answer(stream):
        path = stream.get(":path")
        if path.startswith("/stall") and path not in first:
            first.append(path)
            stalled.append(stream)
        else:
            stream.reply(path.encode())
    stalled = []
    servers = [H2Origin(answer) for _ in range(2)]
    cleanup.extend(servers)
    proxy = hedging(servers, protocol="h2", settings={"server": {"workers": 1}})
    assert proxy.get("/stall/1").body == b"/stall/1"
    waiting.until(lambda: stalled[0].code == CANCEL, "the stream to be reset")
    assert hedges(proxy) == (1, 1, 0)
    body = os.urandom(300_000)
    assert proxy.get("/stall/2", "GET", body=body).body == b"/stall/2"
    both = [stream for server in servers for stream in server.requests if stream.get(":path") == "/stall/2"]
    assert [bytes(stream.body) for stream in both] == [body] * 2
    assert all(len(server.connections) == 1 for server in servers)
    wait_until_free(proxy)


def test_status_and_check_tell_of_hedging(group, hedging):
    """status says after how long; check warns where no request could be hedged."""
    servers = group()
    proxy = hedging(servers.servers, warm=False)
    warm_up(proxy)
    assert "ms (p95)" in proxy.command("status").stdout
    proxy.configure({"upstream": {"app": {"servers": [servers.servers[0].text]}}})
    checked = proxy.command("check")
    assert checked.returncode == 0 and "no second server" in checked.stdout + checked.stderr
