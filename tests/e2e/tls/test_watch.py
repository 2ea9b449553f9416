# SPDX-License-Identifier: Apache-2.0
"""`watch = true`: certificates that are replaced on disk are taken by themselves; what does not fit, and what was not asked for, is not."""

import os
import shutil
import time

import pytest

from tests.e2e.tls.conftest import TlsClient
from tests.harness import waiting
from tests.harness.certificates import tls
from tests.harness.origin import reply


def serial(proxy, name="site.test", authority=None):
    with (TlsClient(proxy.address, authority, name=name) if authority else proxy.secure()) as client:
        return client.sock.getpeercert()["serialNumber"]


def replace(source, target):
    """As those who renew certificates do: under another name first."""
    shutil.copy(source, target + ".new")
    os.rename(target + ".new", target)


@pytest.fixture
def files(authority, tmp_path):
    """A certificate and its key in files of this test's own, and a pair to replace them by."""
    renewed = authority.issue("site.test.renewed", ["site.test"])
    cert, key = authority.issue("site.test.first", ["site.test"])
    return shutil.copy(cert, str(tmp_path / "a.pem")), shutil.copy(key, str(tmp_path / "a.key")), renewed


def test_a_replaced_pair_is_taken(secure, origin, files):
    """Clients get the new certificate soon after both files were replaced; connections go on, and nobody reloaded."""
    cert, key, renewed = files
    proxy = secure(origin(reply(b"x")), {"tls": {"watch": True}}, certificate=(cert, key))
    before = serial(proxy)
    with proxy.secure() as old:
        assert old.request().status == 200
        replace(renewed[0], cert)
        replace(renewed[1], key)
        waiting.until(lambda: serial(proxy) != before, "the new certificate")
        assert old.request().status == 200
    assert proxy.status()["config"]["last_reload"]["ok"]
    assert proxy.status()["config"]["generation"] == 2


def test_a_half_replaced_pair_waits_for_its_other_half(secure, origin, files):
    """A certificate without its key is not taken, with one warning; when its key comes, both are."""
    cert, key, renewed = files
    proxy = secure(origin(reply(b"x")), {"tls": {"watch": True}}, certificate=(cert, key))
    before = serial(proxy)
    replace(renewed[0], cert)
    waiting.until(lambda: "a replaced certificate is not taken" in proxy.output(), "the warning")
    time.sleep(3)
    assert serial(proxy) == before and proxy.output().count("a replaced certificate is not taken") == 1
    replace(renewed[1], key)
    waiting.until(lambda: serial(proxy) != before, "the new certificate")


def test_garbage_is_not_taken_and_does_not_hold_up_others(secure, origin, files, authority, tmp_path):
    """A file that is being written, or was ruined, keeps the old certificate; another site's renewal is taken meanwhile."""
    cert, key, renewed = files
    server = origin(reply(b"x"))
    proxy = secure(server, {"tls": {"watch": True}}, certificate=(cert, key))
    first, second = authority.issue("other.first", ["other.test"]), authority.issue("other.second", ["other.test"])
    other = tuple(shutil.copy(path, str(tmp_path / f"o{number}")) for number, path in enumerate(first))
    proxy.configure({"site": {"other.test": {"listen": f"https://127.0.0.1:{proxy.port}", "upstream": server.url, "tls": tls(other)}}})
    assert proxy.reload().returncode == 0
    mine, others = serial(proxy), serial(proxy, "other.test", authority)
    with open(cert, "w", encoding="ascii") as file:
        file.write("-----BEGIN CERTIFICATE-----\nMIIB")
    for source, target in zip(second, other):
        replace(source, target)
    waiting.until(lambda: serial(proxy, "other.test", authority) != others, "the other site's certificate")
    assert serial(proxy) == mine
    replace(renewed[0], cert)
    replace(renewed[1], key)
    waiting.until(lambda: serial(proxy) != mine, "the new certificate")


def test_the_configuration_file_is_not_taken_with_it(secure, origin, files):
    """What stands in the configuration file, unfinished perhaps, does not come into force with a certificate."""
    cert, key, renewed = files
    proxy = secure(origin(reply(b"x")), {"tls": {"watch": True}}, certificate=(cert, key))
    before = serial(proxy)
    proxy.write("this = is [not finished")
    replace(renewed[0], cert)
    replace(renewed[1], key)
    waiting.until(lambda: serial(proxy) != before, "the new certificate")
    proxy.configure({})
    assert proxy.status()["config"]["last_reload"]["ok"]


def test_a_removed_file_changes_nothing(secure, origin, files):
    """Files that are gone leave what was read of them in force."""
    cert, key, _ = files
    proxy = secure(origin(reply(b"x")), {"tls": {"watch": True}}, certificate=(cert, key))
    before = serial(proxy)
    os.remove(cert)
    os.remove(key)
    time.sleep(3)
    assert serial(proxy) == before and proxy.status()["config"]["generation"] == 1


def test_without_watch_nothing_is_taken(secure, origin, files):
    """Without `watch` a replaced certificate waits for `ladle reload`."""
    cert, key, renewed = files
    proxy = secure(origin(reply(b"x")), certificate=(cert, key))
    before = serial(proxy)
    replace(renewed[0], cert)
    replace(renewed[1], key)
    time.sleep(4)
    assert serial(proxy) == before
    assert proxy.reload().returncode == 0 and serial(proxy) != before


def test_it_goes_on_after_an_upgrade(secure, origin, files):
    """What was replaced while the program was upgraded is taken afterwards."""
    cert, key, renewed = files
    proxy = secure(origin(reply(b"x")), {"tls": {"watch": True}}, certificate=(cert, key))
    before = serial(proxy)
    assert proxy.command("upgrade").returncode == 0
    replace(renewed[0], cert)
    replace(renewed[1], key)
    waiting.until(lambda: serial(proxy) != before, "the new certificate")
