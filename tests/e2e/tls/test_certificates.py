# SPDX-License-Identifier: Apache-2.0
"""Which certificate a client is shown, and what is wrong with certificates is said before anything serves them."""

import os
import shutil
import ssl

import pytest

from tests.e2e.tls.conftest import TlsClient, names_of
from tests.harness import waiting
from tests.harness.certificates import openssl, tls
from tests.harness.ladle import Ladle
from tests.harness.origin import reply


@pytest.fixture(scope="module")
def pairs(authority):
    return {name: authority.issue(name.replace("*", "star"), [name]) for name in ("a.test", "*.a.test", "b.test", "other.test")}


@pytest.fixture
def sites(ladle, origin, pairs):
    """Sites a.test, *.a.test and b.test on one port, and plain.test without TLS on another."""
    proxy = ladle(start=False)
    listen, plain = f"https://127.0.0.1:{proxy.port}", f"http://127.0.0.1:{waiting.free_port()}"
    server = origin()
    proxy.configure({"site": {name: {"listen": listen, "upstream": server.url, "tls": tls(pairs[name])} for name in ("b.test", "*.a.test", "a.test")}})
    proxy.configure({"site": {"plain.test": {"listen": plain, "upstream": server.url}}})
    return proxy.start()


@pytest.mark.parametrize("name,shown", [("a.test", "a.test"), ("A.Test", "a.test"), ("x.a.test", "*.a.test"), ("b.test", "b.test"),
                                        ("unknown.test", "b.test"), (None, "b.test"), ("plain.test", "b.test")])
def test_the_certificate_is_chosen_by_name(sites, authority, name, shown):
    """SNI chooses: the exact name, then the wildcard; any other name, or none, gets the first site of the file."""
    with TlsClient(sites.address, authority, name=name, before=lambda settings: setattr(settings, "check_hostname", False)) as client:
        assert names_of(client) == [shown]


def test_requests_go_to_the_site_of_their_host(sites, authority):
    """On one connection each request goes to the site that its Host names; without client certificates that is no misdirection."""
    with TlsClient(sites.address, authority, name="a.test") as client:
        for host, status in (("a.test", 200), ("b.test", 200), ("x.a.test", 200), ("nobody.test", 404)):
            assert client.request(host=host).status == status


