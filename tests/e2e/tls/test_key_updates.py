# SPDX-License-Identifier: Apache-2.0
"""KeyUpdate: new keys cost processor time and nothing else, so a client may ask for few."""

import threading
import time

import pytest

from tests.harness.key_updates import KeyUpdater
from tests.harness.ladle import cpu_seconds
from tests.harness.origin import reply

GET = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"


@pytest.fixture
def proxy(secure, origin):
    return secure(origin(reply(b"hello")))


def test_a_few_are_taken(proxy):
    """Between requests, more than any honest client sends."""
    with KeyUpdater(proxy.address) as client:
        for _ in range(5):
            assert client.update(5) == 5
            assert client.request(GET).startswith(b"HTTP/1.1 200")
    assert proxy.status()["metrics"]["tls_floods"] == 0


def test_a_flood_of_them_is_cut(proxy):
    """The connection ends and is counted, the worker does not spend its time on it, others are answered meanwhile."""
    worker = proxy.workers()[0]
    before = cpu_seconds(worker)
    with KeyUpdater(proxy.address) as client:
        sending = threading.Thread(target=client.update, args=(30000,))
        sending.start()
        began = time.monotonic()
        with proxy.secure() as other:
            assert other.request().status == 200
        assert time.monotonic() - began < 15
        sending.join(60)
        assert not sending.is_alive() and client.request(GET) == b""
    assert proxy.workers()[0] == worker and cpu_seconds(worker) - before < 1
    assert proxy.status()["metrics"]["tls_floods"] == 1
