# SPDX-License-Identifier: Apache-2.0
"""Windows are tied to the spool: the client's windows hold back only its own stream, ours open as a body is taken."""

import struct
import threading
import time

from tests.harness import waiting
from tests.harness.h2_client import H2Client, INITIAL_WINDOW_SIZE
from tests.harness.origin import reply


def test_a_client_without_a_window_holds_no_server(ladle, origin):
    """The server is free although the client takes nothing: its answer waits in the spool, and comes when the window opens."""
    body = b"b" * 3000000
    server = origin(lambda request: reply(body))
    proxy = ladle(server, {"timeouts": {"stall": "10s"}})
    with H2Client(proxy.address, settings=[(INITIAL_WINDOW_SIZE, 0)], windows=False) as client:
        stream = client.start()
        client.until(lambda: client.streams[stream].status)
        waiting.until(lambda: proxy.status()["metrics"]["server_connections_idle"] == 1, "the server to be free")
        client.ping()
        assert not client.streams[stream].body
        client.open_window(0, 5000000)
        client.open_window(stream, 1000)
        client.until(lambda: len(client.streams[stream].body) == 1000)
        client.open_window(stream, 5000000)
        assert bytes(client.response(stream).body) == body


def test_a_stalled_stream_does_not_hold_up_others(ladle, origin):
    """Another stream is answered at once while the first one's window is shut."""
    proxy = ladle(origin(lambda request: reply(b"b" * 200000 if request.target == "/large" else b"small")))
    with H2Client(proxy.address, windows=False) as client:
        large = client.start(path="/large")
        client.open_window(0, 1000000)
        client.until(lambda: len(client.streams[large].body) == 65535)
        assert bytes(client.get(path="/small").body) == b"small"
        client.open_window(large, 200000)
        assert len(client.response(large).body) == 200000


def test_a_stream_whose_client_takes_nothing_ends_after_stall(ladle, origin):
    """timeouts.stall resets the stream alone; the reason is client_stalled."""
    proxy = ladle(origin(lambda request: reply(b"b" * 200000)), {"timeouts": {"stall": "1s"}})
    with H2Client(proxy.address, windows=False) as client:
        stream = client.start()
        client.until(lambda: client.streams[stream].reset is not None)
        client.ping()
    assert proxy.access_log(1)[0]["reason"] == "client_stalled"


def test_a_hit_waits_for_the_window(ladle, origin):
    """A stored body larger than the window goes on as the window opens, a few bytes at a time too."""
    body = bytes(range(250)) * 400
    proxy = ladle(origin(lambda request: reply(body, headers=[("Cache-Control", "max-age=60")])), {"site": {"*": {"cache": True}}})
    with H2Client(proxy.address) as client:
        client.get()
    with H2Client(proxy.address, settings=[(INITIAL_WINDOW_SIZE, 100)], windows=False) as client:
        stream = client.start()
        client.open_window(0, 1000000)
        for size in (100, 107, 1107, 21107, 100000):
            client.until(lambda: len(client.streams[stream].body) == min(size, len(body)))
            client.ping()
            client.open_window(stream, {100: 7, 107: 1000, 1107: 20000}.get(size, 100000))
        assert bytes(client.response(stream).body) == body


def test_our_window_opens_only_as_the_body_is_taken(ladle, origin):
    """While the spool has no room and the server takes nothing, a client gets no more than its first window; then all goes on."""
    def script(connection):
        server.go.wait(60)
        connection.origin.record(connection, connection.reader.request())
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.is_ended_by_peer()
    server = origin(script=script)
    server.go = threading.Event()
    proxy = ladle(server, {"budget": {"spool_memory": "1MiB", "spool_disk": "0B", "per_client": "64KiB"}, "timeouts": {"stall": "20s"}})
    size = 8 << 20
    with H2Client(proxy.address) as client:
        stream = client.start("POST", "/", headers=[("content-length", str(size))], end=False)
        client.ping()
        left = size

        def feed():
            nonlocal left
            while left > 0 and (room := min(client.room(stream), 16384, left)) > 0:
                left -= room
                client.send_part(stream, b"d" * room, end=left == 0)
        quiet = 0
        while quiet < 5:
            before = left
            feed()
            client.ping()
            quiet = quiet + 1 if left == before else 0
            time.sleep(0.1)
        assert left > 2 << 20  # what the kernel's buffers, the budget and the window take is less
        server.go.set()
        while left > 0:
            client.until(lambda: client.room(stream) > 0)
            feed()
        assert client.response(stream).status == 200
    assert len(server.requests[0].body) == size


def test_a_change_of_the_initial_window_is_followed(ladle, origin):
    """SETTINGS_INITIAL_WINDOW_SIZE counts for streams that are open too."""
    proxy = ladle(origin(lambda request: reply(b"b" * 50000)))
    with H2Client(proxy.address, settings=[(INITIAL_WINDOW_SIZE, 10)], windows=False) as client:
        stream = client.start()
        client.until(lambda: len(client.streams[stream].body) == 10)
        client.send(client.frame(4, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 60000)))
        assert len(client.response(stream).body) == 50000
