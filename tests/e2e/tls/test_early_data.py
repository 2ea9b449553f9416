# SPDX-License-Identifier: Apache-2.0
"""Early data (TLS 1.3, 0-RTT): only what a replay cannot make worse is served before the handshake ends, and nothing twice."""

import socket
import subprocess
import time

import pytest

from tests.harness import waiting
from tests.harness.certificates import tls
from tests.harness.early_client import ACCEPTED, REJECTED, EarlyClient, most_early
from tests.harness.h2_client import H2Frames
from tests.harness.ladle import Ladle
from tests.harness.origin import Origin, reply

GET = b"GET /%s HTTP/1.1\r\nHost: site.test\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: site.test\r\nContent-Length: 3\r\n\r\nabc"
UNKNOWN_S = 17  # a new proxy does not know what came before it: it takes early data after 15 s


class Scene:
    """A proxy over several workers, and its server, which keeps what it was asked; a test finds its own by the path."""

    def __init__(self, pair, authority):
        self.number = 0
        self.server, self.shadow = Origin(self.answer), Origin()
        self.proxy = Ladle(None, None, start=False)
        site = {"listen": f"https://127.0.0.1:{self.proxy.port}", "upstream": self.server.url, "tls": tls(pair)}
        self.proxy.configure({
            "server": {"workers": 3}, "timeouts": {"handshake": "5s"}, "tls": {"early_data": True},
            "site": {"site.test": {**site, "route": [{"path": "/cached/*", "cache": True}, {"path": "/mirrored/*", "mirror": self.shadow.url},
                                                     {"path": "/*"}]},
                     "late.site.test": {**site, "tls": {**tls(pair), "early_data": False}},
                     "shown.site.test": {**site, "tls": {**tls(pair), "client": {"ca": authority.pem, "required": False}}}},
        })
        self.proxy.start()
        self.started = time.monotonic()

    @staticmethod
    def answer(request):
        if "/too-early" in request.target and request.headers.has("Early-Data"):
            return reply(b"later", status=425, reason="Too Early")
        return reply(b"done", headers=[("Cache-Control", "max-age=60")] if "/cached" in request.target else ())

    def path(self):
        self.number += 1
        return b"%d" % self.number

    def asked(self, path):
        return [request for request in list(self.server.requests) if request.target == "/" + path.decode()]

    def session(self, **options):
        """One that allows early data, if the site does."""
        with EarlyClient(self.proxy.address, **options) as client:
            name = options.get("name", "site.test").encode()
            client.finish().sendall(b"GET /first HTTP/1.1\r\nHost: " + name + b"\r\n\r\n")
            assert client.response().status == 200
            return client.session()

    def metric(self, name):
        return self.proxy.status()["metrics"][name]

    def client(self, session=None, **options):
        return EarlyClient(self.proxy.address, session or self.session(**options), **options)


@pytest.fixture(scope="module")
def new_scene(pair, authority):
    scene = Scene(pair, authority)
    yield scene
    scene.proxy.stop()
    scene.server.stop()
    scene.shadow.stop()


@pytest.fixture(scope="module")
def scene(new_scene):
    time.sleep(max(0.0, new_scene.started + UNKNOWN_S - time.monotonic()))
    return new_scene


def test_a_new_proxy_takes_none_for_a_while(new_scene):
    """What was recorded before the proxy began must not be new to it: early data is refused at first, and the client sends it again."""
    with new_scene.client() as client:
        client.send_early(GET % b"first").finish()
        assert client.early_status == REJECTED
        client.sendall(GET % b"again")
        assert client.response().status == 200
    assert new_scene.asked(b"again") and new_scene.metric("tls_early_refused") >= 1


def test_off_by_default(secure, origin):
    """Without the setting tickets allow none, and none is taken from clients that send it all the same."""
    proxy = secure(origin())
    with EarlyClient(proxy.address) as client:
        client.finish().sendall(GET % b"")
        assert client.response().status == 200
        assert most_early(client.session()) == 0


def test_a_get_is_served_before_the_handshake_ends(scene):
    """The server is asked, and told so, while the client has said nothing but its first words; what follows is an ordinary request."""
    path = scene.path()
    with scene.client() as client:
        client.send_early(GET % path)
        request = waiting.until(lambda: scene.asked(path), "the server to be asked")[0]
        assert request.headers.all("Early-Data") == ["1"]
        client.finish()
        assert client.early_status == ACCEPTED
        assert client.response().body == b"done"
        client.sendall(GET % path)
        assert client.response().body == b"done"
    first, second = scene.asked(path)
    assert first.headers.has("Early-Data") and not second.headers.has("Early-Data")


