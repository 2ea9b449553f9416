# SPDX-License-Identifier: Apache-2.0
"""Attacks on HTTP/2, one connection each: the connection is told to go and then closed, counted, and other clients notice nothing."""

import struct
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.h2_client import (CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, H2Client, INITIAL_WINDOW_SIZE, PING, PRIORITY,
                                     REFUSED_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE)
from tests.harness.ladle import IS_SANITIZED, cpu_seconds, memory_kib
from tests.harness.origin import reply


@pytest.fixture
def slow(ladle, origin):
    """A proxy before a server that answers /slow when it is let."""
    server = origin(lambda request: (server.go.wait(60) if request.target.startswith("/slow") else True) and reply())
    server.go = threading.Event()
    yield ladle(server), server
    server.go.set()


def metric(proxy, name):
    return proxy.status()["metrics"][name]


def reset_at_once(client):
    stream, frame = client.request_frames(path="/slow")
    return frame + client.frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def made_you_reset(client):
    """A request, then a frame that forces the server to reset it: a window that overflows."""
    stream, frame = client.request_frames(path="/slow")
    return frame + client.frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**31 - 1))


FLOODS = {
    "rapid reset": reset_at_once,
    "MadeYouReset": made_you_reset,
    "PING": lambda client: client.frame(PING, 0, 0, b"12345678"),
    "SETTINGS": lambda client: client.frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)),
    "PRIORITY": lambda client: client.frame(PRIORITY, 0, client.next_stream + 2, struct.pack(">IB", 0, 1)),
    "malformed requests": lambda client: client.request_frames(headers=[("connection", "x")])[1],
    "requests without a meaning": lambda client: client.request_frames(headers=[("host", "other.test")])[1],
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_its_connection(slow, flood):
    """The connection ends after a few thousand frames at most; requests really in work stay within the limit; another client is served."""
    proxy, _ = slow
    with H2Client(proxy.address, acks=False) as other, H2Client(proxy.address) as client:
        make = FLOODS[flood]
        assert other.get().status == 200
        ended = False
        for _ in range(200):
            if not client.try_send(*[make(client) for _ in range(50)]):
                ended = True
                break
        assert metric(proxy, "requests_in_flight") <= 100
        client.sock.settimeout(waiting.PATIENCE)
        try:
            client.to_end()
            ended = True
        except TimeoutError:
            pass
        assert ended and other.get().status == 200
    waiting.until(lambda: metric(proxy, "h2_cut") == 1, "the connection to be counted")
    assert metric(proxy, "h2_glitches") > 0 or flood == "PING"


def test_empty_data(slow):
    """DATA frames that bring nothing end the connection."""
    proxy, _ = slow
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/slow", end=False)
        for _ in range(100):
            if not client.try_send(*[client.frame(DATA, 0, stream)] * 50):
                break
        client.to_end()
        assert client.goaways[-1][1] == ENHANCE_YOUR_CALM
    assert metric(proxy, "h2_cut") == 1


def test_continuations_without_an_end(slow):
    """A header block that goes on for ever ends the connection."""
    proxy, _ = slow
    with H2Client(proxy.address) as client:
        client.send(client.frame(HEADERS, END_STREAM, 1, client.encoder.encode([(":method", "GET")])))
        for number in range(1000):
            if not client.try_send(client.frame(CONTINUATION, 0, 1, client.encoder.encode([(f"x{number}", "y")]))):
                break
        client.to_end()
    assert metric(proxy, "h2_cut") == 1


def test_a_header_bomb_ends_its_connection(slow):
    """A table entry of 4 KB, named thousands of times in one block: it is not read to its end."""
    proxy, _ = slow
    with H2Client(proxy.address) as client:
        client.get(headers=[("bomb", "x" * 3900)])
        entry = client.encoder.encode([("bomb", "x" * 3900)])
        client.send(client.frame(HEADERS, END_HEADERS | END_STREAM, client.stream_number(), entry * 10000))
        client.to_end()
        assert client.goaways[-1][1] == ENHANCE_YOUR_CALM
    assert metric(proxy, "h2_cut") == 1 and 100 <= metric(proxy, "h2_glitches") <= 1000


