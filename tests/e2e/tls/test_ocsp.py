# SPDX-License-Identifier: Apache-2.0
"""OCSP stapling: the caretaker asks a real responder (openssl ocsp), workers show what it said, and nothing that is not good."""

import datetime
import re
import signal
import socket
import subprocess
import time

import pytest

from tests.harness import waiting
from tests.harness.certificates import Authority, openssl, tls
from tests.harness.origin import reply


class Responder:
    """`openssl ocsp` for the certificates of one CA, on a port of its own; restart() reads what has become of them."""

    def __init__(self, authority, folder, *arguments):
        self.authority = authority
        self.port = waiting.free_port()
        self.url = f"http://127.0.0.1:{self.port}/ocsp"
        self.arguments = arguments
        self.index = folder / "index.txt"
        self.entries = {}
        self.process = None

    def issue(self, name, **more):
        """A pair for `name` whose certificate names this responder, with the CA's behind it."""
        cert, key = self.authority.issue(f"ocsp.{name}", [name], extensions=[f"authorityInfoAccess=OCSP;URI:{self.url}"], **more)
        with open(cert, "a", encoding="ascii") as chain, open(self.authority.pem, encoding="ascii") as issuer:
            chain.write(issuer.read())
        self.entries[openssl("x509", "-in", cert, "-noout", "-serial").strip().split("=")[1]] = ("V", "")
        return cert, key

    def revoke(self):
        self.entries = {serial: ("R", "250101000000Z") for serial in self.entries}

    def start(self, *more, signer=None):
        lines = [f"{state}\t491231235959Z\t{when}\t{serial}\tunknown\t/CN=x\n" for serial, (state, when) in self.entries.items()]
        self.index.write_text("".join(lines))
        pem, key = signer or (self.authority.pem, self.authority.key)
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(["openssl", "ocsp", "-index", self.index, "-port", str(self.port), "-rsigner", pem, "-rkey", key,
                                         "-CA", self.authority.pem, *(more or self.arguments or ("-ndays", "1"))], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "waiting for OCSP client connections" not in (line := self.process.stderr.readline()):
            assert line, "the responder does not start"  # it is not to be probed: a client that asks nothing stops it
        return self

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process.stderr.close()
            self.process = None

    close = stop


@pytest.fixture
def responder(cleanup, authority, tmp_path):
    made = Responder(authority, tmp_path)
    cleanup.append(made)
    return made


def staple(s_client, proxy, *arguments):
    """What a client is shown: the status, and until when; None where it is nothing."""
    text = s_client(proxy, "-status", *arguments)
    if "OCSP response: no response sent" in text:
        return None
    assert "OCSP Response Status: successful" in text, text
    return re.search(r"Cert Status: (\w+)", text)[1], re.search(r"Next Update: (.*)", text)[1]


def wait_for_staple(s_client, proxy, deadline=15):
    return waiting.until(lambda: staple(s_client, proxy), "a staple", deadline)


def wait_for_failure(proxy):
    waiting.until(lambda: proxy.status()["metrics"]["ocsp_failed"] > 0, "a question that failed")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_clients_are_shown_what_the_responder_said(secure, origin, responder, s_client, version, kind):
    """A client that asks is shown the CA's word that the certificate is good; one that does not ask is shown nothing."""
    pair = responder.issue("site.test", kind=kind)
    responder.start()
    proxy = secure(origin(reply(b"x")), certificate=pair)
    assert wait_for_staple(s_client, proxy)[0] == "good"
    assert staple(s_client, proxy, version)[0] == "good"
    assert "OCSP" not in s_client(proxy, version)
    found = proxy.status()
    assert found["metrics"]["tls_stapled"] >= 1 and found["metrics"]["ocsp_fetched"] == 1
    until = datetime.datetime.fromisoformat(found["tls"]["certificates"][0]["ocsp_until"].rstrip("Z"))
    assert datetime.timedelta(hours=23) < until - datetime.datetime.utcnow() < datetime.timedelta(hours=25)
    assert "OCSP answer good until" in proxy.command("status").stdout


def test_a_certificate_without_a_responder(secure, origin, s_client):
    """A certificate that names no responder is served without: nothing is asked, nothing is shown."""
    proxy = secure(origin())
    assert staple(s_client, proxy) is None
    metrics = proxy.status()["metrics"]
    assert (metrics["ocsp_fetched"], metrics["ocsp_failed"]) == (0, 0)


def test_it_can_be_switched_off(secure, origin, responder, s_client):
    """`ocsp = false`: the responder is not asked, and after a reload to that nothing is shown any more."""
    pair = responder.issue("site.test")
    responder.start()
    proxy = secure(origin(), certificate=pair)
    wait_for_staple(s_client, proxy)
    proxy.configure({"tls": {"ocsp": False}})
    assert proxy.reload().returncode == 0
    waiting.until(lambda: staple(s_client, proxy) is None, "no staple")
    proxy.configure({"site": {"*": {"tls": {**tls(pair), "ocsp": True}}}})
    assert proxy.reload().returncode == 0
    wait_for_staple(s_client, proxy)


def test_a_revoked_certificate_is_not_shown_as_good(secure, origin, responder, s_client):
    """What the CA has revoked is served without a staple, and the log says so."""
    pair = responder.issue("site.test")
    responder.revoke()
    responder.start()
    proxy = secure(origin(), certificate=pair)
    wait_for_failure(proxy)
    assert staple(s_client, proxy) is None
    assert "a certificate has been revoked by its CA" in proxy.output()


def test_one_that_the_responder_does_not_know(secure, origin, responder, s_client):
    """"unknown" is not shown."""
    pair = responder.issue("site.test")
    responder.entries.clear()
    responder.start()
    proxy = secure(origin(), certificate=pair)
    wait_for_failure(proxy)
    assert staple(s_client, proxy) is None
    assert "the responder does not know the certificate" in proxy.output()


def test_an_answer_of_somebody_else_is_not_shown(secure, origin, responder, s_client, tmp_path):
    """An answer that the issuer has not signed, nor somebody whom it has authorised, is not shown."""
    pair = responder.issue("site.test")
    other = Authority(tmp_path, "Other CA")
    responder.start(signer=(other.pem, other.key))
    proxy = secure(origin(), certificate=pair)
    wait_for_failure(proxy)
    assert staple(s_client, proxy) is None
    assert "its signature is not good" in proxy.output()


def test_a_delegated_responder(secure, origin, responder, authority, s_client):
    """An answer signed by a certificate that the issuer has made for that purpose (RFC 6960 §4.2.2.2) is shown; by one for another purpose it is not."""
    pair = responder.issue("site.test")
    responder.start(signer=authority.issue("plain.test"))
    proxy = secure(origin(), certificate=pair)
    wait_for_failure(proxy)
    assert staple(s_client, proxy) is None
    responder.stop()
    responder.start(signer=authority.issue("ocsp.test", extensions=["extendedKeyUsage=OCSPSigning"]))
    assert wait_for_staple(s_client, proxy, 25)[0] == "good"


def test_a_responder_that_is_down_at_first(secure, origin, responder, s_client):
    """Ladle serves without a staple while the responder is down, and with one soon after it is up."""
    pair = responder.issue("site.test")
    proxy = secure(origin(reply(b"x")), certificate=pair)
    wait_for_failure(proxy)
    with proxy.secure() as client:
        assert client.request().status == 200
    assert proxy.output().count("no OCSP answer that can be shown") == 1
    responder.start()
    assert wait_for_staple(s_client, proxy, 25)[0] == "good"
    assert "answers again" in proxy.output()


HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n"
ODD = {"garbage": HEAD + b"garbage", "an error": b"HTTP/1.0 500 No\r\n\r\n", "no HTTP": b"\x00" * 300, "without end": HEAD + b"0\x84\x7f\xff\xff\xff" + b"x" * 2_000_000,
       "nothing": b""}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD.keys())
