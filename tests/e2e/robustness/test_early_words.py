# SPDX-License-Identifier: Apache-2.0
"""A server that speaks while the request is still being sent, and clients that leave in the middle of it."""

import socket
import struct
import time

from tests.harness import waiting
from tests.harness.origin import reply

MEGABYTE = 1 << 20
STREAM = {"site": {"*": {"buffer": {"request": "stream"}}}, "timeouts": {"response": "4s", "stall": "4s"}}
EXPECTING = b"PUT / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def scripted(*steps):
    """A server that reads a head, does the steps, and answers with the length of the body."""
    def play(connection):
        while connection.reader.at_start():
            request = connection.reader.request_head()
            for step in steps:
                step(connection)
            connection.reader.request_body(request)
            connection.origin.record(connection, request)
            connection.send(reply(str(len(request.body)).encode()))
    return play


def say(text):
    return lambda connection: connection.send(text)


def test_another_interim_response_before_the_100_is_no_answer(ladle, origin):
    """A 103 that came before the 100 was taken for the answer: the body was never sent."""
    server = origin(script=scripted(say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), lambda _: time.sleep(0.2), say(b"HTTP/1.1 100 Continue\r\n\r\n")))
    proxy = ladle(server, STREAM)
    with proxy.client() as client:
        client.send(EXPECTING)
        waiting.until(lambda: client.sock.recv(4096, socket.MSG_PEEK).endswith(b"100 Continue\r\n\r\n"), "the 100")
        client.send(b"hello")
        response = client.response()
    assert response.status == 200 and response.body == b"5"


def test_a_100_after_we_stopped_waiting_is_no_answer(ladle, origin):
    """A server that says 100 when the body is already on its way was taken to have answered early."""
    body = b"x" * (8 * MEGABYTE)

    def late(connection):
        time.sleep(1.5)
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    proxy = ladle(origin(script=scripted(late)), STREAM)
    with proxy.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: site.test\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body))
        waiting.until(lambda: client.sock.recv(4096, socket.MSG_PEEK).endswith(b"100 Continue\r\n\r\n"), "the 100")
        client.send(body)
        response = client.response()
    assert response.status == 200 and response.body == str(len(body)).encode()


def test_interim_responses_during_a_large_upload_are_passed_on(ladle, origin):
    """A 102 or an unasked 100 while the server is still reading ends nothing."""
    body = b"x" * (8 * MEGABYTE)
    proxy = ladle(origin(script=scripted(say(b"HTTP/1.1 102 Processing\r\n\r\n"), say(b"HTTP/1.1 100 Continue\r\n\r\n"), lambda _: time.sleep(0.3))))
    with proxy.client() as client:
        response = client.request("POST", body=body)
    assert response.status == 200 and response.body == str(len(body)).encode()


def test_a_stalling_server_is_not_the_clients_fault(ladle, origin):
    """With both sides waiting in mid-upload because the server takes nothing, the answer is 504, not 408."""
    proxy = ladle(origin(script=lambda connection: (connection.reader.request_head(), time.sleep(30))),
                  {"site": {"*": {"buffer": {"request": "stream"}}}, "timeouts": {"stall": "1s"}, "budget": {"per_client": "64KiB"}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 90000000\r\n\r\n")
        client.sock.settimeout(20)
        try:
            while True:
                client.sock.send(b"x" * 65536)
        except OSError:
            pass
    assert proxy.access_log(1)[0]["status"] == 504


def reset(client):
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


def test_a_reset_while_the_server_is_silent_in_mid_response_frees_it(ladle, origin):
    """A client that resets while the server says nothing more held the server until the stall timeout."""
    server = origin(script=lambda connection: (connection.reader.request(), connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), connection.is_ended_by_peer(60)))
    proxy = ladle(server)
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    waiting.until(lambda: client.sock.recv(4096, socket.MSG_PEEK).endswith(b"abc"), "the beginning")
    reset(client)
    waiting.until(lambda: server.connections[0].closed_at, "the server to be freed", 5)
    assert proxy.access_log(1)[0]["reason"] == "client_left"


def test_a_reset_while_the_server_takes_no_body_frees_it(ladle, origin):
    """The same while the request's body waits for the server."""
    server = origin(script=lambda connection: (connection.reader.request_head(), time.sleep(1), connection.is_ended_by_peer(60)))
    proxy = ladle(server)
    client = proxy.client()
    client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 20000000\r\n\r\n")
    client.send(b"x" * 20_000_000)
    server.wait_connections(1)
    time.sleep(0.2)
    reset(client)
    assert proxy.access_log(1)[0]["reason"] == "client_left"