def test_a_small_header_bomb_costs_no_memory(slow):
    """The same, named so often only that its client may be honest: 431, and nothing of it is kept."""
    proxy, _ = slow
    worker = proxy.workers()[0]
    with H2Client(proxy.address) as client:
        client.get(headers=[("bomb", "x" * 3900)])
        before = memory_kib(worker)
        for _ in range(3):
            stream, _ = client.request_frames()
            block = client.encoder.encode([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/"), ("bomb", "x" * 3900)])
            entry = client.encoder.encode([("bomb", "x" * 3900)])
            assert len(entry) < 5
            client.send(client.frame(HEADERS, END_HEADERS | END_STREAM, stream, block + entry * 12))
            assert client.response(stream).status == 431
        assert IS_SANITIZED or memory_kib(worker) < before + 4096


def test_more_requests_than_may_be_in_work(slow):
    """Streams beyond the limit are refused, and may be tried again; those in work are answered."""
    proxy, server = slow
    with H2Client(proxy.address) as client:
        client.ping()
        streams = [client.start(path="/slow") for _ in range(100)]
        client.ping()
        # A stream that its client has reset is in work until its exchange is over.
        client.reset(streams.pop())
        server.go.set()
        assert {client.response(stream).status for stream in streams} == {200}


def test_a_limit_of_streams_before_settings_are_known(ladle, origin):
    """A client that asks for more at once than the limit, before it has seen the limit: the rest is refused."""
    go = threading.Event()
    proxy = ladle(origin(lambda request: go.wait(60) and reply()), {"defence": {"http2": {"streams": 10}}})
    with H2Client(proxy.address, acks=False) as client:
        streams = [client.start() for _ in range(15)]
        client.until(lambda: sum(client.streams[stream].reset == REFUSED_STREAM for stream in streams) == 5)
        refused = [stream for stream in streams if client.streams[stream].reset is not None]
        waiting.until(lambda: metric(proxy, "requests_in_flight") == 10, "those within the limit to be in work, soon after what was odd")
        assert metric(proxy, "h2_refused_streams") == 5
        go.set()
        assert {client.response(stream).status for stream in streams if stream not in refused} == {200}


def test_three_quarters_of_the_budget_say_go(slow):
    """GOAWAY comes before the connection is closed: what is under way is still answered."""
    proxy, server = slow
    with H2Client(proxy.address) as client:
        stream = client.start(path="/slow")
        client.send(*[client.frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535))] * 80)
        client.until(lambda: client.goaways)
        assert client.goaways[0] == (2**31 - 1, 0)
        server.go.set()
        assert client.response(stream).status == 200
    assert metric(proxy, "h2_strained") == 1 and metric(proxy, "h2_cut") == 0


def test_an_honest_client_keeps_its_budget(ladle, origin):
    """Twenty cancelled requests a second, a ping each: forgiven as they come."""
    proxy = ladle(origin(lambda request: reply(b"x" * 100000)))
    with H2Client(proxy.address) as client:
        for _ in range(60):
            stream = client.start()
            client.until(lambda: client.streams[stream].status)
            client.reset(stream)
            client.ping()
        assert client.get().status == 200 and not client.goaways
    assert metric(proxy, "h2_strained") == 0 and metric(proxy, "h2_connections") == 1


def test_a_client_that_measures_its_way(ladle, origin):
    """As gRPC's: a PING and a WINDOW_UPDATE of the connection for each message of a long response, hundreds a second."""
    def feed(connection):
        connection.reader.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3000):
            connection.send(b"5\r\n01234\r\n")
            time.sleep(0.001)
        connection.send(b"0\r\n\r\n")
    proxy = ladle(origin(script=feed))
    with H2Client(proxy.address) as client:
        stream = client.start()
        is_measuring, pings, answers = False, 0, client.streams[stream]
        while not answers.ended:
            had, seen = len(answers.frames), len(client.pings)
            assert client.read_frame() is not None, f"after {pings} PINGs, {client.goaways}"
            is_measuring = is_measuring and len(client.pings) == seen
            if len(answers.frames) > had and not is_measuring:
                client.send(client.frame(PING, 0, 0, b"measured"))
                is_measuring, pings = True, pings + 1
        assert len(answers.body) == 15000 and pings > 1200, "or it would have been within the budget anyway"
    assert metric(proxy, "h2_strained") == 0


def test_requests_behind_what_is_odd_begin(slow):
    """A client that never stops doing something odd, within its budget, and has long requests in work: another one begins soon."""
    proxy, server = slow
    with H2Client(proxy.address) as client:
        for _ in range(400):
            client.ping()
        streams = [client.start(path="/slow") for _ in range(20)]
        quick = client.start()
        end = time.monotonic() + waiting.DEADLINE
        client.sock.settimeout(0.02)
        while client.streams[quick].status is None and time.monotonic() < end:
            client.send(client.frame(PING, 0, 0, b"12345678"))
            time.sleep(0.01)
            try:
                client.read_frame()
            except TimeoutError:
                pass
        assert client.streams[quick].status == 200
        server.go.set()
        client.sock.settimeout(waiting.PATIENCE)
        assert {client.response(stream).status for stream in streams} == {200}


def test_windows_opened_byte_by_byte(ladle, origin):
    """A client that takes a byte now and then is not progress: its stream is reset for being slower than min_rate."""
    proxy = ladle(origin(lambda request: reply(b"x" * 100000)), {"timeouts": {"stall": "30s"}, "defence": {"http2": {"min_rate": 500, "grace": "1s"}}})
    with H2Client(proxy.address, settings=[(INITIAL_WINDOW_SIZE, 1)], windows=False) as client:
        stream = client.start()
        client.until(lambda: client.streams[stream].status)
        client.sock.settimeout(0.05)
        end = time.monotonic() + waiting.DEADLINE
        while client.streams[stream].reset is None and time.monotonic() < end:
            client.open_window(stream, 1)
            time.sleep(0.02)
            try:
                client.read_frame()
            except TimeoutError:
                pass
        assert client.streams[stream].reset == ENHANCE_YOUR_CALM
        assert len(client.streams[stream].body) < 500, "or the window of the connection was what ended"
    assert metric(proxy, "h2_slow") == 1


