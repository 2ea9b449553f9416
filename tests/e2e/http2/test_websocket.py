# SPDX-License-Identifier: Apache-2.0
"""WebSocket over HTTP/2 (RFC 8441): an extended CONNECT is the server's Upgrade, with nothing to configure."""

import pytest

from tests.harness import waiting
from tests.harness.h2_client import ENABLE_CONNECT_PROTOCOL, END_STREAM, DATA, H2Client
from tests.harness.origin import reply

CONNECT = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "site.test"), (":path", "/chat")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nX-Y: z\r\n\r\n"


def open_tunnel(client):
    stream, frame = client.request_frames(pseudo=CONNECT, headers=[("sec-websocket-version", "13"), ("origin", "http://site.test")], end=False)
    client.send(frame)
    client.until(lambda: client.streams[stream].status or client.streams[stream].reset is not None)
    return stream


@pytest.fixture
def echo(ladle, origin):
    def script(connection):
        connection.origin.record(connection, connection.reader.request())
        connection.send(SWITCH)
        while True:
            more = connection.sock.recv(65536)
            if not more:
                break
            connection.send(more)
        connection.close()
    server = origin(script=script)
    return ladle(server), server


def test_bytes_go_both_ways(echo):
    """The server sees an Upgrade with a key; the client a 200 without the handshake's fields; then bytes both ways, and both ends."""
    proxy, server = echo
    with H2Client(proxy.address) as client:
        stream = open_tunnel(client)
        answer = client.streams[stream]
        assert client.settings[ENABLE_CONNECT_PROTOCOL] == 1
        assert answer.status == 200 and answer.get("x-y") == "z"
        assert answer.get("upgrade") is None and answer.get("connection") is None and answer.get("sec-websocket-accept") is None
        got = server.requests[0]
        assert got.method == "GET" and got.target == "/chat" and got.headers.get("Upgrade") == "websocket"
        assert len(got.headers.get("Sec-WebSocket-Key")) == 24 and got.headers.get("sec-websocket-version") == "13"
        for size in (1, 1000, 60000):
            before = len(answer.body)
            client.send_body(stream, b"x" * size, end=False)
            client.until(lambda: len(answer.body) == before + size)
        client.send(client.frame(DATA, END_STREAM, stream))
        client.response(stream)
        assert answer.ended and answer.reset is None
        assert client.get(pseudo=[*CONNECT[:1], (":authority", "site.test:80")]).status == 405
    assert proxy.access_log(2)[0]["status"] == 101


def test_a_tunnel_ends_with_its_stream(echo):
    """RST_STREAM from the client ends the server's side."""
    proxy, server = echo
    with H2Client(proxy.address) as client:
        stream = open_tunnel(client)
        client.reset(stream)
        client.ping()
        waiting.until(lambda: server.connections[0].reader.ended or proxy.status()["metrics"]["tunnels_open"] == 0, "the tunnel to end")


def test_a_server_that_declines(ladle, origin):
    """A server that answers 200 has not upgraded: the client must not take that for success. Another status is passed on."""
    proxy = ladle(origin(lambda request: reply(status=403 if request.headers.get("x-refuse") else 200)))
    with H2Client(proxy.address) as client:
        stream = open_tunnel(client)
        assert client.streams[stream].status == 502
        assert client.get(pseudo=CONNECT, headers=[("x-refuse", "1")], end=False).status == 403


def test_a_protocol_that_is_not_tunnelled(ladle, origin):
    """An extended CONNECT to anything but WebSocket is refused."""
    server = origin()
    proxy = ladle(server)
    with H2Client(proxy.address) as client:
        assert client.get(pseudo=[CONNECT[0], (":protocol", "connect-udp"), *CONNECT[2:]], end=False).status == 400
    assert not server.requests
