# SPDX-License-Identifier: Apache-2.0
"""Private keys in a device (SoftHSM2 through PKCS#11): they never leave it, and whatever it does, nobody else waits."""

import os
import signal
import ssl
import threading
import time

import pytest

from tests.e2e.tls.conftest import TlsClient
from tests.e2e.tls.test_resumption import visit
from tests.harness import waiting
from tests.harness.certificates import tls
from tests.harness.ladle import Ladle
from tests.harness.softhsm import MODULE, Token

SIGNER = "ladle: signer"


@pytest.fixture
def with_device(cleanup, authority, token, origin):
    """make(kinds) → a Ladle: site "*" has its keys in the token, site "file.test" in a file"""
    def make(kinds=("ec",), pin="env:LADLE_TEST_PIN", settings=None):
        certs, keys = [], []
        for number, kind in enumerate(kinds, 1):
            cert, key = authority.issue(f"device-{kind}.test", ["site.test"], kind=kind)
            certs.append(cert)
            keys.append(token.take(key, kind, f"0{number}"))
        server = origin()
        proxy = Ladle(server, None, start=False)
        cleanup.append(proxy)
        listen = f"https://127.0.0.1:{proxy.port}"
        proxy.configure({"tls": {"device": {"module": MODULE, "pin": pin}},
                         "site": {"*": {"listen": listen, "tls": {"cert": certs, "key": keys}},
                                  "file.test": {"listen": listen, "upstream": server.url, "tls": tls(authority.issue("file.test"))}}})
        proxy.configure(settings or {})
        proxy.secure = lambda **options: TlsClient(proxy.address, authority, **options)
        return proxy.start()
    return make


def metrics(proxy):
    return proxy.status()["metrics"]


def signers(proxy):
    """The signers of all workers."""
    found = []
    for pid in proxy.workers().values():
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            found += [int(child) for child in file.read().split()]
    return found


def fails(proxy):
    try:
        proxy.secure().close()
        return False
    except (ssl.SSLError, OSError):
        return True


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_the_device_signs(with_device, authority, kind, version):
    """A key in the device serves like one in a file, in both versions, and a resumed session needs no signature."""
    proxy = with_device([kind])
    context = ssl.create_default_context(cafile=authority.pem)
    is_resumed, session = visit(proxy, version, context)
    assert not is_resumed and metrics(proxy)["tls_device_signatures"] == 1
    assert visit(proxy, version, context, session)[0]
    found = metrics(proxy)
    assert (found["tls_device_signatures"], found["tls_device_failures"], found["tls_failed"]) == (1, 0, 0)


