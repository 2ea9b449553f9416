# SPDX-License-Identifier: Apache-2.0
"""Passive ejection, retries and backups: what failing requests do to a server, counted over all workers, and what clients see of it."""

import threading
import time
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import Origin, reply


def named(name):
    return lambda request: reply(name.encode())


def group(ladle, servers, workers=2, timeouts=None, **more):
    return ladle(settings={"server": {"workers": workers}, "timeouts": timeouts or {}, "upstream": {"app": {"servers": servers, **more}},
                           "site": {"*": {"upstream": "app"}}})


def ask(proxy, count, method="GET", **more):
    return Counter(response.body.decode() if response.status == 200 else response.status
                   for response in (proxy.get("/", method, **more) for _ in range(count)))


def server(proxy, number=0):
    return proxy.status()["servers"][number]


def hammer(proxy, clients=8):
    """Answers of clients that ask over kept connections until they are told to stop; [(when, answer)] of each client."""
    seen, stop = [[] for _ in range(clients)], threading.Event()

    def run(mine):
        while not stop.is_set():
            try:
                with proxy.client() as client:
                    for _ in range(20):
                        response = client.request()
                        mine.append((time.monotonic(), response.body.decode() if response.status == 200 else response.status))
            except OSError as error:
                mine.append((time.monotonic(), repr(error)))
    threads = [threading.Thread(target=run, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    return threads, seen, stop


def test_a_server_that_dies_under_load_costs_no_safe_request_and_is_out_at_once(ladle, origin):
    """Eight clients ask all the time over three workers; one of two servers dies: not one GET fails, and soon it gets nothing more."""
    stays = origin(named("stays"))
    dies = Origin(named("dies"))
    proxy = group(ladle, [stays.text, dies.text], workers=3)
    threads, seen, stop = hammer(proxy)
    try:
        waiting.until(lambda: sum(map(len, seen)) > 200, "load")
        dies.stop()
        died = time.monotonic()
        waiting.until(lambda: server(proxy, 1)["state"] == "ejected", "it to be ejected")
        before = sum(map(len, seen))
        waiting.until(lambda: sum(map(len, seen)) > before + 200, "more load")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    answers = Counter(answer for mine in seen for _, answer in mine)
    assert set(answers) == {"stays", "dies"}, answers
    assert max(when for mine in seen for when, answer in mine if answer == "dies") < died + 10
    assert server(proxy, 1)["failures"]["connect"] < 20


@pytest.mark.parametrize("answer,kind", [
    (lambda request, connection: connection.reset(), "reset"), (reply(status=503), "bad status"), (b"nonsense\r\n\r\n", "bad response"),
    (reply(status=502), "bad status"),
], ids=["reset", "503", "nonsense", "502"])
def test_five_failures_in_a_row_eject_for_all_workers(ladle, origin, answer, kind):
    """Five bad answers in a row, whichever workers met them, and no worker sends anything there any more."""
    bad = origin(answer)
    proxy = group(ladle, [bad.text, origin(named("good")).text], workers=3, balance="round_robin", retry=1)
    while len(bad.requests) < 5:
        proxy.get()
    assert server(proxy)["state"] == "ejected"
    assert ask(proxy, 30) == {"good": 30}
    shown = server(proxy)
    assert shown["why"] == f"failing requests: {kind}" and 20_000 < shown["back_in_ms"] <= 30_000 and shown["failures"] == {kind: 5}
    assert f"failing requests: {kind}, for" in proxy.command("status").stdout
    assert "a server is left alone for a while" in proxy.output()
    assert proxy.status()["metrics"]["server_ejections"] == 1


def test_a_slow_server_is_ejected(ladle, origin):
    """A server that does not answer in time counts as failing; with retry.per_try another one answers instead."""
    hangs = origin(lambda request, connection: time.sleep(15))
    proxy = group(ladle, [hangs.text, origin(named("good")).text], balance="round_robin", eject={"failures": 2}, retry={"per_try": "1s"})
    assert ask(proxy, 4) == {"good": 4}
    assert server(proxy)["state"] == "ejected" and server(proxy)["failures"] == {"timeout": 2}


def test_a_slow_answer_is_waited_for_when_nobody_else_may_be_asked(ladle, origin):
    """retry.per_try ends a try only for another one: with the budget used up, slow servers are given their time."""
    def slow(request):
        time.sleep(0.4)
        return reply(b"slow")
    proxy = group(ladle, [origin(slow).text, origin(slow).text], workers=1, eject=0, retry={"per_try": "100ms", "budget": "0%", "attempts": 2})
    def asks_in_vain():  # half of what is spent comes back every ten seconds, which may be in between
        assert ask(proxy, 7) == {"slow": 7}
        return proxy.status()["metrics"]["server_retries_refused"] > 0
    waiting.until(asks_in_vain, "the budget to be used up")


def test_a_busy_server_s_answer_is_not_traded_for_a_place_in_a_queue(ladle, origin):
    """A 503 is passed on at once where the only other server is at its max_conn, and holds nobody else up."""
    go = threading.Event()
    full, busy = origin(lambda request: (go.wait(60), reply(b"full"))[1]), origin(reply(status=503))
    proxy = group(ladle, [full.text, busy.text], workers=1, eject=0, max_conn=1, balance="round_robin", queue={"size": 10, "timeout": "60s"})
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        full.wait_requests(1)
        started = time.monotonic()
        assert ask(proxy, 3) == {503: 3}
        assert time.monotonic() - started < 20
        go.set()
        assert client.response().body == b"full"


def test_an_ejected_server_comes_back_on_trial(ladle, origin):
    """After its time one request tries it: a failure ejects it at once, for longer; a good answer brings it back."""
    good = threading.Event()
    flaps = origin(lambda request: reply(b"flaps") if good.is_set() else reply(status=503))
    proxy = group(ladle, [flaps.text, origin(named("good")).text], balance="round_robin", eject={"failures": 3, "for": "2s"})
    waiting.until(lambda: ask(proxy, 2) and len(flaps.requests) == 3, "three failures", 5)
    assert server(proxy)["state"] == "ejected"
    waiting.until(lambda: ask(proxy, 1) == {"good": 1} and len(flaps.requests) == 4, "the trial", 10)
    shown = server(proxy)
    assert shown["state"] == "ejected" and shown["back_in_ms"] + shown["out_for_ms"] > 3000
    good.set()
    waiting.until(lambda: ask(proxy, 2)["flaps"], "it to be used", 10)
    assert ask(proxy, 10) == {"flaps": 5, "good": 5}


def test_the_last_server_is_never_ejected(ladle, origin):
    """A lone server that answers nothing but 503 is asked on and on; with eject = 0 any server is."""
    only = origin(reply(status=503))
    proxy = group(ladle, [only.text])
    assert ask(proxy, 20) == {503: 20} and server(proxy)["state"] == "up"
    proxy.configure({"upstream": {"app": {"servers": [only.text, origin(named("b")).text], "eject": 0, "retry": 1, "balance": "round_robin"}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 20) == {503: 10, "b": 10}


def test_a_bad_status_is_asked_for_again_elsewhere(ladle, origin):
    """A GET that gets 503 is answered by another server; a POST, and what no other server can do better, is not sent twice."""
    busy, fine = origin(reply(status=503)), origin(named("fine"))
    proxy = group(ladle, [busy.text, fine.text], balance="round_robin", eject=0)
    assert ask(proxy, 10) == {"fine": 10}
    assert ask(proxy, 4, "POST", body=b"x") == {503: 2, "fine": 2}
    assert ask(proxy, 4, "PUT", body=b"x" * 100_000) == {"fine": 4}
    assert fine.requests[-1].body == b"x" * 100_000
    proxy.configure({"upstream": {"app": {"retry": {"on": ["connect", 502]}}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy, 4) == {503: 2, "fine": 2}


def test_a_body_that_came_faster_than_the_disk_takes_it_is_sent_again_whole(ladle, origin):
    """Past the memory's budget a body waits on disk; its client is held up, and a second server gets all of it."""
    busy, fine = origin(reply(status=503)), origin(named("fine"))
    proxy = group(ladle, [busy.text, fine.text], workers=1, balance="round_robin", eject=0)
    proxy.configure({"budget": {"spool_memory": "1MiB", "spool_disk": "1GiB", "per_client": "1GiB"}})
    assert proxy.reload().returncode == 0
    body = bytes(range(256)) * (32 << 12)
    assert ask(proxy, 6, "PUT", body=body) == {"fine": 6}
    assert all(request.body == body for request in fine.requests) and proxy.status()["metrics"]["server_retries"] > 0


def test_a_reset_is_asked_for_again_only_where_that_is_safe(ladle, origin):
    """A connection that ends before an answer: a GET moves to another server, a POST gets its 502 and is seen by one server."""
    resets, fine = origin(lambda request, connection: connection.reset()), origin(named("fine"))
    proxy = group(ladle, [resets.text, fine.text], balance="round_robin", eject=0)
    assert ask(proxy, 10) == {"fine": 10}
    before = len(resets.requests) + len(fine.requests)
    assert ask(proxy, 4, "POST", body=b"x") == {502: 2, "fine": 2}
    assert len(resets.requests) + len(fine.requests) == before + 4


def test_the_budget_bounds_retries_over_all_workers(ladle, origin):
    """However many requests fail, no more than ten and a part of them are sent again, counted over all workers."""
    servers = [origin(reply(status=503)) for _ in range(3)]
    proxy = group(ladle, [one.text for one in servers], workers=3, eject=0, retry={"budget": "10%", "attempts": 3})
    assert ask(proxy, 200) == {503: 200}
    sent = sum(len(one.requests) for one in servers)
    assert 210 <= sent <= 200 * 1.3 + 24, sent  # the first ten come once more if these take ten seconds
    metrics = proxy.status()["metrics"]
    assert metrics["server_retries_refused"] > 0 and metrics["server_retries_budgeted"] == sent - 200


def test_a_backup_is_used_only_when_no_other_server_can_be(ladle, origin):
    """A backup gets nothing while a normal server is in order, everything when none is, and nothing again afterwards."""
    port = waiting.free_port()
    backup = origin(named("backup"))
    proxy = group(ladle, [f"127.0.0.1:{port}", {"address": backup.text, "backup": True}],
                  health={"kind": "tcp", "interval": "100ms", "fall": 2, "rise": 1})
    assert ask(proxy, 10) == {"backup": 10}
    with Origin(named("normal"), port=port):
        waiting.until(lambda: ask(proxy, 4) == {"normal": 4}, "the normal server", 15)
        waiting.until(lambda: server(proxy)["check"]["verdict"] == "up", "its checks", 10)
        assert ask(proxy, 20) == {"normal": 20}
    assert ask(proxy, 10) == {"backup": 10}


def test_slow_start_lets_a_server_come_back_gently(ladle, origin):
    """A server that its checks bring back gets a small share at first, and its whole share after slow_start."""
    ok = threading.Event()

    def flaps(request):
        return reply(b"a" if request.target == "/" else b"", status=200 if ok.is_set() or request.target == "/" else 500)
    proxy = group(ladle, [origin(flaps).text, origin(named("b")).text], balance="round_robin", slow_start="20s",
                  health={"path": "/healthz", "interval": "100ms", "fall": 1, "rise": 1})
    waiting.until(lambda: server(proxy)["state"] == "down", "it to go down", 10)
    ok.set()
    waiting.until(lambda: server(proxy)["state"] == "up", "it to come back", 10)
    first = ask(proxy, 40)["a"]
    assert first < 18
    waiting.until(lambda: ask(proxy, 40)["a"] == 20, "its whole share", 40)


def test_traffic_shares_and_latencies_are_shown(ladle, origin):
    """status has each server's requests, share and latency quantiles."""
    def slow(request):
        time.sleep(0.05)
        return reply()
    proxy = group(ladle, [origin(slow).text, origin(reply()).text], balance="round_robin")
    ask(proxy, 20)
    shown = proxy.status()["servers"]
    assert [one["requests"] for one in shown] == [10, 10] and [one["share_percent"] for one in shown] == [50, 50]
    assert 50 <= shown[0]["latency_ms"]["p50"] < 500 and shown[1]["latency_ms"]["p50"] <= shown[0]["latency_ms"]["p50"]
    assert "latency p50" in proxy.command("status").stdout