def test_odd_answers(secure, origin, authority, s_client, answer):
    """Garbage, errors, answers without end: nothing is shown, and the caretaker lives."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        cert, key = authority.issue("odd.site.test", ["site.test"], extensions=[f"authorityInfoAccess=OCSP;URI:http://localhost:{server.getsockname()[1]}/"])
        with open(cert, "a", encoding="ascii") as chain, open(authority.pem, encoding="ascii") as issuer:
            chain.write(issuer.read())
        server.settimeout(waiting.PATIENCE)
        proxy = secure(origin(), certificate=(cert, key))
        caretaker = proxy.status()["caretaker"]["pid"]
        peer, _ = server.accept()
        with peer:
            peer.settimeout(waiting.PATIENCE)
            question = peer.recv(4000)
            assert question.startswith(b"POST / HTTP/1.0\r\n") and b"application/ocsp-request" in question
            try:
                peer.sendall(answer)
            except OSError:
                pass
        wait_for_failure(proxy)
        assert staple(s_client, proxy) is None
        assert proxy.status()["caretaker"]["pid"] == caretaker and proxy.status()["restarts"] == 0


def test_a_responder_that_says_nothing(secure, origin, authority):
    """A responder that takes the question and is silent is given up after ten seconds; names are resolved and clients served meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        cert, key = authority.issue("silent.site.test", ["site.test"], extensions=[f"authorityInfoAccess=OCSP;URI:http://127.0.0.1:{server.getsockname()[1]}/"])
        with open(cert, "a", encoding="ascii") as chain, open(authority.pem, encoding="ascii") as issuer:
            chain.write(issuer.read())
        proxy = secure(origin(reply(b"x")), certificate=(cert, key))
        with proxy.secure() as client:
            assert client.request().status == 200
        assert proxy.status()["caretaker"]["heartbeat_age_ms"] < 5000
        waiting.until(lambda: proxy.status()["metrics"]["ocsp_failed"] == 1, "the question to be given up", 15)
        assert "it took too long" in proxy.output()