def test_a_mirror_is_told_of_early_data_too(scene):
    """The copy of a request in early data says so, as the request itself does; a later one's does not."""
    path = b"mirrored/" + scene.path()
    with scene.client() as client:
        client.send_early(GET % path)
        scene.shadow.wait_requests(1)
        client.finish()
        assert client.early_status == ACCEPTED and client.response().status == 200
        client.sendall(GET % path)
        assert client.response().status == 200
    first, second = scene.shadow.wait_requests(2)
    assert first.headers.all("Early-Data") == ["1"] and not second.headers.has("Early-Data")


def test_several_requests_in_early_data(scene):
    """Pipelined requests are answered in their order, those that may come early and those that may not."""
    path = scene.path()
    with scene.client() as client:
        client.send_early(GET % path + POST % path + GET % path).finish()
        assert [client.response().body for _ in range(3)] == [b"done"] * 3
    assert [request.method for request in scene.asked(path)] == ["GET", "POST", "GET"]
    assert not scene.asked(path)[1].headers.has("Early-Data")


@pytest.mark.parametrize("request_text", [
    POST, b"DELETE /%s HTTP/1.1\r\nHost: site.test\r\n\r\n", b"GET /%s HTTP/1.1\r\nHost: site.test\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /%s HTTP/1.1\r\nHost: site.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", b"GET /%s HTTP/1.1\r\nHost: late.site.test\r\n\r\n",
], ids=["post", "delete", "get-with-body", "upgrade", "site-without"])
def test_what_is_not_safe_waits(scene, request_text):
    """Other methods, bodies, upgrades and sites that take no early data wait for the end of the handshake, and go on then."""
    path, waited = scene.path(), scene.metric("tls_early_waited")
    with scene.client() as client:
        client.send_early(request_text % path)
        waiting.until(lambda: scene.metric("tls_early_waited") == waited + 1, "the request to wait")
        assert not scene.asked(path)
        client.finish()
        assert client.early_status == ACCEPTED
        assert client.response().status == 200
        assert not scene.asked(path)[0].headers.has("Early-Data")


def test_a_client_that_does_not_end_the_handshake(scene):
    """What waits is given up after timeouts.handshake with 425; what was safe leaves an idle connection behind, and nothing else."""
    path = scene.path()
    count = scene.metric("ended_too_early")
    with scene.client() as client:
        client.send_early(POST % path)
        waiting.until(lambda: scene.metric("ended_too_early") == count + 1, "the request to be given up")
        client.finish()
        assert client.response().status == 425
        assert client.recv(1) == b""
    assert not scene.asked(path)
    waiting.until(lambda: [line["status"] for line in scene.proxy.access_log() if line["reason"] == "too_early"] == [425], "its line")


