# SPDX-License-Identifier: Apache-2.0
"""What a PROXY header says about the client counts as the client, from those who may say it and from nobody else."""

import os
import socket
import subprocess
import time

import pytest

from tests.harness import waiting
from tests.harness.certificates import tls
from tests.harness.ladle import Ladle
from tests.harness.raw_client import RawClient

GET = b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n"
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.9 5500 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.9") + b"\x15\x7c\x01\xbb"
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::9") + b"\x15\x7c\x01\xbb"


def binary(command, family, body):
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


@pytest.fixture
def behind(cleanup, authority, pair):
    """make(origin, from_, settings, secure) → a Ladle that listens for these proxies"""
    def make(server, from_=("127.0.0.1",), settings=None, secure=False, bind=None):
        proxy = Ladle(server, None, start=False)
        cleanup.append(proxy)
        listen = {"bind": [bind or f"127.0.0.1:{proxy.port}"], "tls": secure, "proxy_protocol": {"from": list(from_)}}
        proxy.configure({"listen": {"inside": listen}, "site": {"*": {"listen": "inside", **({"tls": tls(pair)} if secure else {})}}})
        proxy.configure(settings or {})
        return proxy.start()
    return make


def refused(proxy):
    return proxy.status()["metrics"]["proxy_headers_refused"]