def test_it_is_renewed_before_its_time_is_over(secure, origin, responder, s_client):
    """An answer that is good for a minute is asked for again after half of it, and clients are shown the newer one."""
    pair = responder.issue("site.test")
    responder.start("-nmin", "1")
    proxy = secure(origin(), certificate=pair)
    first = wait_for_staple(s_client, proxy)
    newer = waiting.until(lambda: (found := staple(s_client, proxy)) != first and found, "a newer staple", 45)
    assert newer and newer[0] == "good"


def test_it_is_not_shown_when_its_time_is_over(secure, origin, responder, s_client):
    """With the responder gone the last answer is shown until its time is over, and not longer."""
    pair = responder.issue("site.test")
    responder.start("-nmin", "1")
    proxy = secure(origin(), certificate=pair)
    began = time.monotonic()
    assert wait_for_staple(s_client, proxy)
    responder.stop()
    wait_for_failure_at = waiting.until(lambda: proxy.status()["metrics"]["ocsp_failed"] > 0 and time.monotonic(), "a renewal that failed", 45)
    assert staple(s_client, proxy) is not None and wait_for_failure_at - began < 45
    waiting.until(lambda: staple(s_client, proxy) is None, "the staple to be withheld", 45)
    assert time.monotonic() - began > 50


def test_it_outlives_the_caretaker(secure, origin, responder, s_client):
    """A caretaker that is killed leaves its answers to the workers, and its successor does not ask again before it is time."""
    pair = responder.issue("site.test")
    responder.start()
    proxy = secure(origin(), certificate=pair)
    wait_for_staple(s_client, proxy)
    before = proxy.status()["caretaker"]["pid"]
    subprocess.run(["kill", "-9", str(before)], check=True)
    assert staple(s_client, proxy)[0] == "good"
    waiting.until(lambda: (found := proxy.status()["caretaker"]) and found["pid"] != before and found["state"] == "ready", "another caretaker")
    assert staple(s_client, proxy)[0] == "good"
    assert proxy.status()["metrics"]["ocsp_fetched"] == 1
