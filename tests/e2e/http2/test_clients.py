# SPDX-License-Identifier: Apache-2.0
"""Real clients speak HTTP/2 with nothing to configure: curl, nghttp, h2load."""

import subprocess

import pytest

from tests.harness.origin import reply


def run(*line, data=None):
    result = subprocess.run(line, capture_output=True, timeout=60, check=False, input=data)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


@pytest.fixture
def proxy(ladle, origin):
    return ladle(origin(lambda request: reply(request.body or request.target.encode() * 3000)))


def test_curl(proxy):
    """curl gets a page, uploads a megabyte, and follows HEAD."""
    url = f"http://127.0.0.1:{proxy.port}"
    assert run("curl", "-sS", "--http2-prior-knowledge", url + "/x") == b"/x" * 3000
    body = bytes(range(256)) * 4096
    assert run("curl", "-sS", "--http2-prior-knowledge", "--data-binary", "@-", url + "/up", data=body) == body
    assert run("curl", "-sS", "--http2-prior-knowledge", "-I", url + "/x").startswith(b"HTTP/2 200")


def test_curl_streams_an_upload_of_unknown_length(proxy):
    """An upload without a length: curl's -T from a pipe."""
    body = b"0123456789" * 100000
    assert run("curl", "-sS", "--http2-prior-knowledge", "-X", "POST", "-T", "-", f"http://127.0.0.1:{proxy.port}/up", data=body) == body


def test_nghttp(proxy):
    """nghttp gets several pages at once on one connection."""
    urls = [f"http://127.0.0.1:{proxy.port}/{number}" for number in range(20)]
    assert len(run("nghttp", *urls)) == sum(len(f"/{number}") * 3000 for number in range(20))


@pytest.mark.parametrize("streams", [1, 10, 100])
def test_h2load(proxy, streams):
    """h2load's requests all succeed, with many streams at once, small windows and large."""
    for more in ((), ("-w", "10", "-W", "10"), ("-w", "24", "-W", "24")):
        out = run("h2load", "-n", "1000", "-c", "5", "-m", str(streams), *more, f"http://127.0.0.1:{proxy.port}/page").decode()
        assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out


def test_h2load_on_the_cache(ladle, origin):
    """Hits of 1 KB, 64 KB and 1 MB under load are complete."""
    server = origin(lambda request: reply(b"x" * int(request.target[1:]), headers=[("Cache-Control", "max-age=60")]))
    proxy = ladle(server, {"site": {"*": {"cache": True}}})
    for size, count in ((1024, 2000), (65536, 500), (1048576, 100)):
        out = run("h2load", "-n", str(count), "-c", "4", "-m", "10", f"http://127.0.0.1:{proxy.port}/{size}").decode()
        assert f"{count} succeeded, 0 failed" in out and f"({size * count}) data" in out, out
    assert len(server.requests) == 3
