# SPDX-License-Identifier: Apache-2.0
"""The breaker of an upstream as a whole: when too many of its requests fail it opens, for all workers, and a few trials close it."""

import os
import signal
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply
from tests.harness.wire import Closed

BREAKER = {"requests": 10, "for": "2s", "trials": 2}


class Server:
    """Answers 200 while it is well, else with `answer`; counts."""

    def __init__(self, answer=reply(status=503)):
        self.answer, self.is_well, self.count, self.hold, self.held = answer, True, 0, None, 0
        self.lock = threading.Lock()

    def __call__(self, request, connection):
        with self.lock:
            self.count += 1
        if (hold := self.hold) is not None:
            with self.lock:
                self.held += 1
            hold.wait(60)
        if self.is_well:
            return connection.send(reply())
        return connection.reset() if self.answer == "reset" else connection.send(self.answer)


def group(ladle, servers, workers=3, breaker=None, timeouts=None, route=None, **more):
    return ladle(settings={"server": {"workers": workers}, "timeouts": timeouts or {}, "site": {"*": {"upstream": "app", **(route or {})}},
                           "upstream": {"app": {"servers": servers, "eject": 0, "retry": 1, "breaker": {**BREAKER, **(breaker or {})}, **more}}})


def state(proxy):
    return proxy.status()["breakers"][0]


def statuses(proxy, count):
    return [proxy.get().status for _ in range(count)]


def open_it(proxy, server):
    server.is_well = False
    waiting.until(lambda: proxy.get() and state(proxy)["state"] == "open", "the breaker to open")


@pytest.mark.parametrize("answer,status,why", [(reply(status=503), 503, "bad status"), (reply(status=502), 502, "bad status"), ("reset", 502, "reset")],
                         ids=["503", "502", "reset"])
def test_it_opens_for_all_workers_and_closes_after_its_trials(ladle, origin, answer, status, why):
    """Ten failures over three workers open it: the server sees nothing more, though it is well, and clients get 503; then two trials, and all is as before."""
    server = Server(answer)
    proxy = group(ladle, [origin(server).text], breaker={"for": "4s"})
    assert set(statuses(proxy, 20)) == {200} and state(proxy) == {"upstream": "app", "state": "closed", "trials": 2}
    server.is_well = False
    assert statuses(proxy, 20)[:9] == [status] * 9
    waiting.until(lambda: proxy.get() and state(proxy)["state"] == "open", "it to open")
    shown = state(proxy)
    assert f"requests failed, the last one: {why}" in shown["why"] and shown["openings_in_row"] == 1 and 0 < shown["tries_in_ms"] <= 4000
    server.is_well = True
    seen = server.count
    refused = []
    while True:
        answer, count = proxy.get(), server.count
        if state(proxy).get("tries_in_ms", 0) == 0:
            break  # it may have been a trial
        assert answer.status == 503 and count == seen
        refused.append(answer)
    assert len(refused) > 3
    assert {answer.headers.get("retry-after") for answer in refused} <= {"1", "2", "3", "4"}
    waiting.until(lambda: any(line["reason"] == "breaker_open" for line in proxy.access_log()), "a line of it")
    waiting.until(lambda: proxy.get().status == 200 and state(proxy)["state"] == "closed", "it to close")
    assert set(statuses(proxy, 20)) == {200}
    metrics = proxy.status()["metrics"]
    assert metrics["breaker_opened"] == metrics["breaker_closed"] == 1 and metrics["breaker_trials"] == 2
    assert metrics["breaker_refused"] >= len(refused) and metrics["ended_breaker_open"] == metrics["breaker_refused"]
    assert proxy.output().count("the breaker of an upstream opens") == 1 and proxy.output().count("the breaker of an upstream closes") == 1
    assert "was open: " in proxy.command("status").stdout


def test_a_trial_that_fails_opens_it_for_longer(ladle, origin):
    """While the server goes on failing it sees trials alone, two for each opening at most, and each opening is longer than the last."""
    server = Server()
    proxy = group(ladle, [origin(server).text], breaker={"for": "1s", "longest": "3s"})
    open_it(proxy, server)
    seen = server.count
    openings = [1]

    def goes_on():
        assert proxy.get().status == 503
        shown = state(proxy)
        openings.append(max(openings[-1], shown["openings_in_row"]))
        if shown["state"] == "open":
            assert shown["tries_in_ms"] <= min(1000 * 2 ** (shown["openings_in_row"] - 1), 3000)
        return openings[-1] == 4
    waiting.until(goes_on, "it to open four times", 40)
    assert "a trial failed: bad status" in state(proxy)["why"]
    metrics = proxy.status()["metrics"]
    assert server.count - seen <= 2 * 3 + 1 and server.count - seen == metrics["breaker_trials"]
    assert metrics["breaker_opened"] == 4 and metrics["breaker_closed"] == 0


