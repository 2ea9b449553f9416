# SPDX-License-Identifier: Apache-2.0
"""Clients that show certificates: who is let in, what servers are told, and that nobody gets round it."""

import socket
import ssl

import pytest

from tests.e2e.tls.conftest import TlsClient
from tests.harness import waiting
from tests.harness.certificates import Authority, openssl, tls
from tests.harness.raw_client import RawClient
from tests.harness.wire import Reader


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """A CA for clients, with the pairs "anna" and "bert"."""
    made = Authority(tmp_path_factory.mktemp("clients"), "Client CA")
    made.anna, made.bert = made.issue("anna"), made.issue("bert")
    return made


def showing(pair):
    return lambda settings: settings.load_cert_chain(*pair)


def is_refused(proxy, **options):
    """Whether the handshake fails, at its end or, in TLS 1.3, at the first read."""
    try:
        with proxy.secure(**options) as client:
            client.request()
        return False
    except (OSError, EOFError, RuntimeError):
        return True
    except Exception as error:
        return type(error).__name__ in ("Closed", "WireError")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_only_who_shows_a_good_certificate_is_let_in(secure, origin, clients, pair, authority, version):
    """client = CA: a client with a certificate of that CA is served, and the server told who it is; others fail the handshake."""
    server = origin()
    proxy = secure(server, site={"tls": tls(pair, client=clients.pem)})
    with proxy.secure(version=version, before=showing(clients.anna)) as client:
        assert client.request("GET", "/", [("X-Client-Subject", "CN=root"), ("X_Client_Subject", "CN=root")]).status == 200
    names = [(name.lower().replace("_", "-"), value) for name, value in server.requests[-1].headers]
    assert [value for name, value in names if name == "x-client-subject"] == ["CN=anna"]
    count = len(server.requests)
    assert is_refused(proxy, version=version)
    assert is_refused(proxy, version=version, before=showing(authority.issue("mallory")))
    assert len(server.requests) == count
    waiting.until(lambda: proxy.status()["metrics"]["tls_failed"] == 2, "the counts")


def test_a_mirror_is_told_who_the_client_is_too(secure, origin, clients, pair):
    """The copy of a request names the subject of the client's certificate, and not what the client writes itself."""
    server, shadow = origin(), origin()
    proxy = secure(server, site={"tls": tls(pair, client={"ca": clients.pem, "required": False}), "mirror": shadow.url})
    with proxy.secure(before=showing(clients.anna)) as client:
        assert client.request("GET", "/anna", [("X-Client-Subject", "CN=root")]).status == 200
    with proxy.secure() as client:
        assert client.request("GET", "/nobody", [("X-Client-Subject", "CN=root")]).status == 200
    told = {request.target: request.headers.all("X-Client-Subject") for request in shadow.wait_requests(2)}
    assert told == {"/anna": ["CN=anna"], "/nobody": []}


def test_optional_certificates(secure, origin, clients, pair):
    """required = false: without a certificate the server is told nobody's name, whatever the client writes."""
    server = origin()
    proxy = secure(server, site={"tls": tls(pair, client={"ca": clients.pem, "required": False, "header": "X-Who"})})
    with proxy.secure() as client:
        assert client.request("GET", "/", [("X-Who", "CN=root")]).status == 200
    assert not server.requests[-1].headers.has("x-who")
    with proxy.secure(before=showing(clients.bert)) as client:
        assert client.request().status == 200
    assert server.requests[-1].headers.get("x-who") == "CN=bert"


def test_nobody_else_names_the_client(secure, origin, clients, pair):
    """What the server could take for what it is told of the client does not pass, neither in the head nor behind the body."""
    server = origin()
    proxy = secure(server, site={"tls": tls(pair, client={"ca": clients.pem, "required": False, "header": "X-Who"})})
    claims = b"X-Who: CN=root\r\nx_who: CN=root\r\nX_Forwarded_For: 10.0.0.1\r\n"
    with proxy.secure() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nTransfer-Encoding: chunked\r\n" + claims + b"\r\n0\r\n" + claims + b"X-Sum: 1\r\n\r\n")
        assert client.response().status == 200
    names = [name.lower() for name, _ in server.requests[-1].headers]
    assert not {"x-who", "x_who", "x_forwarded_for"} & set(names)
    assert list(server.requests[-1].trailers) == [("X-Sum", "1")]


