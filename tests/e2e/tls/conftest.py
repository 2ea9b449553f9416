# SPDX-License-Identifier: Apache-2.0
"""Certificates for the tests of this folder, and clients that speak TLS."""

import os
import ssl
import subprocess

import pytest

from tests.harness.certificates import Authority, tls
from tests.harness.ladle import Ladle
from tests.harness.raw_client import RawClient
from tests.harness.softhsm import Token
from tests.harness.wire import Reader


class TlsClient(RawClient):
    """A RawClient over Python's ssl."""

    def __init__(self, address, authority, name="site.test", session=None, protocols=(), version=None, before=None, **more):
        super().__init__(address, **more)
        self.settings = ssl.create_default_context(cafile=authority.pem)
        if protocols:
            self.settings.set_alpn_protocols(list(protocols))
        if version:
            self.settings.minimum_version = self.settings.maximum_version = version
        if name is None:
            self.settings.check_hostname = False
        if before:
            before(self.settings)
        self.sock = self.settings.wrap_socket(self.sock, server_hostname=name, session=session, suppress_ragged_eofs=False)
        self.reader = Reader(self.sock)


def names_of(client):
    """The host names in the certificate that the client was shown."""
    return sorted(value for kind, value in client.sock.getpeercert()["subjectAltName"] if kind == "DNS")


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pair(authority):
    return authority.issue("site.test", ["site.test", "*.site.test"])


@pytest.fixture(scope="session")
def rsa_pair(authority):
    return authority.issue("rsa.site.test", ["site.test", "*.site.test"], kind="rsa")


@pytest.fixture
def token(cleanup, monkeypatch):
    """A device; its PIN stands in LADLE_TEST_PIN."""
    cleanup.append(Token())
    monkeypatch.setenv("SOFTHSM2_CONF", cleanup[-1].conf)
    monkeypatch.setenv("LADLE_TEST_PIN", Token.PIN)
    return cleanup[-1]


@pytest.fixture
def secure(cleanup, authority, pair):
    """make(upstream, settings, site, certificate) → a Ladle whose site "*" speaks TLS on `port`"""
    def make(upstream=None, settings=None, site=None, certificate=None, **more):
        proxy = Ladle(upstream, None, start=False, **more)
        cleanup.append(proxy)
        target = {} if upstream is None else {"upstream": upstream if isinstance(upstream, str) else upstream.url}
        proxy.configure({"site": {"*": {"listen": f"https://127.0.0.1:{proxy.port}", "tls": tls(certificate or pair), **target, **(site or {})}}})
        proxy.configure(settings or {})
        proxy.secure = lambda **options: TlsClient(proxy.address, authority, **options)
        return proxy.start()
    return make


@pytest.fixture
def curl(authority):
    """curl(proxy, path, *arguments) → the finished process; for https://site.test:PORT"""
    def run(proxy, path="/", *arguments, host="site.test", timeout=60):
        line = ["curl", "-sS", "--cacert", authority.pem, "--resolve", f"{host}:{proxy.port}:127.0.0.1", *arguments, f"https://{host}:{proxy.port}{path}"]
        return subprocess.run(line, capture_output=True, timeout=timeout, check=False)
    return run


@pytest.fixture
def s_client(authority):
    """s_client(proxy, *arguments, send=b"") → what openssl s_client says, as text"""
    def run(proxy, *arguments, send="", name="site.test"):
        line = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", "-servername", name, "-CAfile", authority.pem, *map(str, arguments)]
        done = subprocess.run(line, input=send, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "LC_ALL": "C"})
        return done.stdout + done.stderr
    return run