def test_half_open_it_sends_no_more_than_its_trials_however_many_ask(ladle, origin):
    """Twenty clients ask at once as it is half open: two requests reach the server, all others get 503; both end well and it closes."""
    server = Server()
    proxy = group(ladle, [origin(server).text])
    open_it(proxy, server)
    server.is_well, server.hold = True, threading.Event()
    waiting.until(lambda: "tries_in_ms" not in state(proxy) or state(proxy)["tries_in_ms"] == 0, "its time to come")
    seen = server.count
    got = []
    threads = [threading.Thread(target=lambda: got.append(proxy.get().status)) for _ in range(20)]
    for thread in threads:
        thread.start()
    waiting.until(lambda: len(got) == 18, "all others to be refused")
    assert set(got) == {503} and server.count - seen == 2 and state(proxy)["state"] == "half_open"
    assert "half open" in proxy.command("status").stdout
    server.hold.set()
    for thread in threads:
        thread.join()
    assert sorted(got) == [200] * 2 + [503] * 18
    assert state(proxy)["state"] == "closed"


def test_workers_that_are_killed_with_trials_do_not_keep_it_half_open(ladle, origin):
    """Both trials hang and their workers are killed: others try in their place at once, and it closes."""
    server = Server()
    proxy = group(ladle, [origin(server).text], breaker={"for": "3s"})
    open_it(proxy, server)
    server.is_well, server.hold = True, threading.Event()

    def ask():
        try:
            proxy.get()
        except (OSError, Closed):
            pass  # its worker was killed
    threads = []

    def both_hang():
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
        return server.held >= 2
    waiting.until(both_hang, "both trials to hang", every=0.05)
    assert state(proxy)["state"] == "half_open" and proxy.get().status == 503
    proxy.configure({"upstream": {"app": {"breaker": {"for": "30s"}}}})
    assert proxy.reload().returncode == 0  # from here on time alone frees no trial
    killed = proxy.wait_workers(3).values()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    server.hold.set()
    server.hold = None
    proxy.wait_workers(3, without=killed)

    def is_closed():
        try:
            proxy.get()
        except (OSError, Closed):
            return False
        return state(proxy)["state"] == "closed"
    waiting.until(is_closed, "it to close", 20)
    for thread in threads:
        thread.join()
    assert set(statuses(proxy, 10)) == {200}


def test_it_outlives_a_reload_an_upgrade_and_a_crash(ladle, origin):
    """What is open stays open over all of them."""
    server = Server()
    proxy = group(ladle, [origin(server).text], breaker={"for": "1m"})
    open_it(proxy, server)
    seen = server.count
    assert proxy.reload().returncode == 0
    killed = proxy.wait_workers(3)[0]
    os.kill(killed, signal.SIGKILL)
    proxy.wait_workers(3, without=killed)
    assert proxy.command("upgrade").returncode == 0
    assert state(proxy)["state"] == "open"
    assert set(statuses(proxy, 10)) == {503} and server.count == seen
    proxy.configure({"upstream": {"app": {"breaker": None}}})
    assert proxy.reload().returncode == 0
    server.is_well = True
    assert set(statuses(proxy, 10)) == {200} and proxy.status()["breakers"] == []


def test_requests_that_wait_for_a_server_are_refused_when_it_opens(ladle, origin):
    """The server fails what it has in work while others wait in the queue: those are not sent to it any more."""
    server = Server()
    server.is_well, server.hold = False, threading.Event()
    proxy = group(ladle, [origin(server).text], breaker={"requests": 2, "for": "1m"}, max_conn=2, queue={"size": 100, "timeout": "20s"})
    got = []
    threads = [threading.Thread(target=lambda: got.append(proxy.get())) for _ in range(12)]
    for thread in threads:
        thread.start()
    waiting.until(lambda: proxy.status()["metrics"]["server_queue"] == 10, "ten to wait")
    server.hold.set()
    for thread in threads:
        thread.join()
    # The first of the two may make room for one more before the second one opens it.
    assert server.count <= 4 and proxy.status()["metrics"]["breaker_refused"] >= 8
    assert {answer.status for answer in got} == {503} and state(proxy)["state"] == "open"


def test_timeouts_and_refused_connections_open_it(ladle, origin):
    """No answer in time, and no connection, are failures too."""
    hangs = origin(lambda request, connection: time.sleep(20))
    proxy = group(ladle, [hangs.text], breaker={"requests": 3, "for": "1m"}, timeouts={"response": "300ms"})
    assert statuses(proxy, 4) == [504, 504, 504, 503] and "the last one: timeout" in state(proxy)["why"]
    dead = f"127.0.0.1:{waiting.free_port()}"
    proxy = group(ladle, [dead], breaker={"requests": 3, "for": "1m"})
    assert statuses(proxy, 4) == [502, 502, 502, 503] and "the last one: connect" in state(proxy)["why"]


