# SPDX-License-Identifier: Apache-2.0
"""How streams and connections to HTTP/2 servers end: GOAWAY, refusals, resets, death, idleness, drain; what is sent again and what is not."""

import signal
import threading
import time

import pytest

from tests.e2e.http2_servers.conftest import metric
from tests.harness import waiting
from tests.harness.h2_client import CANCEL, H2Client, INTERNAL_ERROR, NO_ERROR, PING, REFUSED_STREAM


def warm(proxy):
    """The connection has carried a request."""
    assert proxy.get("/warm").status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_goaway_leaves_out_is_sent_again(h2_origin, before, method):
    """A request above the last stream that GOAWAY names goes over another connection, whatever its method; one below is finished."""
    held = []
    def on_end(stream):
        if len(origin.connections) > 1 or stream.get(":path") == "/warm":
            stream.reply(bytes(stream.body) or b"again")
        else:
            held.append(stream)
            if len(held) == 2:
                stream.connection.say_goaway(held[0].number)
                waiting.until(lambda: len(origin.connections) == 2, "another connection")
                held[0].reply(b"first")
    origin = h2_origin(on_end)
    proxy = before(origin)
    warm(proxy)
    with H2Client(proxy.address) as client:
        body = b"body" if method == "POST" else None
        first = client.start(method, "/1", body=body)
        waiting.until(lambda: held, "the first request")
        second = client.start(method, "/2", body=body)
        assert bytes(client.response(second).body) == (body or b"again")
        assert bytes(client.response(first).body) == b"first"
    assert metric(proxy, "server_h2_refused") == 1 and metric(proxy, "server_retries") == 1
    waiting.until(lambda: origin.connections[0].ended, "the left connection to be closed")


@pytest.mark.parametrize("size, status", [(1000, 200), (40000, 502)])
def test_the_beginning_of_a_streamed_body_can_be_sent_again(h2_origin, before, size, status):
    """A request whose body is passed on as it comes, as of a gRPC call: refused after some of it was sent, it is sent again while it is short."""
    def on_head(stream):
        if len(origin.requests) == 1:
            threading.Thread(target=lambda: (waiting.until(lambda: len(stream.body) == size, "the part"), stream.reset(REFUSED_STREAM)), daemon=True).start()
    origin = h2_origin(lambda stream: stream.reply(b"%d" % len(stream.body)), on_head=on_head)
    proxy = before(origin, route={"buffer": {"request": "stream"}})
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/", end=False)
        client.send_body(stream, b"x" * size, end=False)
        if status == 200:
            waiting.until(lambda: len(origin.requests) == 2 and len(origin.last.body) == size, "the second attempt")
            client.send_part(stream, b"end", end=True)
        answer = client.response(stream)
        assert answer.status == status and (status == 502 or bytes(answer.body) == b"%d" % (size + 3))


def test_goaway_before_it_closes_makes_the_next_request_use_another_connection(h2_origin, before):
    """The two steps of a server that shuts down: nothing is lost."""
    origin = h2_origin()
    proxy = before(origin)
    warm(proxy)
    origin.connections[0].say_goaway(2**31 - 1)
    waiting.until(lambda: origin.connections[0].ended, "the connection to be left")
    assert proxy.get("/", "POST", body=b"x").status == 200
    assert len(origin.connections) == 2 and metric(proxy, "server_retries") == 0


def test_a_refused_stream_goes_to_another_server(h2_origin, before):
    """REFUSED_STREAM: the server has done nothing, so a POST may go to another one."""
    full, free = h2_origin(lambda stream: stream.reset(REFUSED_STREAM)), h2_origin()
    proxy = before(full, free, balance="round_robin")
    for _ in range(4):
        assert proxy.get("/", "POST", body=b"x").status == 200
    assert full.requests and len(free.requests) == 4


@pytest.mark.parametrize("attempts, most", [(1, 2), (3, 2)])
def test_a_stream_that_is_reset_is_sent_again_once(h2_origin, before, attempts, most):
    """A server that resets a request on a connection in use gets it once more, as with HTTP/1, and not as often as there are attempts."""
    origin = h2_origin(lambda stream: stream.reply() if stream.get(":path") == "/warm" else stream.reset(INTERNAL_ERROR))
    proxy = before(origin, retry={"attempts": attempts})
    warm(proxy)
    assert proxy.get("/").status == 502
    assert sum(stream.get(":path") == "/" for stream in origin.requests) <= most


