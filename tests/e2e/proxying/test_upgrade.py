# SPDX-License-Identifier: Apache-2.0
"""WebSocket and other upgrades are tunnelled with nothing to configure; event streams are never held back."""

import asyncio
import threading
import time

import pytest
import websockets

from tests.harness import waiting



class EchoServer:
    """A real WebSocket server (python3-websockets) in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.port = waiting.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        started = threading.Event()

        async def echo(socket):
            async for message in socket:
                await socket.send(message)

        async def serve():
            self.server = await websockets.serve(echo, "127.0.0.1", self.port, max_size=None, compression=None)
            started.set()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(serve())
            self.loop.run_forever()
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        started.wait(waiting.PATIENCE)

    def stop(self):
        async def close():
            self.server.close()
            await self.server.wait_closed()
        asyncio.run_coroutine_threadsafe(close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@pytest.fixture
def echo(cleanup):
    cleanup.append(EchoServer())
    return cleanup[-1]


def test_websocket_through_a_real_client(ladle, echo):
    """A WebSocket client talks through the proxy: text, binary, a megabyte, ping, close."""
    proxy = ladle(echo)

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{proxy.port}/chat", max_size=None) as socket:
            for message in ("hello", b"\x00\x01", "é" * 1000, b"x" * 1000000):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
    asyncio.run(asyncio.wait_for(talk(), 20))
    assert proxy.access_log(1)[0]["status"] == 101


def test_many_websockets_at_once(ladle, echo):
    """A hundred WebSockets echo side by side."""
    proxy = ladle(echo)

    async def one(number):
        async with websockets.connect(f"ws://127.0.0.1:{proxy.port}/") as socket:
            for turn in range(5):
                await socket.send(f"{number}/{turn}")
                assert await socket.recv() == f"{number}/{turn}"

    async def talk():
        await asyncio.gather(*(one(number) for number in range(100)))
    asyncio.run(asyncio.wait_for(talk(), 40))


def test_upgrade_fields_reach_the_server(ladle, origin):
    """Upgrade and Connection: upgrade reach the server, and its 101 the client, and then bytes both ways."""
    def script(connection):
        request = connection.reader.request()
        connection.origin.record(connection, request)
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: custom/1\r\nX-Y: z\r\n\r\nfirst")
        assert connection.reader.exactly(4) == b"ping"
        connection.send(b"pong")
        connection.is_ended_by_peer()
    server = origin(script=script)
    proxy = ladle(server)
    with proxy.client() as client:
        client.send(b"GET /u HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: custom/1\r\n\r\nping")
        response = client.response()
        assert response.status == 101 and response.headers.get("Upgrade") == "custom/1"
        assert client.reader.exactly(9) == b"firstpong"
    got = server.requests[0].headers
    assert got.get("Upgrade") == "custom/1" and got.get("Connection").lower() == "upgrade"
    waiting.until(lambda: server.connections[0].reader.ended, "the server's side to end with the client's")


def test_a_server_that_declines_the_upgrade(ladle, origin):
    """A normal answer to an upgrade request is a normal answer."""
    proxy = ladle(origin())
    with proxy.client() as client:
        assert client.request(headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")]).body == b"ok"
        assert client.request().body == b"ok"


def test_the_server_ends_the_tunnel(ladle, origin):
    """When the server ends a tunnel, the client gets what was sent and then the end."""
    def script(connection):
        connection.reader.request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n" + b"x" * 300000)
    proxy = ladle(origin(script=script))
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: custom\r\n\r\n")
        assert client.response().status == 101
        assert client.reader.to_end() == b"x" * 300000


def test_a_silent_tunnel_ends_after_its_timeout(ladle, origin):
    """timeouts.tunnel ends a tunnel in which nothing moves."""
    def script(connection):
        connection.reader.request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: custom\r\n\r\n")
        connection.is_ended_by_peer()
    proxy = ladle(origin(script=script), {"timeouts": {"tunnel": "1s"}})
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: custom\r\n\r\n")
        assert client.response().status == 101
        assert client.is_closed()


@pytest.mark.parametrize("framing", ["chunked", "eof"])
def test_event_streams_are_not_held_back(ladle, origin, framing):
    """Each event of a text/event-stream reaches the client when it is sent."""
    go = threading.Semaphore(0)

    def script(connection):
        connection.reader.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + (b"Transfer-Encoding: chunked\r\n" if framing == "chunked" else b"") + b"\r\n")
        for number in range(5):
            go.acquire(timeout=60)
            event = b"data: %d\n\n" % number
            connection.send(b"%x\r\n%s\r\n" % (len(event), event) if framing == "chunked" else event)
        if framing == "chunked":
            connection.send(b"0\r\n\r\n")
    proxy = ladle(origin(script=script))
    with proxy.client() as client:
        client.send(b"GET /events HTTP/1.1\r\nHost: site.test\r\nAccept: text/event-stream\r\n\r\n")
        head = client.reader.response_head()
        assert head.headers.get("Content-Type") == "text/event-stream"
        took = []
        for number in range(5):
            sent = time.monotonic()
            go.release()
            size = int(client.reader.line(), 16)
            assert client.reader.exactly(size) == b"data: %d\n\n" % number
            assert client.reader.exactly(2) == b"\r\n"
            took.append(time.monotonic() - sent)
        assert min(took) < 0.5  # the next one is not sent before this one has come
        assert client.reader.line() == b"0"


def test_an_event_stream_outlives_the_stall_timeout(ladle, origin):
    """Silence between events is not a stall: timeouts.tunnel counts."""
    def script(connection):
        connection.reader.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        time.sleep(1.5)
        connection.send(b"9\r\ndata: 1\n\n\r\n0\r\n\r\n")
    proxy = ladle(origin(script=script), {"timeouts": {"stall": "500ms"}})
    assert proxy.get().body == b"data: 1\n\n"


def test_slow_answers_are_not_held_back(relay):
    """Bytes of an ordinary answer go on as they come."""
    go = threading.Event()

    def answer(request, connection):
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        go.wait(60)
        return b"later"
    relay.answer = answer
    with relay.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        client.reader.response_head()
        assert client.reader.exactly(5) == b"first"
        go.set()
        assert client.reader.exactly(5) == b"later"