def test_connection_close_in_early_data(scene):
    """The answer to a request that is to be the last one comes whole, with close_notify, when the client has ended the handshake."""
    path = scene.path()
    with scene.client() as client:
        client.send_early((GET % path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        waiting.until(lambda: scene.asked(path), "the server to be asked")
        client.finish()
        assert client.response().body == b"done"
        assert client.recv(1) == b""


def test_a_large_answer(scene):
    """What is written before the handshake's end and after it fits together."""
    path = scene.path()
    with scene.client() as client:
        client.send_early((GET % path) * 100).finish()
        assert [client.response().body for _ in range(100)] == [b"done"] * 100


def test_more_early_data_than_allowed_breaks_the_handshake(scene):
    """A client that sends more than its ticket allows is no client of ours."""
    session = scene.session()
    assert most_early(session) == 16384
    with scene.client(session) as client:
        request = GET % b"many"
        with pytest.raises((AssertionError, ConnectionError)):
            for _ in range(2 * 16384 // len(request)):
                client.send_early(request)
            client.finish()


def test_a_replay_is_not_served(scene):
    """What a client has sent first is served once, by whichever worker, also after a reload and by the workers after an upgrade."""
    path = scene.path()
    refused = scene.metric("tls_early_refused")
    with scene.client() as client:
        client.send_early(GET % path)
        waiting.until(lambda: scene.asked(path), "the server to be asked")
        for number in range(30):
            if number == 10:
                assert scene.proxy.reload().returncode == 0
            elif number == 20:
                assert scene.proxy.command("upgrade").returncode == 0
            with socket.create_connection(scene.proxy.address, 10) as sock:
                sock.sendall(client.sent)
                assert sock.recv(65536)[0] == 22  # an ordinary handshake goes on
    assert len(scene.asked(path)) == 1
    assert scene.metric("tls_early_refused") == refused  # counted where a handshake ends: these never do


def test_a_ticket_that_is_used_twice(scene):
    """A client that brings the same ticket with other words is another request: its first message is new."""
    session = scene.session()
    for path in (scene.path(), scene.path()):
        with scene.client(session) as client:
            client.send_early(GET % path).finish()
            assert client.early_status == ACCEPTED
            assert client.response().status == 200


def test_a_server_that_finds_it_too_early(scene):
    """425 to what the proxy marked: asked again when the handshake has ended, without the mark, and the client never knows."""
    path = b"too-early" + scene.path()
    with scene.client() as client:
        client.send_early(GET % path)
        waiting.until(lambda: scene.asked(path), "the server to be asked")
        assert len(scene.asked(path)) == 1
        client.finish()
        assert client.response().status == 200
    assert [request.headers.has("Early-Data") for request in scene.asked(path)] == [True, False]


def test_through_the_cache(scene):
    """What is stored is served before the handshake ends, and what is fetched for it is marked."""
    path = b"cached/" + scene.path()
    with scene.client() as client:
        client.send_early(GET % path)
        waiting.until(lambda: scene.asked(path), "the server to be asked")
        client.finish()
        assert client.response().body == b"done"
    with scene.client() as client:
        client.send_early(GET % path).finish()
        assert client.response().body == b"done"
        assert client.early_status == ACCEPTED
    assert [request.headers.all("Early-Data") for request in scene.asked(path)] == [["1"]]


def test_clients_cannot_write_the_mark(scene):
    """Early-Data from a client is not passed on."""
    path = scene.path()
    with EarlyClient(scene.proxy.address) as client:
        client.finish().sendall((GET % path).replace(b"\r\n\r\n", b"\r\nEarly-Data: 1\r\n\r\n"))
        assert client.response().status == 200
    with scene.client() as client:
        client.send_early((GET % path).replace(b"\r\n\r\n", b"\r\nEarly-Data: 0\r\nConnection: early-data\r\n\r\n")).finish()
        assert client.response().status == 200
    assert [request.headers.all("Early-Data") for request in scene.asked(path)] == [[], ["1"]]


def test_a_trusted_proxy_may_write_the_mark(ladle, origin):
    """A proxy in front that is believed passes the mark through, and hears the server's 425 itself."""
    server = origin(lambda request: reply(b"", status=425, reason="Too Early") if request.headers.has("Early-Data") else reply())
    proxy = ladle(server, {"trust": {"forwarded_from": ["127.0.0.0/8"]}})
    assert proxy.get("/", headers=[("Early-Data", "1")]).status == 425
    assert len(server.requests) == 1 and server.requests[0].headers.all("Early-Data") == ["1"]


def test_where_clients_show_certificates_none_is_taken(scene):
    """Tickets of such a site allow none."""
    assert most_early(scene.session(name="shown.site.test")) == 0
    assert most_early(scene.session(name="late.site.test")) == 0


def test_http2(scene):
    """Of streams that begin in early data the safe ones are served at once and marked, the others when the handshake has ended."""
    safe, unsafe = scene.path(), scene.path()
    frames = H2Frames()
    _, post = frames.request_frames(method="POST", path="/" + unsafe.decode(), scheme="https")
    _, get = frames.request_frames(path="/" + safe.decode(), scheme="https")
    with EarlyClient(scene.proxy.address, protocols=["h2"]) as client:
        client.finish().sendall(frames.opening())
        client.recv(65536)
        session = client.session()
    with EarlyClient(scene.proxy.address, session, protocols=["h2"]) as client:
        client.send_early(frames.opening() + post + get)
        waiting.until(lambda: scene.asked(safe), "the safe one to be asked for")
        assert scene.asked(safe)[0].headers.all("Early-Data") == ["1"]
        assert not scene.asked(unsafe)
        client.finish()
        assert client.early_status == ACCEPTED
        waiting.until(lambda: scene.asked(unsafe), "the other one to be asked for")
        assert not scene.asked(unsafe)[0].headers.has("Early-Data")
        got = b""
        while got.count(b"done") < 2:
            got += client.recv(65536)


def test_openssl_s_client(scene, tmp_path):
    """openssl s_client -early_data: its request is taken and answered, over all workers."""
    session, text = tmp_path / "session", tmp_path / "early"
    line = ["openssl", "s_client", "-connect", f"127.0.0.1:{scene.proxy.port}", "-servername", "site.test", "-tls1_3", "-ign_eof"]
    path = scene.path()
    last = (GET % path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    subprocess.run([*line, "-sess_out", session], input=last, capture_output=True, timeout=60, check=False)
    text.write_bytes(last)
    for number in range(8):
        done = subprocess.run([*line, "-sess_in", session, "-sess_out", session, "-early_data", text], input=b"", capture_output=True, timeout=60, check=False)
        assert b"Early data was accepted" in done.stdout, done.stdout[-3000:] + done.stderr[-2000:]
        assert done.stdout.count(b"done") >= 1
        assert len(scene.asked(path)) == number + 2
    status = scene.proxy.status()
    assert status["tls"]["early_data"]["taken"] == status["metrics"]["tls_early_taken"] > 0
    assert "\n  early data taken " in scene.proxy.command("status").stdout
