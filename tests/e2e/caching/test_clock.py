# SPDX-License-Identifier: Apache-2.0
"""The machine's clock is set while responses are stored: what they are worth is never overstated."""

import glob
import time

import pytest

from tests.harness.ladle import IS_SANITIZED
from tests.harness.origin import reply


@pytest.fixture
def clock(ladle, origin):
    """(proxy, origin, set): a proxy that takes the time of day from a file of seconds to add (libfaketime)."""
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library or IS_SANITIZED:
        pytest.skip("libfaketime is not there, or must not come before the sanitizer")

    def answer(request, connection):
        fresh = [("Cache-Control", "max-age=100"), ("ETag", '"one"')]
        connection.send(reply(b"", 304, headers=fresh, length=False) if request.headers.get("If-None-Match") else reply(b"body", headers=fresh))
    server = origin(answer)
    proxy = ladle(server, {"server": {"workers": 3}, "site": {"*": {"cache": True}}}, start=False)

    def set_clock(seconds):
        with open(proxy.path("clock"), "w", encoding="ascii") as file:
            file.write(f"{seconds:+d}s\n")
        time.sleep(2)  # workers make their Date line once a second
    set_clock(0)
    proxy.wrap = ["env", f"LD_PRELOAD={library[0]}", f"FAKETIME_TIMESTAMP_FILE={proxy.path('clock')}", "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"]
    return proxy.start(), server, set_clock


def test_a_clock_that_is_set_forward_ages_what_is_stored(clock):
    """Past its lifetime it is validated, once, and fresh again from then on."""
    proxy, server, set_clock = clock
    assert [proxy.get("/").body for _ in range(3)] == [b"body"] * 3 and len(server.requests) == 1
    set_clock(50)
    hit = proxy.get("/")
    assert 50 <= int(hit.headers.get("Age")) <= 55 and len(server.requests) == 1
    set_clock(1000)
    validated = proxy.get("/")
    assert "fwd=stale; fwd-status=304" in validated.headers.get("Cache-Status") and int(validated.headers.get("Age") or 0) <= 1
    assert proxy.get("/").headers.get("Cache-Status").startswith("ladle; hit") and len(server.requests) == 2


def test_a_clock_that_is_set_back_makes_nothing_fresh_for_longer(clock):
    """How old it is nobody knows then: it is validated, and not used for an hour more than the server said."""
    proxy, server, set_clock = clock
    proxy.get("/")
    set_clock(-3600)
    assert "fwd=stale; fwd-status=304" in proxy.get("/").headers.get("Cache-Status") and len(server.requests) == 2
    hit = proxy.get("/")
    assert hit.headers.get("Cache-Status").startswith("ladle; hit") and int(hit.headers.get("Age")) <= 5
    set_clock(86400 * 365)
    proxy.get("/")
    assert len(server.requests) == 3 and proxy.status()["restarts"] == 0