def test_a_resumed_session_is_still_somebody(secure, origin, clients, pair, authority):
    """A session that is resumed has the subject of its certificate."""
    server = origin()
    proxy = secure(server, site={"tls": tls(pair, client=clients.pem)})
    context = ssl.create_default_context(cafile=authority.pem)
    context.load_cert_chain(*clients.anna)
    session = None
    resumed = []
    for _ in range(3):
        with socket.create_connection(proxy.address, 10) as plain, context.wrap_socket(plain, server_hostname="site.test", session=session) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
            assert Reader(sock).response("GET").status == 200
            resumed.append(sock.session_reused)
            session = sock.session
        assert server.requests[-1].headers.get("x-client-subject") == "CN=anna"
    assert resumed[1:] == [True, True]


def test_another_sites_connection_is_misdirected(ladle, origin, clients, pair, authority):
    """Who shook hands for the site without client certificates gets 421 from the one with them, and the other way round; on plain HTTP nothing gets past either."""
    proxy = ladle(start=False)
    server = origin()
    plain = waiting.free_port()
    listen = [f"https://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{plain}"]
    proxy.configure({"site": {"site.test": {"listen": listen, "upstream": server.url, "tls": tls(pair, redirect=False)},
                              "in.site.test": {"listen": listen, "upstream": server.url, "tls": tls(pair, redirect=False, client=clients.pem)}}})
    proxy.start()
    with TlsClient(proxy.address, authority, name="site.test", before=showing(clients.anna)) as client:
        assert client.request(host="site.test").status == 200
        assert client.request(host="in.site.test").status == 421
    with TlsClient(proxy.address, authority, name="in.site.test", before=showing(clients.anna)) as client:
        assert client.request(host="in.site.test").status == 200
        assert client.request(host="site.test").status == 421
    with RawClient(("127.0.0.1", plain)) as client:
        assert client.request(host="in.site.test").status == 421
        assert client.request(host="site.test").status == 200


def test_a_session_of_one_site_opens_no_other(ladle, origin, clients, pair, authority):
    """A session from the site without client certificates is not resumed by the one with them."""
    proxy = ladle(start=False)
    listen, server = f"https://127.0.0.1:{proxy.port}", origin()
    proxy.configure({"site": {"site.test": {"listen": listen, "upstream": server.url, "tls": tls(pair)},
                              "in.site.test": {"listen": listen, "upstream": server.url, "tls": tls(pair, client={"ca": clients.pem, "required": False})}}})
    proxy.start()
    context = ssl.create_default_context(cafile=authority.pem)
    session = None
    for name in ("site.test", "in.site.test"):
        with socket.create_connection(proxy.address, 10) as plain, context.wrap_socket(plain, server_hostname=name, session=session) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert Reader(sock).response("GET").status == 200
            assert not sock.session_reused
            session = sock.session


def test_a_revoked_certificate_is_refused_after_reload(secure, origin, clients, pair, tmp_path):
    """A revocation list refuses those that it names, and a new one counts from `reload` on."""
    (tmp_path / "index").write_text("")
    (tmp_path / "ca.cnf").write_text(f"[ca]\ndefault_ca = d\n[d]\ndatabase = {tmp_path}/index\ndefault_md = sha256\ndefault_crl_days = 30\n")
    crl = tmp_path / "crl.pem"

    def make_list():
        openssl("ca", "-config", tmp_path / "ca.cnf", "-gencrl", "-keyfile", clients.key, "-cert", clients.pem, "-out", crl)
    make_list()
    proxy = secure(origin(), site={"tls": tls(pair, client={"ca": clients.pem, "crl": str(crl)})})
    for who in (clients.anna, clients.bert):
        assert not is_refused(proxy, before=showing(who))
    openssl("ca", "-config", tmp_path / "ca.cnf", "-revoke", clients.bert[0], "-keyfile", clients.key, "-cert", clients.pem)
    make_list()
    assert proxy.reload().returncode == 0
    assert not is_refused(proxy, before=showing(clients.anna))
    assert is_refused(proxy, before=showing(clients.bert))
