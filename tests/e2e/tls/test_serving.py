# SPDX-License-Identifier: Apache-2.0
"""TLS to clients carries everything that plain HTTP carries."""

import asyncio
import hashlib
import os
import random
import ssl
import threading
import time

import pytest
import websockets

from tests.e2e.proxying.test_upgrade import EchoServer
from tests.harness import waiting
from tests.harness.certificates import tls
from tests.harness.origin import chunked_reply, reply
from tests.harness.raw_client import RawClient


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_gets_a_page_in_both_versions(secure, origin, curl, version):
    """curl gets a page over TLS 1.2 and 1.3, and the log says which version and cipher it was."""
    proxy = secure(origin(reply(b"hello")))
    done = curl(proxy, "/", f"--tlsv{version}", "--tls-max", version)
    assert (done.returncode, done.stdout) == (0, b"hello"), done.stderr
    assert proxy.status()["metrics"]["tls_handshakes"] == 1
    line = proxy.access_log(1)[-1]
    assert line["tls"] == f"TLSv{version}"
    assert "GCM" in line["cipher"] or "CHACHA20" in line["cipher"]


def test_older_versions_are_refused(secure, origin, s_client):
    """TLS 1.1 and 1.0 are not spoken."""
    proxy = secure(origin())
    for option in ("-tls1_1", "-tls1"):
        assert "Cipher is (NONE)" in s_client(proxy, option, "-cipher", "ALL:@SECLEVEL=0")


def test_the_server_is_told_https(secure, origin, curl):
    """The server learns from X-Forwarded-Proto and Forwarded that the client spoke TLS."""
    server = origin()
    assert curl(secure(server)).returncode == 0
    headers = server.requests[-1].headers
    assert headers.get("x-forwarded-proto") == "https"
    assert "proto=https" in headers.get("forwarded")


def test_an_https_target_is_no_misdirection_over_tls(secure, origin):
    """An absolute https:// target is taken on a connection that speaks TLS."""
    with secure(origin()).secure() as client:
        assert client.request("GET", "https://site.test/").status == 200


@pytest.mark.parametrize("size", [0, 1, 1000, 2866, 2867, 2868, 16384, 65535, 65536, 300_000, 5_000_000])
def test_bodies_of_any_length_arrive_whole(secure, origin, size):
    """A response body of any length arrives whole, also where it ends at the edge of a record."""
    body = os.urandom(size)
    with secure(origin(reply(body))).secure() as client:
        for _ in range(3):
            assert client.request().body == body


def test_large_uploads_arrive_whole(secure, origin, curl, tmp_path):
    """A request body of 20 MB arrives at the server whole."""
    server = origin(lambda request: reply(hashlib.sha256(request.body).hexdigest().encode()))
    data = os.urandom(20_000_000)
    (tmp_path / "upload").write_bytes(data)
    done = curl(secure(server), "/", "--data-binary", f"@{tmp_path}/upload")
    assert done.stdout.decode() == hashlib.sha256(data).hexdigest(), done.stderr


def test_chunked_bodies_and_trailers_pass(secure, origin):
    """A chunked response passes through, piece by piece."""
    pieces = [os.urandom(size) for size in (1, 5000, 70000, 3)]
    with secure(origin(chunked_reply(pieces))).secure() as client:
        assert client.request().body == b"".join(pieces)


@pytest.mark.parametrize("size", [1000, 40_000, 100_000, 3_000_000])
def test_cache_hits_are_the_same(secure, origin, size):
    """What the cache holds (beside the index, in a file, large) is served over TLS as it came."""
    body = os.urandom(size)
    server = origin(reply(body, headers=[("Cache-Control", "max-age=100")]))
    with secure(server, site={"cache": True}).secure() as client:
        for _ in range(4):
            assert client.request().body == body
        if size < 3_000_000:
            part = client.request("GET", "/", [("Range", "bytes=500-899")])
            assert part.body == body[500:900]
    assert len(server.requests) == 1


def test_a_slow_client_frees_the_server(secure, origin):
    """A client that reads slowly gets every byte, and the server was free long before."""
    body = os.urandom(8_000_000)
    server = origin(reply(body))
    proxy = secure(server)
    with proxy.secure(receive_buffer=4096) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: server.connections and server.connections[0].last_sent_at, "the server to be done")
        waiting.until(lambda: proxy.status()["metrics"]["spool_memory_bytes"] + proxy.status()["metrics"]["spool_disk_bytes"] > 1_000_000, "the spool")
        time.sleep(0.3)
        assert client.response().body == body


