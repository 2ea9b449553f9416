# SPDX-License-Identifier: Apache-2.0
"""What `ladle status` says of TLS: handshakes by outcome, the certificates that expire first, the library, the kernel's part."""

import datetime
import shutil
import socket
import ssl
import subprocess

import pytest

from tests.harness import waiting
from tests.harness.certificates import Authority, tls
from tests.harness.origin import reply


METRICS = {"left": "tls_failed_left", "nothing_common": "tls_failed_nothing_common", "client_certificate": "tls_failed_client_certificate",
           "refused": "tls_failed_refused", "malformed": "tls_failed_malformed", "local": "tls_failed_local", "timeout": "tls_timeouts", "not_tls": "tls_not_tls"}


def handshakes(proxy):
    return proxy.status()["tls"]["handshakes"]


def failed_once(proxy, reason):
    """Waits until one handshake has failed for that reason and none for another."""
    found = waiting.until(lambda: (failed := handshakes(proxy)["failed"])[reason] == 1 and failed, f"a handshake that failed as {reason}")
    assert {name: count for name, count in found.items() if count} == {reason: 1}
    metrics = proxy.status()["metrics"]
    assert {name: metrics[metric] for name, metric in METRICS.items()} == found
    assert metrics["tls_failed"] == (0 if reason in ("timeout", "not_tls") else 1)


def test_full_and_resumed_handshakes_and_their_versions(secure, origin):
    """Full and resumed handshakes are told apart, and so are TLS 1.2 and 1.3."""
    proxy = secure(origin(reply(b"x")))
    with proxy.secure(version=ssl.TLSVersion.TLSv1_2) as first:
        assert first.request().status == 200
        session = first.sock.session
    settings = first.settings
    sock = settings.wrap_socket(socket.create_connection(proxy.address, 10), server_hostname="site.test", session=session)
    assert sock.session_reused
    sock.close()
    with proxy.secure(version=ssl.TLSVersion.TLSv1_3) as third:
        assert third.request().status == 200
    found = waiting.until(lambda: (tls_ := proxy.status()["tls"])["versions"] == {"TLSv1.2": 2, "TLSv1.3": 1} and tls_, "three handshakes")
    assert (found["handshakes"]["full"], found["handshakes"]["resumed"]) == (2, 1)
    metrics = proxy.status()["metrics"]
    assert (metrics["tls_1_2"], metrics["tls_1_3"], metrics["tls_handshakes"]) == (2, 1, 3)
    human = proxy.command("status").stdout
    assert "handshakes full 2, resumed 1, TLS 1.3 1, TLS 1.2 2\n" in human


def test_a_client_that_leaves_is_counted_so(secure, origin):
    """Half a ClientHello and the end: left."""
    proxy = secure(origin())
    with socket.create_connection(proxy.address, 10) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    failed_once(proxy, "left")


def test_a_client_with_other_ciphers_is_counted_so(secure, origin, s_client):
    """Nothing in common: a cipher that we do not have."""
    proxy = secure(origin())
    s_client(proxy, "-tls1_2", "-cipher", "AES128-SHA")
    failed_once(proxy, "nothing_common")


def test_a_client_with_another_protocol_is_counted_so(secure, origin, s_client):
    """Nothing in common: by ALPN it speaks what we do not."""
    proxy = secure(origin())
    s_client(proxy, "-alpn", "imap")
    failed_once(proxy, "nothing_common")


def test_a_client_that_does_not_believe_us_is_counted_so(secure, origin, tmp_path):
    """A client that knows another CA refuses, and its alert is counted as that."""
    proxy = secure(origin())
    other = Authority(tmp_path, "Other CA")
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context(cafile=other.pem).wrap_socket(socket.create_connection(proxy.address, 10), server_hostname="site.test")
    found = waiting.until(lambda: sum(handshakes(proxy)["failed"].values()) and handshakes(proxy)["failed"], "a failed handshake")
    assert found["refused"] == 1