def test_a_server_that_refuses_everything_is_asked_a_few_times(h2_origin, before):
    """The end is a 502 that says so, after four attempts at the most."""
    origin = h2_origin(lambda stream: stream.reset(REFUSED_STREAM))
    proxy = before(origin)
    assert proxy.get("/", "POST", body=b"x").status == 502
    assert 1 < len(origin.requests) <= 4 and proxy.access_log(1)[-1]["reason"] == "server_refused"
    for _ in range(20):
        assert proxy.get("/", "POST", body=b"x").status == 502
    assert len(origin.connections) <= 5, "it is left alone for a while"
    waiting.until(lambda: all(connection.ended for connection in origin.connections), "nothing of it to be kept")


def test_a_server_that_refuses_what_is_too_much_for_it(h2_origin, before):
    """It takes one request at a time and does not announce that: another connection is made for the next, as often as it is needed."""
    go = threading.Event()
    def on_end(stream):
        if len(stream.connection.streams) > 1:
            stream.reset(REFUSED_STREAM)
        else:
            threading.Thread(target=lambda: go.wait(60) and stream.reply(), daemon=True).start()
    origin = h2_origin(on_end)
    proxy = before(origin)
    with H2Client(proxy.address) as client:
        streams = [client.start() for _ in range(3)]
        waiting.until(lambda: len(origin.connections) >= 3, "a connection for each")
        go.set()
        assert {client.response(stream).status for stream in streams} == {200}


def test_a_connection_on_which_nothing_is_heard_is_left(h2_origin, before):
    """The server has gone mute behind it: a request that gets no answer in time is the last one there."""
    origin = h2_origin(lambda stream: stream.connection is origin.connections[0] and stream.get(":path") != "/warm" or stream.reply())
    proxy = before(origin)
    warm(proxy)
    assert proxy.get("/").status == 504
    assert proxy.get("/").status == 200
    assert len(origin.connections) == 2


def test_a_connection_of_which_others_hear_is_kept(h2_origin, before):
    """One request is not answered in time, others on the same connection are."""
    origin = h2_origin(lambda stream: stream.get(":path") == "/slow" or stream.reply())
    proxy = before(origin)
    with H2Client(proxy.address) as client:
        slow = client.start(path="/slow")
        assert client.get().status == 200
        assert client.response(slow).status == 504
        assert client.get().status == 200
    assert len(origin.connections) == 1


@pytest.mark.parametrize("method, requests", [("POST", 1), ("GET", 2)])
def test_a_connection_that_dies_silently(h2_origin, before, method, requests):
    """On a connection that has carried a request, without a byte of an answer: sent again if it is idempotent, like in HTTP/1."""
    def on_end(stream):
        if stream.get(":path") == "/warm" or len(origin.connections) > 1:
            stream.reply()
        else:
            stream.connection.close()
    origin = h2_origin(on_end)
    proxy = before(origin)
    warm(proxy)
    answer = proxy.get("/", method, body=b"x" if method == "POST" else None)
    assert answer.status == (502 if method == "POST" else 200)
    assert len(origin.requests) == 1 + requests
    assert proxy.access_log(2)[-1]["reason"] == ("server_reset" if method == "POST" else "ok")


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("length", [[], [("content-length", "10")]])
def test_a_response_that_is_cut_is_never_whole(h2_origin, before, how, length):
    """RST_STREAM or the connection's end in the middle of a body: the client sees a cut answer in both protocols."""
    def on_end(stream):
        stream.head(200, length).data(b"part")
        time.sleep(0.2)
        stream.reset(INTERNAL_ERROR) if how == "reset" else stream.connection.close()
    proxy = before(h2_origin(on_end))
    with H2Client(proxy.address) as client:
        answer = client.get()
        assert answer.status == 200 and bytes(answer.body) == b"part" and answer.reset == INTERNAL_ERROR and not answer.ended
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        received, _ = client.drain()
        assert b"part" in received and not received.endswith(b"0\r\n\r\n")
    assert proxy.access_log(2)[-1]["reason"] == "server_cut"
    assert metric(proxy, "server_h2_resets") == (2 if how == "reset" else 0)


def test_a_response_that_is_complete_before_its_request(h2_origin, before):
    """RST_STREAM (NO_ERROR) behind a whole response: the rest of the request is not wanted (RFC 9113 §8.1)."""
    def on_head(stream):
        stream.reply(b"enough")
        stream.reset(NO_ERROR)
    origin = h2_origin(on_head=on_head, windows=False)
    proxy = before(origin, route={"buffer": {"request": "stream"}})
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/", end=False)
        assert bytes(client.response(stream).body) == b"enough"
    with proxy.client() as client:
        client.try_send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1000)
        assert client.response().body == b"enough"