def test_a_cached_object_goes_to_slow_clients_whole(secure, origin):
    """Many clients that read slowly get the same cached object whole."""
    body = os.urandom(2_000_000)
    proxy = secure(origin(reply(body, headers=[("Cache-Control", "max-age=100")])), site={"cache": True})
    with proxy.secure() as client:
        assert client.request().body == body
    clients = [proxy.secure(receive_buffer=4096) for _ in range(8)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    time.sleep(0.3)
    for client in clients:
        assert client.response().body == body
        client.close()


def test_websocket_over_tls(secure, cleanup, authority):
    """A WebSocket passes through: text, binary and a megabyte."""
    cleanup.append(EchoServer())
    proxy = secure(cleanup[-1])

    async def talk():
        settings = ssl.create_default_context(cafile=authority.pem)
        async with websockets.connect(f"wss://127.0.0.1:{proxy.port}/chat", ssl=settings, server_hostname="site.test", max_size=None) as socket:
            for message in ("hello", b"\0\1\2", os.urandom(1 << 20)):
                await socket.send(message)
                assert await asyncio.wait_for(socket.recv(), waiting.PATIENCE) == message
    asyncio.run(talk())


def test_a_response_without_a_length_ends_with_close_notify(secure, origin):
    """A body that ends with the connection ends with close_notify; Python's ssl would raise without it."""
    server = origin(script=lambda connection: (connection.reader.request_head(), connection.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")))
    with secure(server).secure() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")
        whole = b""
        while piece := client.sock.recv(1000):
            whole += piece
    assert whole.endswith(b"until the end")


def test_a_cut_response_does_not_end_in_order(secure, origin):
    """A body without a length whose server breaks off is not ended with close_notify: the client sees that it was cut."""
    def play(connection):
        connection.reader.request_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        time.sleep(0.2)
        connection.reset()
    with secure(origin(script=play)).secure() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")
        with pytest.raises(OSError):
            while client.sock.recv(1000):
                pass


def test_pipelined_requests_are_answered_in_order(secure, origin):
    """Several requests in one record are answered in order."""
    with secure(origin(lambda request: reply(request.target.encode()))).secure() as client:
        client.send(b"".join(f"GET /{n} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode() for n in range(20)))
        assert [client.response().body for _ in range(20)] == [f"/{n}".encode() for n in range(20)]


def test_a_request_that_comes_byte_by_byte_is_served(secure, origin):
    """Each byte of the request in a record of its own."""
    with secure(origin(reply(b"fine"))).secure() as client:
        client.trickle(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n", 0.001)
        assert client.response().body == b"fine"


def test_plain_http_is_told_to_speak_tls(secure, origin):
    """Plain HTTP on the TLS port gets a 400 that says so, and is counted."""
    proxy = secure(origin())
    with RawClient(proxy.address) as client:
        answer = client.request()
        assert answer.status == 400 and b"https://" in answer.body
    assert proxy.access_log(1)[-1]["reason"] == "not_tls"
    assert proxy.status()["metrics"]["tls_not_tls"] == 1


GARBAGE = {
    "nothing": b"", "zeros": b"\0" * 500, "a record of something else": b"\x16\x03\x01\x00\x05hello",
    "a record too long": b"\x16\x03\x01\xff\xff" + b"x" * 3000, "noise": random.Random(1).randbytes(2000),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_counted_and_harmless(secure, origin, garbage):
    """Nothing, and bytes that are no TLS, end the connection, are counted, and disturb nobody."""
    proxy = secure(origin(), {"timeouts": {"handshake": "1s"}})
    with RawClient(proxy.address) as client:
        client.send(garbage)
        client.shut_write()
        client.drain()
    waiting.until(lambda: proxy.status()["metrics"]["tls_failed"] + proxy.status()["metrics"]["tls_not_tls"] == 1, "the count")
    with proxy.secure() as client:
        assert client.request().status == 200


def test_a_handshake_that_takes_too_long_is_ended(secure, origin):
    """A client that does not go on with its handshake is closed after timeouts.handshake, and counted."""
    proxy = secure(origin(), {"timeouts": {"handshake": "300ms"}})
    with RawClient(proxy.address) as client:
        assert client.is_closed()
    assert proxy.status()["metrics"]["tls_timeouts"] == 1


def test_many_clients_at_once(secure, origin):
    """A hundred clients shake hands at once and are all served."""
    proxy = secure(origin(reply(b"x" * 20000)), {"server": {"workers": 2}})
    failures = []

    def run():
        try:
            with proxy.secure() as client:
                for _ in range(3):
                    assert len(client.request().body) == 20000
        except Exception as error:
            failures.append(error)
    threads = [threading.Thread(target=run) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_plain_http_is_redirected(secure, origin):
    """The site's plain address answers 308 with the same URL over https, and with redirect = false it serves."""
    plain = waiting.free_port()
    server = origin()
    proxy = secure(server)
    listen = [f"https://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{plain}"]
    proxy.configure({"site": {"*": {"listen": listen}}})
    assert proxy.reload().returncode == 0
    with RawClient(("127.0.0.1", plain)) as client:
        answer = client.request("GET", "/a/b?c=d")
        assert (answer.status, answer.headers.get("location")) == (308, f"https://site.test:{proxy.port}/a/b?c=d")
        assert client.request("POST", "/x", body=b"123").status == 308
    assert not server.requests
    proxy.configure({"site": {"*": {"tls": {"redirect": False}}}})
    assert proxy.reload().returncode == 0
    with RawClient(("127.0.0.1", plain)) as client:
        assert client.request().status == 200


def test_hsts_is_sent_over_tls_alone(secure, origin, pair):
    """hsts = "365d" adds Strict-Transport-Security over TLS, and to the redirect of plain HTTP it does not."""
    plain = waiting.free_port()
    proxy = secure(origin(), site={"tls": tls(pair, hsts="365d")})
    proxy.configure({"site": {"*": {"listen": [f"https://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{plain}"]}}})
    assert proxy.reload().returncode == 0
    with proxy.secure() as client:
        assert client.request().headers.get("strict-transport-security") == "max-age=31536000"
    with RawClient(("127.0.0.1", plain)) as client:
        assert not client.request().headers.has("strict-transport-security")


def test_http2_is_agreed_on_by_alpn(secure, origin, curl):
    """curl and ALPN agree on HTTP/2, and the log and the server hear of it."""
    server = origin(reply(b"hello"))
    proxy = secure(server)
    done = curl(proxy, "/", "--http2", "-w", "%{http_version}")
    assert (done.returncode, done.stdout) == (0, b"hello2"), done.stderr
    assert server.requests[0].headers.get("X-Forwarded-Proto") == "https"
    line = proxy.access_log(1)[-1]
    assert line["protocol"] == "HTTP/2.0" and line["tls"].startswith("TLSv1")
