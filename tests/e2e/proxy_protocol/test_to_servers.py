# SPDX-License-Identifier: Apache-2.0
"""Servers are told with a PROXY header who the client is, and no connection serves two clients."""

import os

import pytest

from tests.harness import waiting
from tests.harness.certificates import tls
from tests.harness.origin import reply
from tests.harness.raw_client import RawClient
from tests.harness.real_server import RealServer

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def heads(origin_of, headers):
    """An origin whose connections begin with a PROXY header; each is added to `headers`."""
    def take(reader, size):
        while len(reader.buffer) < size:
            data = reader.sock.recv(4096)
            if not data:
                raise ConnectionError("ended in the header")
            reader.buffer += data
        head, reader.buffer[:] = bytes(reader.buffer[:size]), reader.buffer[size:]
        return head

    def script(connection):
        reader = connection.reader
        start = take(reader, 12)
        if start == SIGNATURE:
            rest = take(reader, 4)
            headers.append(start + rest + take(reader, int.from_bytes(rest[2:], "big")))
        else:
            while not start.endswith(b"\r\n"):
                start += take(reader, 1)
            headers.append(start)
        while reader.at_start():
            connection.origin.record(connection, reader.request())
            connection.send(reply())
    return origin_of(script=script)


def settings_for(server, version, **more):
    return {"upstream": {"app": {"servers": [server.text], "proxy_protocol": version, **more}}, "site": {"*": {"upstream": "app"}}}


@pytest.fixture
def told(ladle, origin):
    """make(version, **settings) → (proxy, origin, the headers that came)"""
    def make(version, settings=None, **more):
        headers = []
        server = heads(origin, headers)
        proxy = ladle(server, {**settings_for(server, version, **more), **(settings or {})})
        return proxy, server, headers
    return make


def test_version_1_says_who_came_and_where(told):
    """The line has the client's address and port, and where it connected to."""
    proxy, _, headers = told("v1")
    with RawClient(proxy.address, source="127.0.0.3") as client:
        port = client.sock.getsockname()[1]
        assert client.request().status == 200
    assert headers == [f"PROXY TCP4 127.0.0.3 127.0.0.1 {port} {proxy.port}\r\n".encode()]


def test_version_2_says_the_same(told):
    """The same in version 2's bytes."""
    proxy, _, headers = told("v2")
    with RawClient(proxy.address, source="127.0.0.3") as client:
        port = client.sock.getsockname()[1]
        assert client.request().status == 200
    ends = bytes([127, 0, 0, 3, 127, 0, 0, 1]) + port.to_bytes(2, "big") + proxy.port.to_bytes(2, "big")
    assert headers == [SIGNATURE + b"\x21\x11\x00\x0c" + ends]


def test_a_connection_serves_one_client_alone(told):
    """A client's next request goes over its own kept connection, another client's never."""
    proxy, server, headers = told("v1")
    with RawClient(proxy.address) as first, RawClient(proxy.address) as second:
        for _ in range(3):
            assert first.request().status == 200
            assert second.request().status == 200
    assert len(headers) == len(set(headers)) == len(server.connections) == 2
    assert [len(connection.requests) for connection in server.connections] == [3, 3]
    assert proxy.status()["metrics"]["server_connections_reused"] == 4


def test_a_client_that_a_trusted_proxy_names_is_announced(told):
    """Who [trust] says the client is, the server is told, with port 0 as nobody knows it."""
    proxy, _, headers = told("v1", {"trust": {"forwarded_from": ["127.0.0.1"]}})
    for client in ("203.0.113.5", "2001:db8::5"):
        assert proxy.get("/", headers=[("X-Forwarded-For", client)]).status == 200
    assert headers[0] == f"PROXY TCP4 203.0.113.5 127.0.0.1 0 {proxy.port}\r\n".encode()
    assert headers[1] == f"PROXY TCP6 2001:db8::5 ::ffff:127.0.0.1 0 {proxy.port}\r\n".encode()