def test_the_request_goes_on_while_it_is_answered(h2_origin, before):
    """An echo of each part before the next one is sent, for HTTP/1 and HTTP/2 clients alike."""
    def on_head(stream):
        stream.head(200)
        def echo():
            seen = 0
            while not stream.ended or seen < len(stream.body):
                if len(stream.body) > seen:
                    part = bytes(stream.body[seen:])
                    seen += len(part)
                    stream.data(part)
                time.sleep(0.005)
            stream.data(b"", end=True)
        threading.Thread(target=echo, daemon=True).start()
    proxy = before(h2_origin(on_head=on_head, on_end=lambda stream: None), route={"buffer": {"request": "stream"}})
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/", end=False)
        for number in range(20):
            client.send_part(stream, b"%02d" % number)
            client.until(lambda: len(client.streams[stream].body) >= 2 * (number + 1))
        client.send_part(stream, b"", end=True)
        assert bytes(client.response(stream).body) == b"".join(b"%02d" % number for number in range(20))
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 6\r\n\r\none")
        head = client.reader.response_head()
        assert head.status == 200
        client.send(b"two")
        received, _ = client.drain()
        assert received.endswith(b"two\r\n0\r\n\r\n")


def test_an_idle_connection_says_goodbye(h2_origin, before):
    """After keepalive.timeout: GOAWAY without an error, and the end."""
    origin = h2_origin()
    proxy = before(origin, keepalive={"timeout": "500ms"})
    warm(proxy)
    waiting.until(lambda: origin.connections[0].ended, "the end")
    assert origin.connections[0].goaway == NO_ERROR
    waiting.until(lambda: metric(proxy, "server_connections_open") == 0 and metric(proxy, "server_connections_idle") == 0, "the gauges")


def test_a_drain_finishes_what_is_under_way(h2_origin, before):
    """SIGTERM during a request: it is answered, and the connection is left with GOAWAY."""
    held = []
    origin = h2_origin(lambda stream: held.append(stream) if stream.get(":path") == "/held" else stream.reply())
    proxy = before(origin)
    with proxy.client() as client:
        client.send(b"GET /held HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: held, "the request")
        proxy.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        held[0].reply(b"late")
        assert client.response().body == b"late"
    waiting.until(lambda: origin.connections[0].ended, "the end")
    assert origin.connections[0].goaway == NO_ERROR


def test_a_reload_to_http_1_leaves_the_connection(h2_origin, before, origin):
    """The protocol is a part of what a server is: after a reload its connections are not used on."""
    server = h2_origin()
    proxy = before(server)
    warm(proxy)
    proxy.configure({"upstream": {"app": {"protocol": "h1", "servers": [origin().text]}}})
    assert proxy.reload().returncode == 0
    assert proxy.get().status == 200 and len(server.requests) == 1


def test_a_dead_server_is_noticed_by_a_ping(h2_origin, before):
    """A connection on which nothing comes is asked with a PING, and given up when that is not answered: all its requests end."""
    origin = h2_origin(on_head=lambda stream: None, answers_pings=False)
    proxy = before(origin, settings={"timeouts": {"response": "60s", "stall": "60s"}})
    with H2Client(proxy.address, timeout=40) as client:
        streams = [client.start("POST", "/", body=b"x") for _ in range(3)]
        assert [client.response(stream).status for stream in streams] == [502] * 3
    assert origin.connections[0].pings == 1 and metric(proxy, "server_h2_cut") == 1


def test_an_answered_ping_keeps_a_silent_connection(h2_origin, before):
    """A server that is only slow is asked once, and then left alone."""
    def on_end(stream):
        threading.Timer(12, stream.reply).start()
    origin = h2_origin(on_end)
    proxy = before(origin, settings={"timeouts": {"response": "60s", "stall": "60s"}})
    with proxy.client(timeout=30) as client:
        assert client.request("POST", "/", body=b"x").status == 200
    assert origin.connections[0].pings == 1


def test_timeouts_reset_the_stream_and_not_the_connection(h2_origin, before):
    """timeouts.response: 504, RST_STREAM (CANCEL), and the connection, on which the server was heard, goes on."""
    ping = H2Client.frame(PING, 0, 0, b"12345678")
    origin = h2_origin(lambda stream: stream.connection.send(ping) if stream.get(":path") == "/slow" else stream.reply())
    proxy = before(origin, settings={"timeouts": {"response": "2s"}})
    warm(proxy)
    assert proxy.get("/slow").status == 504
    waiting.until(lambda: origin.last.code == CANCEL, "the reset")
    warm(proxy)
    assert len(origin.connections) == 1
