# SPDX-License-Identifier: Apache-2.0
"""Expect: 100-continue and interim responses."""

import pytest

from tests.harness.origin import reply
from tests.harness.wire import Closed


@pytest.mark.parametrize("mode", ["full", "stream"])
def test_expect_100_continue(ladle, origin, mode):
    """A client that waits for 100 gets it, sends its body, and gets the answer."""
    server = origin(lambda request: reply(request.body))
    proxy = ladle(server, {"site": {"*": {"buffer": {"request": mode}}}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        interim = client.reader.response_head()
        assert interim.status == 100 and not interim.headers.has("Content-Length")
        client.send(b"hello")
        assert client.response().body == b"hello"
        assert client.request("GET", "/next").status == 200


def test_a_refused_expectation_gets_no_100(ladle, origin):
    """A body that is too large is refused with 413 before any 100."""
    proxy = ladle(origin(), {"site": {"*": {"body": "1KiB"}}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n")
        response = client.response()
        assert response.status == 413 and not response.interim


def test_a_server_that_refuses_instead_of_100(ladle, origin):
    """In stream mode a server's final answer instead of 100 reaches the client; its connection is not used again."""
    def script(connection):
        connection.origin.record(connection, connection.reader.request_head())
        connection.send(reply(b"no", 403, "Forbidden"))
        connection.is_ended_by_peer()
    server = origin(script=script)
    proxy = ladle(server, {"site": {"*": {"buffer": {"request": "stream"}}}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        response = client.response()
        assert (response.status, response.body) == (403, b"no")
        client.try_send(b"hello")
        client.try_send(b"GET /second HTTP/1.1\r\nHost: site.test\r\n\r\n")
        try:
            client.response()
        except (Closed, OSError, TimeoutError):
            pass
    assert all(len(connection.requests) == 1 for connection in server.connections)


@pytest.mark.parametrize("mode", ["full", "stream"])
def test_a_server_that_never_sends_100_gets_the_body(ladle, origin, mode):
    """A server that ignores Expect gets the body after a short wait."""
    def script(connection):
        while connection.reader.at_start():
            request = connection.reader.request()
            connection.origin.record(connection, request)
            connection.send(reply(request.body))
    proxy = ladle(origin(script=script), {"site": {"*": {"buffer": {"request": mode}}}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        assert client.response().body == b"hello"


def test_interim_responses_are_passed_on(relay):
    """103 with its fields and 102 reach an HTTP/1.1 client before the answer."""
    relay.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + reply(b"final")
    with relay.client() as client:
        response = client.request()
        assert [message.status for message in response.interim] == [103, 102]
        assert response.interim[0].headers.get("Link") == "</a.css>; rel=preload"
        assert response.body == b"final"


def test_interim_responses_come_at_once(relay):
    """A 103 is not held back until the answer."""
    import threading
    go = threading.Event()
    def answer(request, connection):
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        go.wait(60)
        return reply(b"late")
    relay.answer = answer
    with relay.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert client.reader.response_head().status == 103
        go.set()
        assert client.response().body == b"late"


def test_an_http_1_0_client_gets_no_interim_response(relay):
    """HTTP/1.0 knows no 1xx."""
    relay.answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + reply(b"final")
    with relay.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")
        response = client.response()
        assert not response.interim and response.body == b"final"


def test_a_100_of_the_server_is_not_sent_twice(relay):
    """A client that did not wait for 100 may see none or one, and the answer is right."""
    relay.answer = b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"final")
    assert relay.get("/", "POST", body=b"x").body == b"final"
