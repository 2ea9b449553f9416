# SPDX-License-Identifier: Apache-2.0
"""What TLS costs is bounded: memory of idle connections, thousands of certificates."""

import os
import resource
import shutil
import signal
import socket
import ssl
import time

import pytest

from tests.e2e.tls.conftest import TlsClient
from tests.harness import waiting
from tests.harness.h2_client import H2Frames
from tests.harness.ladle import IS_SANITIZED, cpu_seconds, memory_kib
from tests.harness.origin import reply

BODY = b"x" * 3000
measured = pytest.mark.skipif(IS_SANITIZED, reason="the sanitizer's memory is not ours")


class Http1Asker:
    """A connection that asks for the same again and again."""

    def __init__(self, proxy, **options):
        self.client = proxy.secure(**options)

    def ask(self):
        assert self.client.request().status == 200


class Http2Asker:
    """The same over HTTP/2."""

    def __init__(self, proxy):
        self.client, self.frames = proxy.secure(protocols=["h2"]), H2Frames()
        self.client.sock.sendall(self.frames.opening())

    def ask(self):
        self.client.sock.sendall(self.frames.request_frames(scheme="https")[1])
        got = b""
        while BODY not in got:
            part = self.client.sock.recv(65536)
            assert part
            got += part


@measured
@pytest.mark.parametrize("connect, most", [
    (lambda proxy: Http1Asker(proxy, version=ssl.TLSVersion.TLSv1_2), 10.5), (lambda proxy: Http1Asker(proxy, version=ssl.TLSVersion.TLSv1_3), 11.5), (Http2Asker, 15),
], ids=["tls 1.2", "tls 1.3", "http/2"])
def test_an_idle_connection_holds_little(secure, origin, connect, most):
    """A thousand connections that have been idle for a second or two hold at most so many KiB each, all told, and go on when they are used again."""
    count = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * count)), hard))
    proxy = secure(origin(reply(BODY)), {"timeouts": {"idle": "10m"}})
    worker = proxy.workers()[0]
    warm = [connect(proxy) for _ in range(50)]
    for asker in warm:
        asker.ask()
    before = memory_kib(worker, "Private_Dirty")
    askers = [connect(proxy) for _ in range(count)]
    for asker in askers:
        asker.ask()

    def each():
        return (memory_kib(worker, "Private_Dirty") - before) / count
    try:
        waiting.until(lambda: each() <= most, "idle connections to give back what they do not need")
    finally:
        print(f"{each():.1f} KiB an idle connection")
    for asker in askers:
        asker.ask()
    waiting.until(lambda: each() <= most, "them to give it back again")
    for asker in askers + warm:
        asker.client.close()


def test_idle_connections_end_as_they_should(secure, origin):
    """A connection that rests hears close_notify at its idle timeout, not just an end."""
    proxy = secure(origin(), {"timeouts": {"idle": "3s"}})
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with proxy.secure(version=version) as client:
            assert client.request().status == 200
            assert client.sock.recv(1) == b""  # an end without close_notify raises SSLEOFError


def with_sites(secure, origin, pair, folder, count):
    """A proxy with so many sites, each with files of its own."""
    server = origin()
    for number in range(count):
        shutil.copy(pair[0], folder / f"{number}.pem")
        shutil.copy(pair[1], folder / f"{number}.key")
    proxy = secure(server)
    proxy.many = {f"n{number}.site.test": {"listen": f"https://127.0.0.1:{proxy.port}", "upstream": server.url,
                                           "tls": {"cert": str(folder / f"{number}.pem"), "key": f"file:{folder / f'{number}.key'}"}} for number in range(count)}
    return proxy


@measured
def test_a_thousand_certificates(secure, origin, authority, pair, tmp_path):
    """A thousand sites with a certificate each cost `reload` less than a second; what their certificates cost a worker, beside the sites, is below 1 MiB."""
    proxy = with_sites(secure, origin, pair, tmp_path, 1000)
    listen = f"http://127.0.0.1:{waiting.free_port()}"
    proxy.configure({"site": {name: {"listen": listen, "upstream": site["upstream"]} for name, site in proxy.many.items()}})

    def reload():
        """Seconds of CPU that it takes, and KiB of the worker once it has let go of the configuration before, after 5 s."""
        pids = [proxy.pid, *proxy.children()]
        began = sum(cpu_seconds(pid) for pid in pids)
        done = proxy.command("reload", timeout=300)
        took = sum(cpu_seconds(pid) for pid in pids) - began
        assert done.returncode == 0, done.stderr[-2000:]
        time.sleep(6)
        return took, memory_kib(proxy.workers()[0], "Private_Dirty")
    reload()
    _, without = reload()
    proxy.configure({"site": proxy.many})
    took, with_certificates = reload()
    print(f"reload {took * 1000:.0f} ms, {with_certificates - without} KiB more")
    for number in (0, 500, 999):
        with TlsClient(proxy.address, authority, name=f"n{number}.site.test") as client:
            assert client.request(host=f"n{number}.site.test").status == 200
    assert with_certificates - without < 1024


def test_ten_thousand_certificates_load(secure, origin, authority, pair, tmp_path):
    """Ten thousand sites with a certificate each load, twice, and are served; the master, which reads their files, stays below 200 MiB."""
    proxy = with_sites(secure, origin, pair, tmp_path, 10_000)
    proxy.configure({"site": proxy.many})
    done = proxy.command("reload", timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    for number in (0, 5000, 9999):
        with TlsClient(proxy.address, authority, name=f"n{number}.site.test") as client:
            assert client.request(host=f"n{number}.site.test").status == 200
    assert proxy.command("reload", timeout=300).returncode == 0
    if not IS_SANITIZED:
        assert memory_kib(proxy.pid, "Private_Dirty") < 200 << 10


def test_a_chain_of_visits_to_many_sites(secure, origin, authority, pair, tmp_path):
    """More certificates in use than a worker keeps parsed: each visit is served all the same."""
    proxy = with_sites(secure, origin, pair, tmp_path, 300)
    proxy.configure({"site": proxy.many})
    assert proxy.reload().returncode == 0
    for number in [*range(300), *range(0, 300, 7)]:
        with TlsClient(proxy.address, authority, name=f"n{number}.site.test") as client:
            assert client.request(host=f"n{number}.site.test").status == 200


def test_a_flood_of_handshakes_leaves_others_alone(secure, origin, authority):
    """While hundreds of clients shake hands at once, steps are put off, and everybody is served."""
    proxy = secure(origin())
    worker = proxy.workers()[0]
    os.kill(worker, signal.SIGSTOP)  # so that all are there when it looks, however slowly they come
    clients = [socket.create_connection(proxy.address, 10) for _ in range(300)]
    hello = client_hello()
    for sock in clients:
        sock.sendall(hello)
    os.kill(worker, signal.SIGCONT)
    with proxy.secure() as client:
        assert client.request().status == 200
    for sock in clients:
        sock.close()
    assert proxy.status()["metrics"]["tls_put_off"] > 0


def client_hello():
    """What a client of Python's ssl sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="site.test")
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
