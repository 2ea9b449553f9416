# SPDX-License-Identifier: Apache-2.0
"""TLS to servers: who they are is verified, sessions are resumed, and what is wrong is said."""

import os
import ssl
import threading

import pytest

from tests.harness import waiting
from tests.harness.certificates import Authority
from tests.harness.dns import Dns, Srv
from tests.harness.origin import Origin, reply
from tests.harness.softhsm import MODULE


class TlsOrigin(Origin):
    """An Origin that speaks TLS with that pair; `handshakes` has (resumed, SNI, the client's certificate) of each."""

    def __init__(self, pair, *arguments, client_authority=None, version=None, **more):
        self.settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.settings.load_cert_chain(*pair)
        self.names = []
        self.handshakes = []
        self.settings.sni_callback = lambda sock, name, _: self.names.append(name)
        if client_authority:
            self.settings.verify_mode = ssl.CERT_REQUIRED
            self.settings.load_verify_locations(client_authority.pem)
        if version:
            self.settings.minimum_version = self.settings.maximum_version = version
        super().__init__(*arguments, **more)

    def _serve(self, connection):
        try:
            connection.sock = self.settings.wrap_socket(connection.sock, server_side=True)
        except OSError as error:
            connection.error = error
            connection.sock.close()
            return
        connection.reader.sock = connection.sock
        self.handshakes.append((connection.sock.session_reused, self.names[-1] if self.names else None, connection.sock.getpeercert()))
        super()._serve(connection)


@pytest.fixture
def tls_origin(cleanup):
    def make(pair, *arguments, **more):
        cleanup.append(TlsOrigin(pair, *arguments, **more))
        return cleanup[-1]
    return make


@pytest.fixture(scope="module")
def local_pair(authority):
    """For the address 127.0.0.1."""
    return authority.issue("local", ["site.test"], address="127.0.0.1")


@pytest.fixture
def before(ladle):
    """before(server, **tls) → a proxy whose only server that is, with that upstream tls, and [tls.device]"""
    def make(server, settings=None, device=None, **tls):
        return ladle("app", {"tls": {"device": device or {}}, "upstream": {"app": {"servers": [server.text], "tls": tls, **(settings or {})}}})
    return make


def test_a_server_that_proves_its_address_is_served_from(before, tls_origin, authority, local_pair):
    """A server whose certificate, of the given CA, is for its address answers; bodies of several megabytes come whole, both ways."""
    body = os.urandom(3_000_000)
    server = tls_origin(local_pair, lambda request: reply(request.body or body))
    proxy = before(server, ca=authority.pem)
    assert proxy.get().body == body
    assert proxy.get("/", "POST", body=body).body == body
    assert server.requests[-1].headers.get("x-forwarded-proto") == "http"


def test_a_service_must_prove_its_domain(ladle, tls_origin, authority, local_pair, cleanup):
    """https://srv:… asks for, and verifies, the name without "_https._tcp.", whatever the target is called; a certificate of another is a 502."""
    good = tls_origin(authority.issue("service", ["app.ladle.test"]))
    bad = tls_origin(local_pair)
    target = {"web.ladle.test": (60, ["127.0.0.1"])}
    dns = Dns({"_https._tcp.app.ladle.test": (60, [Srv("web.ladle.test", good.port)]),
               "_https._tcp.web.ladle.test": (60, [Srv("web.ladle.test", bad.port)]), **target})
    cleanup.append(dns)
    upstreams = {name: {"servers": [f"https://srv:_https._tcp.{name}.ladle.test"], "tls": {"ca": authority.pem}} for name in ("app", "web")}
    proxy = ladle("app", {"server": {"resolvers": [dns.text]}, "upstream": upstreams,
                          "site": {"*": {"route": [{"path": "/web", "upstream": "web"}]}}})
    assert proxy.get().status == 200
    assert good.handshakes[0][1] == "app.ladle.test"
    assert proxy.get("/web").status == 502


def test_the_name_is_asked_for_and_verified(before, tls_origin, authority, pair):
    """`sni` is the name that the server is asked for and must prove."""
    server = tls_origin(pair)
    assert before(server, ca=authority.pem, sni="site.test").get().status == 200
    assert server.names[-1] == "site.test"
    proxy = before(server, ca=authority.pem, sni="other.test")
    assert proxy.get().status == 502
    waiting.until(lambda: "hostname mismatch" in proxy.output(), "the reason in the log")