def test_a_client_without_its_certificate_is_counted_so(secure, origin, pair, authority, s_client):
    """Where clients must show a certificate, one that shows none is counted as that."""
    proxy = secure(origin(), site={"tls": tls(pair, client=authority.pem)})
    s_client(proxy, "-tls1_2")
    failed_once(proxy, "client_certificate")


def test_garbage_is_counted_so(secure, origin):
    """What is no TLS at all is malformed, and what is HTTP counts apart."""
    proxy = secure(origin())
    with socket.create_connection(proxy.address, 10) as sock:
        sock.sendall(b"\xff" * 300)
        sock.settimeout(10)
        while sock.recv(1000):
            pass
    failed_once(proxy, "malformed")


def test_plain_http_is_counted_so(secure, origin):
    """A request without TLS is neither begun nor failed."""
    proxy = secure(origin())
    with socket.create_connection(proxy.address, 10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"400" in sock.recv(1000)
    failed_once(proxy, "not_tls")


def test_certificates_by_expiry(secure, origin, authority):
    """Certificates come with their dates, the first to expire in front, each once; people are told of the first few."""
    days = {"a.test": 300, "b.test": 5, "c.test": 40, "d.test": 200}
    pairs = {name: authority.issue(name, days=count) for name, count in days.items()}
    server = origin()
    proxy = secure(server)
    listen = f"https://127.0.0.1:{proxy.port}"
    proxy.configure({"site": {name: {"listen": listen, "upstream": server.url, "tls": tls(pair)} for name, pair in pairs.items()}})
    proxy.configure({"site": {"*.a.test": {"listen": listen, "upstream": server.url, "tls": tls(pairs["a.test"])}}})
    assert proxy.reload().returncode == 0
    found = proxy.status()["tls"]
    assert [one["names"][0] for one in found["certificates"]] == ["b.test", "c.test", "site.test", "d.test", "a.test"]
    assert found["certificates_total"] == 5 and found["certificates"][0]["days_left"] in (4, 5)
    first = found["certificates"][0]
    assert first["key"] == "EC" and first["site"] == "b.test" and not first["is_expired"]
    written = subprocess.run(["openssl", "x509", "-in", pairs["b.test"][0], "-noout", "-enddate"], capture_output=True, text=True, check=True).stdout
    assert datetime.datetime.strptime(written.strip().split("=")[1], "%b %d %H:%M:%S %Y %Z").isoformat() + "Z" == first["expires"]
    human = proxy.command("status").stdout
    assert f"certificate of b.test (EC) expires {first['expires']}, SOON: in " in human


def test_many_certificates_are_a_bounded_list(secure, origin, authority, tmp_path):
    """Of more than a hundred certificates the hundred that expire first are listed, with how many there are."""
    cert, key = authority.issue("many.test")
    proxy = secure(origin())
    listen = f"https://127.0.0.1:{proxy.port}"
    for number in range(120):
        path = shutil.copy(cert, str(tmp_path / f"{number}.pem"))
        proxy.configure({"site": {f"n{number}.test": {"listen": listen, "upstream": "http://127.0.0.1:9", "tls": tls((path, key))}}})
    assert proxy.reload().returncode == 0
    found = proxy.status()["tls"]
    assert len(found["certificates"]) == 100 and found["certificates_total"] == 121
    assert "and 116 certificates that expire later" in proxy.command("status").stdout


def test_the_library_and_the_kernel(secure, origin):
    """The library's version is the one that runs; what the kernel could do is said with the reason."""
    found = secure(origin()).status()["tls"]
    assert found["library"].startswith("OpenSSL 3.")
    kernel = found["kernel_tls"]
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, 31, b"tls\0")
            can = True
        except OSError as error:
            can = error.errno == 107  # ENOTCONN: the module is there
    assert kernel["available"] == can and kernel["used"] is False and kernel["reason"]


def test_without_tls_nothing_is_said(ladle, origin):
    """A proxy without TLS has nothing to say of it."""
    proxy = ladle(origin())
    assert proxy.status()["tls"] is None and "\ntls\n" not in proxy.command("status").stdout
