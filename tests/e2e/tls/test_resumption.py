# SPDX-License-Identifier: Apache-2.0
"""Sessions are resumed by whichever worker, after a reload, and after an upgrade."""

import os
import socket
import ssl

import pytest

from tests.harness.origin import reply
from tests.harness.wire import Reader

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def visit(proxy, version, context, session=None):
    """One connection with a request; whether it was resumed, and its session, which belongs to the SSLContext."""
    context.minimum_version = context.maximum_version = VERSIONS[version]
    with socket.create_connection(proxy.address, 10) as plain, context.wrap_socket(plain, server_hostname="site.test", session=session) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert Reader(sock).response("GET").status == 200
        return sock.session_reused, sock.session


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_are_resumed_by_all_workers_after_reload_and_upgrade(secure, origin, authority, version):
    """Of 1 500 connections that bring a ticket (TLS 1.2: 150), over 3 workers, with a reload and an upgrade between, at least 99 % resume."""
    proxy = secure(origin(reply(b"x")), {"server": {"workers": 3}})
    context = ssl.create_default_context(cafile=authority.pem)
    _, session = visit(proxy, version, context)
    resumed, total = 0, 1500 if version == "1.3" else 150
    for number in range(total):
        if number == total // 3:
            assert proxy.reload().returncode == 0
        elif number == 2 * total // 3:
            assert proxy.command("upgrade").returncode == 0
        is_resumed, session = visit(proxy, version, context, session)
        resumed += is_resumed
    assert resumed >= total * 0.99, resumed
    assert proxy.status()["metrics"]["tls_resumed"] >= total // 4


def test_a_ticket_of_another_proxy_is_a_full_handshake(secure, origin, authority):
    """A ticket that nobody here made costs a full handshake and nothing else."""
    context = ssl.create_default_context(cafile=authority.pem)
    server = origin()
    _, session = visit(secure(server), "1.3", context)
    is_resumed, _ = visit(secure(server), "1.3", context, session)
    assert not is_resumed


def test_a_resumed_session_gets_a_new_ticket(secure, origin, authority):
    """In TLS 1.3 a ticket is for one use: each resumed connection brings another, and with it an answer to the client's last word, for which
    its kernel else holds the request back."""
    proxy = secure(origin())
    context = ssl.create_default_context(cafile=authority.pem)
    seen, session = set(), None
    for number in range(5):
        is_resumed, session = visit(proxy, "1.3", context, session)
        assert is_resumed == (number > 0)
        seen.add(session.id)
    assert len(seen) == 5


def key_file(path, size=80):
    path.write_bytes(os.urandom(size))
    return f"file:{path}"


@pytest.mark.parametrize("version", VERSIONS)
def test_two_machines_with_one_key_file(secure, origin, authority, tmp_path, version):
    """With `ticket_keys` a session of one machine is resumed by another; also while the keys change from one to the next, and not without its key."""
    server, context = origin(reply(b"x")), ssl.create_default_context(cafile=authority.pem)
    old, new = key_file(tmp_path / "old"), key_file(tmp_path / "new")
    first = secure(server, {"tls": {"ticket_keys": old}})
    second = secure(server, {"tls": {"ticket_keys": [new, old]}})
    third = secure(server, {"tls": {"ticket_keys": [new]}})
    _, session = visit(first, version, context)
    is_resumed, renewed = visit(second, version, context, session)
    assert is_resumed
    assert not visit(third, version, context, session)[0]
    assert visit(third, version, context, renewed)[0]  # the second has made that one, with its first key


def test_a_reload_takes_other_ticket_keys_at_once(secure, origin, authority, tmp_path):
    """A key that is taken out of the list opens no ticket after the reload, and what the new one makes is opened; an upgrade changes nothing."""
    context = ssl.create_default_context(cafile=authority.pem)
    proxy = secure(origin(reply(b"x")), {"tls": {"ticket_keys": key_file(tmp_path / "one")}})
    _, session = visit(proxy, "1.3", context)
    proxy.configure({"tls": {"ticket_keys": [key_file(tmp_path / "two")]}})
    assert proxy.reload().returncode == 0
    is_resumed, session = visit(proxy, "1.3", context, session)
    assert not is_resumed
    assert proxy.command("upgrade").returncode == 0
    assert visit(proxy, "1.3", context, session)[0]


@pytest.mark.parametrize("size", [0, 48, 79, 81])
def test_a_ticket_key_of_another_size(secure, origin, tmp_path, size):
    """A file that is no ticket key is refused, with what makes one."""
    proxy = secure(origin())
    proxy.configure({"tls": {"ticket_keys": key_file(tmp_path / "key", size)}})
    done = proxy.reload()
    assert done.returncode == 1
    assert f"a ticket key has 80 bytes, and not {size}" in done.stderr and "openssl rand 80" in done.stderr


def test_ticket_keys_that_are_too_many_or_nowhere(secure, origin, tmp_path):
    """Four keys are too many; a file that is not there, and one without file:, are told with the line."""
    proxy = secure(origin())
    proxy.configure({"tls": {"ticket_keys": [key_file(tmp_path / str(number)) for number in range(4)]}})
    assert "at most 3 keys" in proxy.reload().stderr
    proxy.configure({"tls": {"ticket_keys": "file:/nowhere/key"}})
    assert "No such file" in proxy.reload().stderr
    proxy.configure({"tls": {"ticket_keys": "/etc/ladle/key"}})
    assert 'write "file:/etc/ladle/key"' in proxy.reload().stderr
