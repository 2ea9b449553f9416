# SPDX-License-Identifier: Apache-2.0
"""What the requests of many HTTP/2 connections may hold together: [budget] requests and requests_per_client."""

import contextlib
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.h2_client import H2Client, REFUSED_STREAM
from tests.harness.origin import reply

# A request in work counts for 32 KiB, and a little for its head.
ROOM_FOR_SEVEN = {"requests_per_client": "256KiB"}


@pytest.fixture
def slow(ladle, origin):
    """slow(settings) → (a proxy, its server), which answers /slow when `go` is set."""
    made = []

    def make(**settings):
        server = origin(lambda request: (server.go.wait(60) if request.target == "/slow" else True) and reply(b"x" * 10))
        server.go = threading.Event()
        made.append(server)
        return ladle(server, settings), server
    yield make
    for server in made:
        server.go.set()


def metric(proxy, name):
    return proxy.status()["metrics"][name]


def held_in_work(proxy, count):
    waiting.until(lambda: metric(proxy, "requests_in_flight") == count, f"{count} requests to be in work")
    time.sleep(0.3)  # what must not happen has no sign of its own
    assert metric(proxy, "requests_in_flight") == count


def test_more_than_the_budget_holds_wait(slow):
    """Twenty requests where seven have room: seven are in work, the others follow as those end, and all are answered."""
    proxy, server = slow(budget=ROOM_FOR_SEVEN)
    with H2Client(proxy.address) as client:
        streams = [client.start(path="/slow") for _ in range(20)]
        held_in_work(proxy, 7)
        assert metric(proxy, "h2_waits") == 13 and 7 * 32 << 10 <= metric(proxy, "h2_request_bytes") <= 288 << 10
        server.go.set()
        client.until(lambda: all(client.streams[stream].ended for stream in streams))
        assert {client.streams[stream].status for stream in streams} == {200}
    waiting.until(lambda: metric(proxy, "h2_request_bytes") == 0, "everything to be given back")
    assert metric(proxy, "h2_refused_streams") == 0


def test_who_waits_for_too_long_is_refused(slow):
    """After defence.http2.wait a request that has not begun gets REFUSED_STREAM: its client may send it again, or elsewhere."""
    proxy, server = slow(budget=ROOM_FOR_SEVEN, defence={"http2": {"wait": "300ms"}})
    with H2Client(proxy.address) as client:
        streams = [client.start(path="/slow") for _ in range(10)]
        client.until(lambda: sum(client.streams[stream].reset == REFUSED_STREAM for stream in streams) == 3)
        server.go.set()
        client.until(lambda: sum(client.streams[stream].status == 200 for stream in streams) == 7)
    assert metric(proxy, "h2_refused_streams") == 3 and len(server.requests) == 7


def test_heads_that_wait_are_few(slow):
    """Of the heads that wait for room a connection has 64 KiB: ten of 12 KB are refused but for the first few."""
    proxy, server = slow(budget=ROOM_FOR_SEVEN)
    with H2Client(proxy.address) as client:
        streams = [client.start(path="/slow") for _ in range(8)]
        large = [client.start(path="/slow", headers=[("x-large", "y" * 12000)]) for _ in range(10)]
        client.until(lambda: sum(client.streams[stream].reset == REFUSED_STREAM for stream in large) >= 5)
        server.go.set()
        client.until(lambda: all(client.streams[stream].status == 200 for stream in streams))


def test_each_connection_has_one_request_in_work(slow):
    """However much others of the same address hold: thirty connections with ten requests each, each has one answered, and nobody is cut off."""
    proxy, server = slow(budget=ROOM_FOR_SEVEN)
    with contextlib.ExitStack() as stack:
        greedy = stack.enter_context(H2Client(proxy.address))
        for _ in range(10):
            greedy.start(path="/slow")
        held_in_work(proxy, 7)
        others = [stack.enter_context(H2Client(proxy.address)) for _ in range(30)]
        for other in others:
            for _ in range(10):
                other.start(path="/slow")
        held_in_work(proxy, 37)
        server.go.set()
        for other in others:
            other.until(lambda other=other: all(stream.status == 200 for stream in other.streams.values()))