def test_tiny_windows_hold_few_requests(ladle, origin):
    """Ninety responses that nobody is ready to take more than a byte of: two of them are in work, the others begin as those end."""
    proxy = ladle(origin(lambda request: reply(b"x" * 100000)), {"defence": {"http2": {"min_rate": 500, "grace": "1s"}}})
    with H2Client(proxy.address, settings=[(INITIAL_WINDOW_SIZE, 1)], windows=False) as client:
        streams = [client.start() for _ in range(90)]
        client.until(lambda: sum(client.streams[stream].status is not None for stream in streams) == 2)
        time.sleep(0.3)
        assert metric(proxy, "requests_in_flight") == 2
        client.until(lambda: sum(client.streams[stream].reset is not None for stream in streams) >= 2)
        client.until(lambda: sum(client.streams[stream].status is not None for stream in streams) >= 4)


def test_a_client_that_reads_nothing_holds_little(ladle, origin):
    """A hundred large answers for a client that does not read: what waits stands within the budgets, and ends after stall."""
    proxy = ladle(origin(lambda request: reply(b"x" * 1000000)), {"timeouts": {"stall": "5s"}, "budget": {"spool_memory": "4MiB", "spool_disk": "0B"}})
    worker = proxy.workers()[0]
    with H2Client(proxy.address, settings=[(INITIAL_WINDOW_SIZE, 2**31 - 1)], receive_buffer=4096) as client:
        client.open_window(0, 2**30)
        client.send(*[client.request_frames()[1] for _ in range(90)])
        waiting.until(lambda: metric(proxy, "spool_memory_bytes") >= 4 << 20, "the budget to be used up")
        waiting.until(lambda: metric(proxy, "requests_in_flight") > 60, "the client to be trusted with as many requests")
        assert metric(proxy, "buffer_bytes") < 16 << 20 and (IS_SANITIZED or memory_kib(worker, "Private_Dirty") < 64 << 10)
        waiting.until(lambda: metric(proxy, "requests_in_flight") == 0, "the connection to be given up")
    waiting.until(lambda: metric(proxy, "buffer_bytes") < 1 << 20, "the buffers to be free")


def test_acknowledgements_that_nobody_reads(slow):
    """PING after PING from a client that reads no answer: the connection ends, its answers do not gather."""
    proxy, _ = slow
    with H2Client(proxy.address, receive_buffer=4096) as client:
        client.sock.settimeout(waiting.PATIENCE)
        frame = client.frame(PING, 0, 0, b"12345678")
        for _ in range(2000):
            if not client.try_send(*[frame] * 100):
                break
        waiting.until(lambda: metric(proxy, "connections_open") == 0, "the connection to be closed")
    assert metric(proxy, "buffer_bytes") < 1 << 20


def test_two_hundred_attackers_at_once(slow):
    """While two hundred connections reset as fast as they can, another client's requests are answered, and memory stays flat."""
    proxy, _ = slow
    stop = threading.Event()

    def attack():
        while not stop.is_set():
            try:
                with H2Client(proxy.address, timeout=2) as client:
                    while not stop.is_set() and client.try_send(*[reset_at_once(client) for _ in range(20)]):
                        time.sleep(0.05)
            except OSError:
                pass
    with H2Client(proxy.address) as other:
        assert other.get().status == 200
        before = memory_kib(proxy.workers()[0], "Private_Dirty")
        threads = [threading.Thread(target=attack) for _ in range(200)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                assert other.get().status == 200
                time.sleep(0.1)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert IS_SANITIZED or memory_kib(proxy.workers()[0], "Private_Dirty") < before + (64 << 10)


def test_who_is_new_has_few_requests_in_work_until_it_behaves(ladle, origin):
    """Eight at first; as many as the limit of streams allows once the client has done nothing odd for a tenth of a second. None is refused."""
    go = threading.Event()
    proxy = ladle(origin(lambda request: go.wait(60) and reply()))
    with H2Client(proxy.address, acks=False) as client:
        streams = [client.start() for _ in range(50)]
        waiting.until(lambda: metric(proxy, "requests_in_flight") == 50, "all to be in work")
        go.set()
        assert {client.response(stream).status for stream in streams} == {200}
    assert metric(proxy, "h2_refused_streams") == 0


def test_a_client_with_too_many_requests_costs_no_processor_time(ladle, origin):
    """Its unread frames wait for its answers, and the loop waits with them."""
    go = threading.Event()
    proxy = ladle(origin(lambda request: go.wait(60) and reply()), {"defence": {"http2": {"streams": 10, "glitches": 100000}}})
    worker = proxy.workers()[0]
    with H2Client(proxy.address, acks=False) as client:
        client.send(*[client.request_frames()[1] for _ in range(2000)])
        waiting.until(lambda: metric(proxy, "requests_in_flight") == 10, "those within the limit to be in work")
        before = cpu_seconds(worker)
        time.sleep(1)
        assert cpu_seconds(worker) - before < 0.5
        go.set()