def test_what_is_wrong_is_said(before, tls_origin, authority, pair, local_pair, tmp_path):
    """An expired certificate, an unknown CA, a server without TLS: 502, and the reason in the log."""
    expired = authority.issue("expired", ["site.test"], days=-1, address="127.0.0.1")
    stranger = Authority(tmp_path, "Another CA")
    for server, ca, words in ((tls_origin(expired), authority.pem, "certificate has expired"),
                              (tls_origin(local_pair), stranger.pem, "unable to get local issuer certificate"),
                              (tls_origin(pair), authority.pem, "IP address mismatch"),
                              (tls_origin(local_pair), None, "unable to get local issuer certificate")):
        proxy = before(server, **({"ca": ca} if ca else {}))
        assert proxy.get().status == 502
        waiting.until(lambda: words in proxy.output(), words)
        assert proxy.access_log(1)[-1]["reason"] == "server_tls"


def test_a_server_without_tls_is_refused(before, origin, authority):
    """Plain HTTP where TLS is expected is a 502."""
    def play(connection):
        connection.sock.recv(1000)
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert before(origin(script=play), ca=authority.pem).get().status == 502


def test_insecure_believes_anybody_and_warns(before, tls_origin, tmp_path):
    """insecure = true talks to whoever answers; `check` warns."""
    server = tls_origin(Authority(tmp_path, "Nobody").issue("nobody.test"))
    proxy = before(server, insecure=True)
    assert proxy.get().status == 200
    said = proxy.command("check")
    assert said.returncode == 0 and "insecure" in said.stdout + said.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_with_servers_are_resumed(before, tls_origin, authority, local_pair, version):
    """The second connection to a server resumes the first one's session."""
    server = tls_origin(local_pair, version=version)
    proxy = before(server, {"keepalive": {"idle": 0}}, ca=authority.pem)
    for _ in range(4):
        assert proxy.get().status == 200
    assert [resumed for resumed, _, _ in server.handshakes] == [False, True, True, True]


def test_kept_connections_are_used_again(before, tls_origin, authority, local_pair):
    """A connection with TLS is kept and used again, session tickets on it notwithstanding."""
    server = tls_origin(local_pair)
    proxy = before(server, ca=authority.pem)
    for _ in range(5):
        assert proxy.get().status == 200
    assert len(server.handshakes) == 1


def test_a_certificate_is_shown_to_servers_that_ask(before, tls_origin, authority, local_pair):
    """`cert` and `key` are ours, for servers that ask; without them such a server refuses."""
    server = tls_origin(local_pair, client_authority=authority)
    cert, key = authority.issue("proxy.test")
    assert before(server, ca=authority.pem, cert=cert, key=f"file:{key}").get().status == 200
    assert server.handshakes[-1][2]["subject"] == ((("commonName", "proxy.test"),),)
    assert before(server, ca=authority.pem).get().status == 502


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_our_own_key_may_be_in_a_device(before, tls_origin, token, authority, local_pair, kind, version):
    """The key of the certificate that servers are shown lies in a token: it signs there, and a token that is gone is a 502."""
    server = tls_origin(local_pair, client_authority=authority, version=version)
    cert, key = authority.issue(f"proxy-{kind}.test", kind=kind)
    uri = token.take(key, kind, "01")
    proxy = before(server, {"keepalive": {"idle": 0}}, device={"module": MODULE, "pin": "env:LADLE_TEST_PIN"}, ca=authority.pem, cert=cert, key=uri)
    assert proxy.get().status == 200
    assert server.handshakes[-1][2]["subject"] == ((("commonName", f"proxy-{kind}.test"),),)
    assert proxy.status()["metrics"]["tls_device_signatures"] == 1
    token.hide()
    without = before(server, device={"module": MODULE, "pin": "env:LADLE_TEST_PIN"}, ca=authority.pem, cert=cert, key=uri)
    assert without.get().status == 502 and without.status()["metrics"]["tls_device_failures"] == 1
    waiting.until(lambda: "the device that keeps the key made no signature" in without.output(), "the reason in the log")


def test_a_body_without_a_length_that_is_cut_is_not_whole(before, tls_origin, authority, local_pair):
    """A body that ends with the connection must end with close_notify: else somebody cut it, and the client sees that."""
    def play(connection):
        connection.reader.request_head()
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of ")
        connection.sock.shutdown(2)  # of the socket under TLS: nothing is said
    proxy = before(tls_origin(local_pair, script=play), ca=authority.pem)
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        received, _ = client.drain()
    assert not received.endswith(b"0\r\n\r\n")


def test_many_requests_at_once(before, tls_origin, authority, local_pair):
    """Fifty clients at once through connections with TLS."""
    proxy = before(tls_origin(local_pair, reply(b"y" * 100_000)), ca=authority.pem)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(len(proxy.get().body))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [100_000] * 50


def test_https_in_the_address_is_enough(ladle, tls_origin, local_pair):
    """An upstream written https:// is TLS with the system's CAs, which do not know this server."""
    server = tls_origin(local_pair)
    proxy = ladle(f"https://{server.text}")
    assert proxy.get().status == 502
    waiting.until(lambda: server.connections, "the proxy to try")
