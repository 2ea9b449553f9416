# SPDX-License-Identifier: Apache-2.0
"""Real servers: nginx, and nghttpd with trailers, echoed uploads and few streams; in the clear and over TLS."""

import subprocess

import pytest

from tests.e2e.http2_servers.conftest import metric
from tests.harness.h2_client import H2Client
from tests.harness.nginx_origin import NginxOrigin
from tests.harness.real_server import RealServer


class Nghttpd(RealServer):
    """nghttpd with these options, serving `folder`; `text` is its address."""

    def __init__(self, folder, *options, pair=None):
        super().__init__()
        tls = [pair[1], pair[0]] if pair else []
        self.start(["nghttpd", "-a", self.host, "-d", str(folder), *options, *([] if pair else ["--no-tls"]), str(self.port), *tls])


@pytest.fixture
def nghttpd(cleanup, tmp_path):
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(bytes(range(250)) * 20000)
    def make(*options, **more):
        cleanup.append(Nghttpd(tmp_path, *options, **more))
        return cleanup[-1]
    return make


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_nghttpd_with_trailers(nghttpd, before, authority, pair, is_encrypted):
    """Bodies whole, and the trailers behind them, over both."""
    server = nghttpd("--trailer", "x-sum: 42", pair=pair if is_encrypted else None)
    proxy = before(server, **({"tls": {"ca": authority.pem}} if is_encrypted else {}))
    with H2Client(proxy.address) as client:
        for path, size in (("/small", 5), ("/large", 5000000)):
            answer = client.get(path=path)
            assert answer.status == 200 and len(answer.body) == size and answer.trailers == [("x-sum", "42")]
    assert proxy.get("/none").status == 404


def test_nghttpd_echoes_what_is_uploaded(nghttpd, before):
    """A body of five megabytes comes back while it is sent, byte for byte."""
    proxy = before(nghttpd("--echo-upload"), route={"buffer": {"request": "stream"}})
    body = bytes(range(250)) * 20000
    result = subprocess.run(["curl", "-s", "-m", "60", "--http2-prior-knowledge", "--data-binary", "@-", f"http://127.0.0.1:{proxy.port}/echo"],
                            input=body, capture_output=True, check=True)
    assert result.stdout == body


def test_a_server_with_few_streams_gets_more_connections(nghttpd, before):
    """nghttpd allows two streams at once: eight requests at once take several connections, and all are answered."""
    proxy = before(nghttpd("-m", "2"), settings={"timeouts": dict.fromkeys(("connect", "response", "stall"), "30s")})  # 40 MB wait for places
    with H2Client(proxy.address) as client:
        streams = [client.start(path="/large") for _ in range(8)]
        answers = [client.response(stream) for stream in streams]
    assert [(answer.status, answer.reset, len(answer.body)) for answer in answers] == [(200, None, 5000000)] * 8
    assert 2 <= metric(proxy, "server_h2_connections") <= 8


def test_nginx_under_load_with_its_goaways(before, cleanup):
    """nginx leaves a connection after keepalive_requests, with GOAWAY in the middle of others: none of 4000 requests fails."""
    server = NginxOrigin(http2=True, requests=300)
    cleanup.append(server)
    proxy = before(server)
    text = subprocess.run(["h2load", "-c4", "-m20", "-n4000", f"http://127.0.0.1:{proxy.port}/1k"], capture_output=True, text=True, check=True).stdout
    assert "4000 succeeded" in text and "status codes: 4000 2xx" in text, text
    assert 4000 // 300 <= metric(proxy, "server_h2_connections") <= 40


def test_what_a_server_answers_is_cached(before, nginx_h2):
    """A fill takes its body from an HTTP/2 stream like from any other."""
    proxy = before(nginx_h2, route={"cache": True})
    for _ in range(2):
        answer = proxy.get("/cached/1m")
        assert answer.status == 200 and answer.body == nginx_h2.body("1m")
    assert "hit" in answer.headers.get("Cache-Status") and metric(proxy, "cache_stored") == 1