def test_what_a_retry_saves_is_no_failure(ladle, origin):
    """With one of two servers failing and the other one answering in its place, no request has failed."""
    bad, good = Server(), Server()
    bad.is_well = False
    proxy = group(ladle, [origin(bad).text, origin(good).text], balance="round_robin", retry={"attempts": 2, "budget": "100%"})
    assert set(statuses(proxy, 40)) == {200} and bad.count >= 15
    assert state(proxy)["state"] == "closed" and "why" not in state(proxy)


def test_clients_that_leave_and_errors_of_ours_do_not_count(ladle, origin):
    """500 is an answer, and a client that leaves says nothing of the server."""
    go = threading.Event()

    def answer(request):
        if request.target == "/hold":
            go.wait(60)
        return reply(status=500)
    server = origin(answer)
    proxy = group(ladle, [server.text], breaker={"requests": 3})
    assert statuses(proxy, 10) == [500] * 10
    for number in range(5):
        with proxy.client() as client:
            client.send(b"GET /hold HTTP/1.1\r\nHost: site.test\r\n\r\n")
            server.wait_requests(11 + number)
            client.reset()
    proxy.access_log(15)
    go.set()
    assert state(proxy)["state"] == "closed" and statuses(proxy, 3) == [500] * 3


def test_stale_responses_are_served_while_it_is_open(ladle, origin):
    """As for any failure of a server: what is stored and may be stale is served in its place, and what is not stored is 503."""
    server = Server()
    server_origin = origin(lambda request, connection: connection.send(reply(b"page", headers=[("Cache-Control", "max-age=1, stale-if-error=600")]))
                           if request.target == "/page" else server(request, connection))
    proxy = group(ladle, [server_origin.text], breaker={"for": "1m"}, route={"cache": True})
    assert proxy.get("/page").body == b"page"
    open_it(proxy, server)
    seen = len(server_origin.requests)
    waiting.until(lambda: proxy.get("/page").body == b"page" and proxy.status()["metrics"]["cache_stale_on_error"] >= 1, "it to be stale")
    assert proxy.get("/other").status == 503 and len(server_origin.requests) == seen


def test_a_body_is_not_waited_for_when_nobody_would_get_it(ladle, origin):
    """While it is open an upload is refused before its body has come."""
    server = Server()
    proxy = group(ladle, [origin(server).text], breaker={"for": "1m"})
    open_it(proxy, server)
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 1000000\r\n\r\nbegin")
        assert client.response("POST").status == 503


@pytest.mark.parametrize("written,said", [('{ rate = "0%" }', "must be from 1%"), ('{ trials = 17 }', "must be from 1 to 16"), ('{ for = 10 }', 'write "10s"'),
                                          ('{ for = "1m", longest = "30s" }', "longest is 30s"), ('"often"', "true or false")])
def test_bad_values_are_told_of_with_their_place(ladle, written, said):
    """`ladle check` names file, line and column of a bad value of breaker."""
    proxy = ladle(None, start=False)
    proxy.write(f'[upstream.app]\nservers = ["127.0.0.1:1"]\nbreaker = {written}\n[site."*"]\nupstream = "app"\n')
    checked = proxy.command("check")
    assert checked.returncode == 1 and f"{proxy.config}:3:" in checked.stderr and said in checked.stderr


def test_an_order_closes_it(ladle, origin):
    """`ladle upstream app breaker close` lets requests through at once, in all workers; `explain` shows the state before and after."""
    server = Server()
    proxy = group(ladle, [origin(server).text], breaker={"for": "1h", "longest": "1h"})

    def explained():
        return proxy.command("explain", "GET", f"http://site.test:{proxy.port}/").stdout
    open_it(proxy, server)
    assert "open, nothing is sent for" in explained()
    server.is_well = True
    assert statuses(proxy, 3) == [503] * 3
    ordered = proxy.command("upstream", "app", "breaker", "close")
    assert ordered.returncode == 0 and "breaker of upstream app: closed" in ordered.stdout
    assert statuses(proxy, 9) == [200] * 9
    assert state(proxy)["state"] == "closed" and "closed" in explained()
    assert "closed already" in proxy.command("upstream", "app", "breaker", "close").stdout


@pytest.mark.parametrize("words,code,said", [(("app", "breaker", "open"), 2, "told to close"), (("other", "breaker", "close"), 1, "no upstream"),
                                             (("app", "breaker", "close"), 1, "has no breaker"), (("app", "server", "x"), 2, "drain, down")])
def test_what_cannot_be_ordered_is_told(ladle, origin, words, code, said):
    """An order for a breaker that is not there, or of another kind, is refused with the reason."""
    proxy = ladle(settings={"site": {"*": {"upstream": "app"}}, "upstream": {"app": {"servers": [origin().text]}}})
    ordered = proxy.command("upstream", *words)
    assert ordered.returncode == code and said in ordered.stdout + ordered.stderr