def test_rsa_and_ecdsa_side_by_side(secure, origin, s_client, pair, rsa_pair):
    """A site with both kinds of key shows a client the one that it can check."""
    proxy = secure(origin(), certificate=[rsa_pair, pair])
    assert "Peer signature type: ECDSA" in s_client(proxy, "-sigalgs", "ECDSA+SHA256")
    assert "Peer signature type: RSA-PSS" in s_client(proxy, "-sigalgs", "RSA-PSS+SHA256")
    assert "ECDHE-RSA" in s_client(proxy, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    assert "ECDHE-ECDSA" in s_client(proxy, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")


def test_the_chain_is_sent(secure, origin, s_client, authority, pair, tmp_path):
    """What stands behind the certificate in its file is sent with it."""
    chain = tmp_path / "chain.pem"
    chain.write_text(open(pair[0]).read() + open(authority.pem).read())
    said = s_client(secure(origin(), certificate=(str(chain), pair[1])), "-showcerts")
    assert said.count("-----BEGIN CERTIFICATE-----") == 2


def test_a_key_in_the_certificates_file(secure, origin, curl, pair, tmp_path):
    """Without "key" the key stands in the certificate's file."""
    both = tmp_path / "both.pem"
    both.write_text(open(pair[0]).read() + open(pair[1]).read())
    proxy = secure(origin())
    proxy.settings["site"]["*"]["tls"] = {"cert": str(both)}
    proxy.configure({})
    assert proxy.reload().returncode == 0
    assert curl(proxy).returncode == 0


def test_a_replaced_certificate_is_taken_by_reload(secure, origin, authority, tmp_path):
    """Certificate and key replaced on disk are shown after `reload`; connections that are open go on."""
    cert, key = tmp_path / "c.pem", tmp_path / "c.key"

    def put(pair):
        cert.write_text(open(pair[0]).read())
        key.write_text(open(pair[1]).read())
    put(authority.issue("first.test", ["site.test", "first.test"]))
    proxy = secure(origin(), certificate=(str(cert), str(key)))
    with proxy.secure() as before:
        assert "first.test" in names_of(before)
        put(authority.issue("second.test", ["site.test", "second.test"]))
        assert proxy.reload().returncode == 0
        assert before.request().status == 200
        with proxy.secure() as after:
            assert "second.test" in names_of(after)
        assert before.request().status == 200


def test_a_bad_certificate_on_disk_keeps_the_old_one(secure, origin, authority, tmp_path):
    """A reload with a key that does not fit is refused, says where, and everything goes on with the old one."""
    first, second = authority.issue("one.test", ["site.test", "one.test"]), authority.issue("two.test", ["site.test", "two.test"])
    cert, key = tmp_path / "c.pem", tmp_path / "c.key"
    cert.write_text(open(first[0]).read())
    key.write_text(open(first[1]).read())
    proxy = secure(origin(), certificate=(str(cert), str(key)))
    cert.write_text(open(second[0]).read())
    done = proxy.reload()
    assert done.returncode == 1
    assert "the private key does not belong to the certificate" in done.stdout + done.stderr
    with proxy.secure() as client:
        assert "one.test" in names_of(client)


def check(tmp_path, tls_setting, listen="https://127.0.0.1:4433"):
    """What `ladle check` says of a site with that tls."""
    proxy = Ladle(start=False)
    try:
        proxy.configure({"site": {"site.test": {"listen": listen, "upstream": "http://127.0.0.1:1", **({"tls": tls_setting} if tls_setting else {})}}})
        done = proxy.command("check")
        return done.returncode, done.stdout + done.stderr
    finally:
        proxy.stop()


def test_check_says_what_is_wrong(tmp_path, authority, pair, rsa_pair):
    """`ladle check` says with file, line and column what is wrong with certificates and keys."""
    junk = tmp_path / "junk.pem"
    junk.write_text("hello\n")
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:secret", "-out", locked)
    short = authority.issue("short.test", ["site.test"], kind="rsa1024")
    cert, key = pair
    cases = [
        ({"cert": cert, "key": f"file:{rsa_pair[1]}"}, "the private key does not belong to the certificate"),
        ({"cert": cert, "key": key}, f'write "file:{key}"'),
        ({"cert": cert, "key": f"file:{locked}"}, "the private key is encrypted with a password"),
        ({"cert": cert}, "there is no private key in PEM form for it"),
        ({"cert": str(junk), "key": f"file:{key}"}, "the file holds no certificate in PEM form"),
        ({"cert": str(tmp_path / "none.pem"), "key": f"file:{key}"}, "No such file"),
        ({"cert": [cert, cert], "key": [f"file:{key}", f"file:{key}"]}, "there are two certificates with EC keys"),
        ({"cert": [cert], "key": [f"file:{key}", f"file:{key}"]}, "there are 1 certificates and 2 keys"),
        ({"redirect": True}, "has no certificate"),
        (tls(short), "an RSA key of 1024 bits is too short"),
    ]
    for setting, words in cases:
        code, said = check(tmp_path, setting)
        assert code == 1 and words in said and "ladle.toml:" in said, said
    assert "has no certificate" in check(tmp_path, None)[1]
    assert "listens on no address with TLS" in check(tmp_path, tls(pair), "http://127.0.0.1:8080")[1]
    assert check(tmp_path, tls(pair))[0] == 0


def test_check_warns_of_dates_and_names(tmp_path, authority):
    """What is usable and will not please clients is a warning: expired, soon to, for other names."""
    for name, names, days, words in (("old.test", ["site.test"], -1, "the certificate has expired"), ("soon.test", ["site.test"], 5, "expires soon"),
                                     ("wrong.test", ["wrong.test"], 90, "the certificate is not for site.test")):
        code, said = check(tmp_path, tls(authority.issue(name, names, days=days)))
        assert code == 0 and words in said and "warning" in said, said


def test_alpn(secure, origin, authority):
    """http/1.1 is agreed on by ALPN; a client that speaks nothing that we do is refused."""
    proxy = secure(origin())
    with proxy.secure(protocols=["foo", "http/1.1"]) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"
    with proxy.secure() as client:
        assert client.sock.selected_alpn_protocol() is None
    with pytest.raises(ssl.SSLError, match="ALERT_NO_APPLICATION_PROTOCOL|no application protocol"):
        proxy.secure(protocols=["foo"])


def test_modern_policy_speaks_1_3_alone(secure, origin, pair):
    """policy = "modern", for a site or for all, speaks TLS 1.3 alone; so does min_version."""
    for settings, own in (({"tls": {"policy": "modern"}}, {}), ({}, {"policy": "modern"}), ({"tls": {"min_version": "1.3"}}, {})):
        proxy = secure(origin(), settings, site={"tls": tls(pair, **own)})
        with proxy.secure(version=ssl.TLSVersion.TLSv1_3) as client:
            assert client.request().status == 200
        with pytest.raises(ssl.SSLError):
            proxy.secure(version=ssl.TLSVersion.TLSv1_2)


def test_keys_stay_out_of_sight(secure, origin, pair):
    """A key is readable for the master alone: the workers' user cannot open it."""
    os.chmod(pair[1], 0o600)
    with secure(origin(reply(b"yes"))).secure() as client:
        assert client.request().body == b"yes"


def test_a_key_from_the_environment(secure, origin, pair):
    """`key = "env:NAME"` is the variable of the master's environment; one that is not there is told by its name. It never stands in the workers' output."""
    with open(pair[1], encoding="ascii") as file:
        text = file.read()
    proxy = secure(origin(reply(b"x")), site={"tls": {"cert": pair[0], "key": "env:SITE_KEY"}}, wrap=("env", f"SITE_KEY={text}"))
    with proxy.secure() as client:
        assert client.request().status == 200
    assert proxy.reload().returncode == 0
    with proxy.secure() as client:
        assert client.request().status == 200
    assert proxy.command("upgrade").returncode == 0
    with proxy.secure() as client:
        assert client.request().status == 200
    checked = proxy.command("check")
    assert checked.returncode == 1 and "the environment has no variable SITE_KEY" in checked.stderr
    assert text.split("\n")[1] not in proxy.output() + checked.stderr


def test_a_key_that_systemd_gives(secure, origin, pair, tmp_path):
    """`key = "credential:NAME"` is a file in systemd's folder of credentials; without one, and with a name that leads out of it, check says so."""
    shutil.copy(pair[1], tmp_path / "site.key")
    proxy = secure(origin(reply(b"x")), site={"tls": {"cert": pair[0], "key": "credential:site.key"}}, wrap=("env", f"CREDENTIALS_DIRECTORY={tmp_path}"))
    with proxy.secure() as client:
        assert client.request().status == 200
    assert "systemd gives them to a unit with LoadCredential=site.key" in proxy.command("check").stderr
    proxy.configure({"site": {"*": {"tls": {"cert": pair[0], "key": "credential:../site.key"}}}})
    assert "a credential is named without a folder" in proxy.reload().stderr