def test_what_a_header_told_us_is_passed_on(told):
    """In a row of proxies both ends of the first connection arrive."""
    proxy, _, headers = told("v1")
    proxy.configure({"listen": {"in": {"bind": [f"127.0.0.1:{proxy.port}"], "proxy_protocol": {"from": ["127.0.0.1"]}}}, "site": {"*": {"listen": "in"}}})
    assert proxy.reload().returncode == 0
    line = b"PROXY TCP4 192.0.2.7 198.51.100.9 5500 443\r\n"
    with proxy.client() as client:
        client.send(line)
        assert client.request().status == 200
    assert headers == [line]


def test_a_client_on_a_unix_socket_is_nobody(told, tmp_path):
    """Where the client has no address, the header says so."""
    os.chmod(tmp_path, 0o755)
    path = str(tmp_path / "web.sock")
    for version, expected in (("v1", b"PROXY UNKNOWN\r\n"), ("v2", SIGNATURE + b"\x20\x00\x00\x00")):
        proxy, _, headers = told(version)
        proxy.configure({"site": {"*": {"listen": f"http://unix:{path}"}}})
        assert proxy.reload().returncode == 0
        with RawClient(path) as client:
            assert client.request().status == 200
        assert headers == [expected]
        proxy.stop()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_takes_it(ladle, haproxy, version):
    """HAProxy with accept-proxy knows the client by it."""
    port = waiting.free_port()
    haproxy(f"frontend in\n    bind 127.0.0.1:{port} accept-proxy\n    http-request return status 200 content-type text/plain lf-string %[src],%[src_port],%[dst_port]\n", port)
    settings = {"upstream": {"app": {"servers": [f"127.0.0.1:{port}"], "proxy_protocol": version}}, "site": {"*": {"upstream": "app"}}}
    proxy = ladle(f"http://127.0.0.1:{port}", settings)
    with RawClient(proxy.address, source="127.0.0.3") as client:
        for _ in range(2):
            assert client.request().text == f"127.0.0.3,{client.sock.getsockname()[1]},{proxy.port}"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_it_comes_before_tls(ladle, haproxy, authority, version):
    """To a server that speaks TLS the header comes first, in the clear."""
    cert, key = authority.issue("server.test", ["server.test"])
    both = cert + ".both"
    with open(both, "w", encoding="ascii") as out:
        out.write(open(cert, encoding="ascii").read() + open(key, encoding="ascii").read())
    port = waiting.free_port()
    haproxy(f"frontend in\n    bind 127.0.0.1:{port} accept-proxy ssl crt {both}\n    http-request return status 200 content-type text/plain lf-string %[src]\n", port)
    upstream = {"servers": [f"https://127.0.0.1:{port}"], "proxy_protocol": version, "tls": {"ca": authority.pem, "sni": "server.test"}}
    proxy = ladle(f"http://127.0.0.1:{port}", {"upstream": {"app": upstream}, "site": {"*": {"upstream": "app"}}})
    with RawClient(proxy.address, source="127.0.0.3") as client:
        for _ in range(2):
            assert client.request().text == "127.0.0.3"


NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log stderr; {user}
events {{ worker_connections 100; }}
http {{
    access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    server {{
        listen {text} proxy_protocol;
        set_real_ip_from 127.0.0.0/8; real_ip_header proxy_protocol;
        location / {{ return 200 "$remote_addr $proxy_protocol_port $proxy_protocol_server_port"; }}
    }}
}}
"""


class Nginx(RealServer):
    """Answers with the client that a PROXY header names."""

    def __init__(self):
        super().__init__()
        with open(f"{self.dir}/nginx.conf", "w", encoding="ascii") as conf:
            conf.write(NGINX.format(dir=self.dir, text=self.text, user="user root;" if os.geteuid() == 0 else ""))
        self.start(["/usr/sbin/nginx", "-e", "stderr", "-c", conf.name])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_takes_it(ladle, cleanup, version):
    """nginx with "listen … proxy_protocol" knows the client by it."""
    server = Nginx()
    cleanup.append(server)
    proxy = ladle(f"http://{server.text}", {"upstream": {"app": {"servers": [server.text], "proxy_protocol": version}}, "site": {"*": {"upstream": "app"}}})
    with RawClient(proxy.address, source="127.0.0.3") as client:
        for _ in range(2):
            assert client.request().text == f"127.0.0.3 {client.sock.getsockname()[1]} {proxy.port}"