def test_others_are_not_concerned(slow):
    """A client of another address has as many requests in work as ever, and HTTP/1 knows nothing of it."""
    proxy, server = slow(budget=ROOM_FOR_SEVEN)
    with H2Client(proxy.address) as greedy, H2Client(proxy.address, source="127.0.0.2") as other:
        for _ in range(20):
            greedy.start(path="/slow")
        held_in_work(proxy, 7)
        assert proxy.get("/").status == 200
        streams = [other.start(path="/slow") for _ in range(7)]
        held_in_work(proxy, 14)
        server.go.set()
        other.until(lambda: all(other.streams[stream].status == 200 for stream in streams))


def test_a_trusted_proxy_brings_many_clients(slow):
    """The requests of a proxy in [trust] are not counted as one client's."""
    proxy, _ = slow(budget=ROOM_FOR_SEVEN, trust={"forwarded_from": ["127.0.0.1"]})
    with H2Client(proxy.address) as client:
        for _ in range(20):
            client.start(path="/slow")
        held_in_work(proxy, 20)
        assert metric(proxy, "h2_waits") == 0


def test_all_together_have_a_ceiling(slow):
    """Whoever the clients are: [budget] requests."""
    proxy, server = slow(budget={"requests": "1MiB"})
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(H2Client(proxy.address, source=f"127.0.0.{number}")) for number in range(2, 7)]
        for client in clients:
            for _ in range(20):
                client.start(path="/slow")
        waiting.until(lambda: metric(proxy, "h2_waits") >= 60, "those that have no room to wait")
        time.sleep(0.3)
        assert 24 <= metric(proxy, "requests_in_flight") <= 36
        server.go.set()
        for client in clients:
            client.until(lambda client=client: all(stream.status == 200 for stream in client.streams.values()))


def test_quiet_streams_count_for_less(ladle, origin):
    """Of event streams that are answered and wait for their next event four times as many have room."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"

    def answer(_, connection):
        connection.send(head)
        connection.is_ended_by_peer()
    proxy = ladle(origin(answer), {"budget": ROOM_FOR_SEVEN})
    with H2Client(proxy.address) as client:
        streams = [client.start() for _ in range(24)]
        client.until(lambda: all(client.streams[stream].status == 200 for stream in streams))
        waiting.until(lambda: metric(proxy, "h2_request_bytes") < 224 << 10, "them to be counted as quiet")
        assert metric(proxy, "requests_in_flight") == 24


def test_responses_that_nobody_takes_hold_up_their_client_alone(ladle, origin):
    """A client whose windows are closed has what its budget allows in work and gets no more; others are answered at once."""
    proxy = ladle(origin(lambda request: reply(b"x" * (1000000 if request.target == "/large" else 10))), {"budget": ROOM_FOR_SEVEN})
    with H2Client(proxy.address, windows=False) as client, H2Client(proxy.address) as other:
        for _ in range(20):
            client.start(path="/large")
        held_in_work(proxy, 7)
        assert other.get().status == 200
        client.windows = True
        client.open_window(0, 1 << 25)
        for stream in list(client.streams):
            client.open_window(stream, 1 << 21)
        client.until(lambda: all(len(stream.body) == 1000000 for stream in client.streams.values()))


def test_a_large_upload_is_given_a_wide_window(slow):
    """A body of 300 KB may come fast: what is promised for that counts, until the upload's exchange is over; the next one is given it again."""
    proxy, server = slow()
    with H2Client(proxy.address) as client:
        for _ in range(2):
            server.go.clear()
            stream = client.start("POST", "/slow", body=b"x" * 300000)
            waiting.until(lambda: metric(proxy, "h2_request_bytes") > 1 << 20, "the promise to be counted")
            server.go.set()
            client.until(lambda: client.streams[stream].ended)
            assert len(server.requests[-1].body) == 300000 and client.granted[stream] > 400000
            waiting.until(lambda: metric(proxy, "h2_request_bytes") < 1 << 16, "it to be given back")


def test_where_there_is_no_room_an_upload_goes_on_by_small_windows(slow):
    """Nothing is promised that the budget has not; the body comes whole all the same."""
    proxy, server = slow(budget=ROOM_FOR_SEVEN)
    with H2Client(proxy.address) as client:
        for _ in range(3):
            stream = client.start("POST", "/", body=b"x" * 300000)
            client.until(lambda: client.streams[stream].ended)
            assert len(server.requests[-1].body) == 300000 and client.granted[stream] <= 300000