@pytest.mark.parametrize("header,client", [(LINE, "192.0.2.7"), (b"PROXY TCP6 2001:db8::7 2001:db8::9 1 2\r\n", "2001:db8::7"),
                                           (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7"),
                                           (binary(0x21, 0x11, V4), "192.0.2.7"), (binary(0x21, 0x21, V6), "2001:db8::7"),
                                           (binary(0x21, 0x11, V4 + b"\x04\x0f\x00" + b"." * 0xf00), "192.0.2.7"),
                                           (b"PROXY UNKNOWN what ever\r\n", "127.0.0.1"), (binary(0x20, 0, b""), "127.0.0.1"),
                                           (binary(0x20, 0x11, V4), "127.0.0.1"), (binary(0x21, 0, b"what ever"), "127.0.0.1")])
@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_the_client_is_who_the_header_says(behind, origin, header, client, pieces):
    """The address in the header stands in X-Forwarded-For, Forwarded and the log; a header without one leaves the connection's own."""
    server = origin()
    proxy = behind(server)
    with proxy.client() as peer:
        if pieces == "whole":
            peer.send(header + GET)
        else:
            peer.trickle(header[:60] + b"", 0.001)
            peer.send(header[60:])
            peer.trickle(GET, 0.001)
        assert peer.response().status == 200
    headers = server.requests[-1].headers
    assert headers.get("x-forwarded-for") == client
    assert f"for={client};" in headers.get("forwarded") or f'for="[{client}]";' in headers.get("forwarded")
    line = proxy.access_log(1)[-1]
    assert (line["client"], line["peer"]) == (client, client)
    metrics = proxy.status()["metrics"]
    assert (metrics["proxy_headers"], metrics["proxy_headers_refused"]) == (1, 0)


def test_the_client_stays_the_same_for_all_requests_of_a_connection(behind, origin):
    """A kept connection is one client's, to its last request."""
    server = origin()
    with behind(server).client() as peer:
        peer.send(LINE)
        for _ in range(3):
            assert peer.request().status == 200
    assert [request.headers.get("x-forwarded-for") for request in server.requests] == ["192.0.2.7"] * 3


@pytest.mark.parametrize("start", [GET, b"\x16\x03\x01", b"\r\n\r\nGET /", LINE.lower(), LINE[:-2] + b"\n", LINE.replace(b"TCP4", b"TCP6"), b"PROXY UNKNOWN" + b"x" * 100,
                                   binary(0x11, 0x11, V4), binary(0x21, 0x41, V4), binary(0x21, 0x11, V4[:-1]), binary(0x21, 0x11, V4 + b"\x03\x00\x04abcd"),
                                   binary(0x21, 0x11, V4 + b"\x04\xff"), SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE[:-1] + b"x"])
def test_a_listed_peer_without_a_good_header_is_closed(behind, origin, start):
    """Whoever is listed and begins otherwise is cut off without a word, counted and logged; the server never hears of it."""
    server = origin()
    proxy = behind(server)
    with proxy.client() as peer:
        peer.send(start)
        waiting.until(lambda: refused(proxy) == 1, "the connection to be counted")
        assert peer.drain()[0] == b""
    assert server.requests == [] and proxy.status()["metrics"]["proxy_headers"] == 0
    waiting.until(lambda: "no PROXY header where one has to be" in proxy.output(), "the connection to be logged")


@pytest.mark.parametrize("start", [b"", b"PROX", SIGNATURE + b"\x21\x11\x00\x0c" + V4[:-1]])
def test_half_a_header_is_waited_for_only_so_long(behind, origin, start):
    """A header that does not come, or not to its end, is waited for as long as a handshake."""
    proxy = behind(origin(), settings={"timeouts": {"handshake": "300ms"}})
    with proxy.client() as peer:
        peer.send(start)
        begun = time.monotonic()
        assert peer.drain()[0] == b""
        assert 0.2 < time.monotonic() - begun < 8
    assert refused(proxy) == 1


def test_half_a_header_and_the_end_is_refused_at_once(behind, origin):
    """A connection that ends in its header is not waited for."""
    proxy = behind(origin())
    with proxy.client() as peer:
        peer.send(LINE[:20])
        peer.shut_write()
        assert peer.drain()[0] == b""
    waiting.until(lambda: refused(proxy) == 1, "it to be counted")


def test_who_only_looks_whether_the_port_is_open_is_not_counted(behind, origin):
    """A connection without a byte is no refused one, whether it is closed or reset."""
    proxy = behind(origin())
    proxy.client().close()
    proxy.client().reset()
    waiting.until(lambda: proxy.status()["metrics"]["connections_accepted"] == 2 and proxy.status()["metrics"]["connections_open"] == 0, "both to be over")
    assert refused(proxy) == 0


@pytest.mark.parametrize("header", [LINE, binary(0x21, 0x11, V4)])
def test_who_is_not_listed_cannot_speak_it(behind, origin, header):
    """From others a header is what it looks like without it: a malformed request; and plain requests are served."""
    server = origin()
    proxy = behind(server, from_=["10.0.0.0/8", "unix:"])
    with proxy.client() as peer:
        peer.send(header + GET)
        assert peer.response().status == 400
    assert server.requests == []
    assert proxy.get().status == 200
    assert server.requests[-1].headers.get("x-forwarded-for") == "127.0.0.1"
    metrics = proxy.status()["metrics"]
    assert (metrics["proxy_headers"], metrics["proxy_headers_refused"]) == (0, 0)


def test_a_second_header_is_a_bad_request(behind, origin):
    """There is one header on a connection; a client behind the proxy cannot add its own."""
    server = origin()
    with behind(server).client() as peer:
        peer.send(LINE + LINE.replace(b"192.0.2.7", b"127.0.0.1") + GET)
        assert peer.response().status == 400
    assert server.requests == []


@pytest.mark.parametrize("announced,client", [("192.0.2.7", "203.0.113.5"), ("198.51.100.1", "198.51.100.1")])
def test_trust_is_asked_about_the_announced_address(behind, origin, announced, client):
    """X-Forwarded-For is believed of a proxy that the header names, if [trust] does; not of the one who sent the header."""
    server = origin()
    proxy = behind(server, settings={"trust": {"forwarded_from": ["192.0.2.0/24", "127.0.0.1"]}})
    with proxy.client() as peer:
        peer.send(f"PROXY TCP4 {announced} 198.51.100.9 1 2\r\n")
        assert peer.request("GET", "/", [("X-Forwarded-For", "203.0.113.5")]).status == 200
    assert proxy.access_log(1)[-1]["client"] == client


def test_purges_are_judged_by_the_announced_address(behind, origin):
    """Behind a proxy on this machine nobody seems to be this machine: PURGE from outside stays refused."""
    proxy = behind(origin(), settings={"site": {"*": {"cache": True}}})
    for announced, status in (("192.0.2.7", 403), ("127.0.0.1", 404)):
        with proxy.client() as peer:
            peer.send(f"PROXY TCP4 {announced} 198.51.100.9 1 2\r\n")
            found = peer.request("PURGE", "/").status
            assert (found == 403) == (status == 403), found


def test_a_unix_socket_can_be_a_proxy(behind, origin, tmp_path):
    """"unix:" lists whoever comes over a Unix socket."""
    os.chmod(tmp_path, 0o755)
    path = str(tmp_path / "web.sock")
    server = origin()
    behind(server, from_=["unix:"], bind=f"unix:{path}")
    with RawClient(path) as peer:
        peer.send(LINE + GET)
        assert peer.response().status == 200
    assert server.requests[-1].headers.get("x-forwarded-for") == "192.0.2.7"
    with RawClient(path) as peer:
        peer.try_send(GET)
        assert peer.drain()[0] == b""


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_the_header_comes_before_tls(behind, origin, curl, version):
    """curl --haproxy-protocol over TLS, HTTP/1.1 and HTTP/2: the client is known and the handshake complete."""
    server = origin()
    proxy = behind(server, secure=True)
    done = curl(proxy, "/", "--haproxy-protocol", version, "-w", "%{http_version}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().endswith("2" if version == "--http2" else "1.1")
    assert proxy.status()["metrics"]["proxy_headers"] == 1
    assert server.requests[-1].headers.get("x-forwarded-for") == "127.0.0.1"
    refusal = curl(proxy, "/", version)
    assert refusal.returncode in (35, 56) and refused(proxy) == 1  # a ClientHello is no header


def test_curl_speaks_it(behind, origin):
    """curl --haproxy-protocol over plain HTTP."""
    server = origin()
    proxy = behind(server)
    done = subprocess.run(["curl", "-sS", "--haproxy-protocol", f"http://127.0.0.1:{proxy.port}/"], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, b"ok"), done.stderr


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"])
@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_haproxy_speaks_it(behind, origin, haproxy, option, mode):
    """HAProxy tells of its client in all its ways, checksum and further fields included, and its health checks are no clients."""
    server = origin()
    proxy = behind(server)
    port = waiting.free_port()
    proxies = haproxy(f"listen in\n    mode {mode}\n    bind 127.0.0.1:{port}\n    server ladle 127.0.0.1:{proxy.port} {option} check inter 100ms check-send-proxy\n"
                      + ("    option tcplog\n" if mode == "tcp" else ""), port)
    waiting.until(lambda: proxy.status()["metrics"]["proxy_headers"] >= 3, "some checks")
    with RawClient(proxies.address, source="127.0.0.3") as client:
        assert client.request("GET", "/", [("Connection", "close")]).status == 200
    assert server.requests[-1].headers.get("x-forwarded-for") == "127.0.0.3"
    assert refused(proxy) == 0 and len(server.requests) == 1