def test_certificates_of_both_kinds_and_many_clients(with_device):
    """RSA and ECDSA side by side in the device; fifty handshakes at once all end well."""
    proxy = with_device(["ec", "rsa"])
    outcomes = []

    def visit(ciphers):
        with proxy.secure(version=ssl.TLSVersion.TLSv1_2, before=lambda settings: settings.set_ciphers(ciphers)) as client:
            outcomes.append((client.request().status, client.sock.cipher()[0].split("-")[1]))

    threads = [threading.Thread(target=visit, args=(f"ECDHE-{kind}-AES128-GCM-SHA256",)) for kind in ("ECDSA", "RSA") for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [(200, "ECDSA")] * 25 + [(200, "RSA")] * 25
    assert metrics(proxy)["tls_device_signatures"] == 50


def test_the_pin_stays_secret(with_device, tmp_path):
    """The PIN from a file works too, and stands in no log, status or message; in the configuration itself it is refused unseen."""
    pin = tmp_path / "pin"
    pin.write_text(Token.PIN + "\n")
    proxy = with_device(pin=f"file:{pin}")
    with proxy.secure() as client:
        assert client.request().status == 200
    proxy.configure({"tls": {"device": {"pin": Token.PIN}}})
    refusal = proxy.command("check")
    assert refusal.returncode != 0 and "does not stand in the configuration itself" in refusal.stdout + refusal.stderr
    shown = refusal.stdout + refusal.stderr + proxy.output() + str(proxy.status()) + str(proxy.access_log(1))
    assert Token.PIN not in shown
    for pid in signers(proxy):
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            assert line.read().startswith(SIGNER.encode())


def test_kinds_of_keys_that_a_device_cannot_have_here(ladle, authority):
    """`ladle check` refuses a key in a device that is neither RSA nor EC, and asks no device for the others."""
    for kind, is_good in (("ed25519", False), ("ec", True)):
        proxy = ladle(start=False)
        proxy.configure({"site": {"*": {"listen": f"https://127.0.0.1:{proxy.port}", "upstream": "http://127.0.0.1:1",
                                        "tls": {"cert": authority.issue(f"kind-{kind}.test", kind=kind)[0], "key": "pkcs11:object=nowhere"}}}})
        done = proxy.command("check")
        assert (done.returncode == 0) == is_good, done.stdout + done.stderr
        assert ("of the kind RSA or EC" in done.stdout + done.stderr) != is_good


def test_a_wrong_pin_hurts_nobody_else(with_device, tmp_path):
    """A device that does not open fails its own certificate's handshakes, counted and logged; other certificates are served."""
    pin = tmp_path / "pin"
    pin.write_text("wrong")
    proxy = with_device(pin=f"file:{pin}")
    assert fails(proxy)
    waiting.until(lambda: metrics(proxy)["tls_device_failures"] == metrics(proxy)["tls_failed"] == 1, "the failure to be counted")
    waiting.until(lambda: all(line in proxy.output() for line in ("a device that keeps private keys does not work",
                                                                  "the device that keeps the key made no signature")), "both processes to say so")
    with proxy.secure(name="file.test") as client:
        assert client.request(host="file.test").status == 200


def test_a_device_that_goes_and_comes_back(with_device, token):
    """Without its device a certificate cannot be used; with it again it can, after a second at the most."""
    proxy = with_device()
    with proxy.secure() as client:
        assert client.request().status == 200
    token.hide()
    for pid in signers(proxy):
        os.kill(pid, signal.SIGKILL)
    waiting.until(lambda: fails(proxy), "a handshake to fail")
    assert metrics(proxy)["tls_device_failures"] >= 1
    with proxy.secure(name="file.test") as client:
        assert client.request(host="file.test").status == 200
    token.show()
    waiting.until(lambda: not fails(proxy), "the device to be used again")
    assert len(proxy.workers()) == 1 and "crash" not in proxy.output()


def test_a_killed_signer_is_replaced(with_device):
    """The process that speaks to the device may die at any time: the next handshake has another."""
    proxy = with_device()
    for _ in range(3):
        waiting.until(lambda: not fails(proxy), "a handshake")
        [pid] = waiting.until(lambda: signers(proxy), "a signer")
        os.kill(pid, signal.SIGKILL)
        waiting.until(lambda: pid not in signers(proxy), "it to be gone")


def test_a_hanging_device_holds_nobody_up(with_device):
    """While the device hangs the worker serves others at once, ten of them before who waits for it is refused, after five seconds; and it is begun anew."""
    proxy = with_device(settings={"timeouts": {"handshake": "20s"}})
    assert not fails(proxy)
    [pid] = signers(proxy)
    os.kill(pid, signal.SIGSTOP)
    outcome = []
    waiter = threading.Thread(target=lambda: outcome.append((fails(proxy), time.monotonic())))
    begun = time.monotonic()
    waiter.start()
    waiting.until(lambda: metrics(proxy)["tls_handshakes"] == 2, "it to wait")
    for _ in range(10):
        with proxy.secure(name="file.test") as client:
            assert client.request(host="file.test").status == 200
    assert not outcome, "they were answered while the other one waited"
    waiter.join()
    assert outcome[0][0] and 4 < outcome[0][1] - begun < 15, "refused before its handshake's time was over"
    waiting.until(lambda: "it does not answer" in proxy.output(), "the line in the log")
    waiting.until(lambda: not fails(proxy), "another signer")
    assert pid not in signers(proxy)


def test_clients_that_leave_while_the_device_is_asked(with_device):
    """A handshake whose client goes, or whose time is over, is given up, and its late signature is nobody's."""
    proxy = with_device(settings={"timeouts": {"handshake": "3s"}})
    assert not fails(proxy)
    [pid] = signers(proxy)
    os.kill(pid, signal.SIGSTOP)
    threads = [threading.Thread(target=fails, args=(proxy,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting.until(lambda: metrics(proxy)["connections_open"] == 0, "all to be over")
    assert metrics(proxy)["tls_timeouts"] == 10
    os.kill(pid, signal.SIGCONT)
    waiting.until(lambda: not fails(proxy), "the device to be used again")
    assert signers(proxy) == [pid]


def test_a_worker_takes_its_signer_along(with_device):
    """No signer outlives its worker, or the configuration that it was for."""
    proxy = with_device()
    assert not fails(proxy)
    [first] = signers(proxy)
    assert proxy.reload().returncode == 0
    assert not fails(proxy)
    waiting.until(lambda: len(signers(proxy)) == 1 and first not in signers(proxy), "the old one to be gone", 15)
    [second] = signers(proxy)
    os.kill(proxy.workers()[0], signal.SIGKILL)
    waiting.until(lambda: not os.path.exists(f"/proc/{second}"), "the signer to be gone")
    waiting.until(lambda: not fails(proxy), "the next worker")
