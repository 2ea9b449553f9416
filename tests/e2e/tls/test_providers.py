# SPDX-License-Identifier: Apache-2.0
"""[tls] providers: OpenSSL's providers of algorithms, by name."""

import re

from tests.harness.origin import reply


def has_legacy(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return "/ossl-modules/legacy.so" in maps.read()


def processes(proxy):
    return [*proxy.workers().values(), proxy.caretaker()]


def test_those_listed_are_loaded(secure, origin):
    """Debian's legacy.so beside the built-in one: workers and caretaker have it, and TLS is served as before."""
    proxy = secure(origin(reply(b"hello")), settings={"tls": {"providers": ["default", "legacy"]}})
    assert all(has_legacy(pid) for pid in processes(proxy))
    with proxy.secure() as client:
        assert client.request().status == 200


def test_a_reload_brings_more(secure, origin):
    """Workers that have run without it load it with the reload, and keep their connections."""
    proxy = secure(origin(reply(b"hello")))
    before = processes(proxy)
    assert not any(has_legacy(pid) for pid in before)
    with proxy.secure() as client:
        assert client.request().status == 200
        proxy.configure({"tls": {"providers": ["legacy", "default"]}})
        assert proxy.reload().returncode == 0
        assert client.request().status == 200
    assert processes(proxy) == before and all(has_legacy(pid) for pid in before)
    with proxy.secure() as client:
        assert client.request().status == 200


def test_what_cannot_be_loaded_is_said(secure, origin):
    """`check`, reload and start name the line and the provider; what runs goes on."""
    proxy = secure(origin(reply(b"hello")))
    for providers, words in ((["default", "nonesuch"], 'OpenSSL cannot load the provider "nonesuch"'), (["legacy"], "these providers have not what TLS needs")):
        proxy.configure({"tls": {"providers": providers}})
        for done in (proxy.command("check"), proxy.reload()):
            said = done.stdout + done.stderr
            assert done.returncode != 0 and words in said and re.search(r"\.toml:\d+:\d+: error", said), said
        with proxy.secure() as client:
            assert client.request().status == 200
    assert not any(has_legacy(pid) for pid in proxy.workers().values())
