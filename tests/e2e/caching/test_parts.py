# SPDX-License-Identifier: Apache-2.0
"""Ranges of what is not stored whole: passed on, stored, answered from, joined (RFC 9111 §3.3, §3.4; RFC 9110 §14, §15.3.7)."""

import os
import re

import pytest

from tests.harness.origin import reply

BODY = os.urandom(200_000)


class Ranges:
    """An origin that knows ranges and If-Range; `asked` has the Range of each request."""

    def __init__(self, etag='"one"', body=BODY):
        self.etag, self.body, self.asked, self.heeds_if_range = etag, body, [], True

    def __call__(self, request, connection):
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        headers = [("Cache-Control", "max-age=3600"), *([("ETag", self.etag)] if self.etag else [])]
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
        if not match or (self.heeds_if_range and request.headers.get("If-Range", self.etag) != self.etag):
            connection.send(reply(self.body, headers=headers))
            return
        size = len(self.body)
        first, last = match[1], match[2]
        first, last = (int(first), min(int(last or size), size - 1)) if first else (size - int(last), size - 1)
        connection.send(reply(self.body[first : last + 1], 206, headers=headers + [("Content-Range", f"bytes {first}-{last}/{size}")]))


@pytest.fixture
def bench(caching):
    def make(**more):
        server = Ranges(**more)
        proxy, _ = caching(server)

        def get(wanted, *headers):
            return proxy.get("/", headers=[("Range", wanted), *headers] if wanted else list(headers))
        return get, server
    return make


def check(response, first, last, size=len(BODY), body=BODY):
    assert (response.status, response.headers.get("Content-Range")) == (206, f"bytes {first}-{last}/{size}")
    assert response.body == body[first : last + 1] and response.headers.get("Content-Length") == str(last - first + 1)


def test_a_part_is_passed_on_and_answers_for_what_lies_in_it(bench):
    """The server is asked for what the client wants; the same and less of it come from the cache."""
    get, server = bench()
    check(get("bytes=1000-99999"), 1000, 99999)
    check(get("bytes=1000-99999"), 1000, 99999)
    check(get("bytes=5000-5000"), 5000, 5000)
    assert server.asked == ["bytes=1000-99999"]


def test_a_suffix_is_a_part_too(bench):
    """bytes=-N, and an open end behind it."""
    get, server = bench()
    check(get("bytes=-100"), 199_900, 199_999)
    check(get("bytes=-50"), 199_950, 199_999)
    check(get("bytes=199990-"), 199_990, 199_999)
    assert server.asked == ["bytes=-100"]


@pytest.mark.parametrize("first,second,asked,wanted", [
    ("bytes=0-99", "bytes=50-299", "bytes=100-299", (50, 299)),
    ("bytes=0-99999", "bytes=100000-150000", "bytes=100000-150000", (100_000, 150_000)),
    ("bytes=1000-1999", "bytes=500-1500", "bytes=500-999", (500, 1500)),
])
def test_what_adjoins_is_joined(bench, first, second, asked, wanted):
    """Only what is missing is asked for, with If-Range; then both together answer."""
    get, server = bench()
    get(first)
    check(get(second), *wanted)
    assert server.asked == [first, asked]
    low = min(int(re.findall(r"\d+", first)[0]), wanted[0])
    check(get(f"bytes={low}-{wanted[1]}"), low, wanted[1])
    assert len(server.asked) == 2


def test_parts_become_the_whole(bench):
    """A request for all of it asks for the rest, and what comes of it is an ordinary 200."""
    get, server = bench()
    get("bytes=0-120000")
    whole = get(None)
    assert (whole.status, whole.body, whole.headers.get("Content-Range")) == (200, BODY, None)
    assert server.asked == ["bytes=0-120000", "bytes=120001-199999"]
    again = get(None)
    assert again.body == BODY and again.headers.get("Cache-Status").startswith("ladle; hit")
    check(get("bytes=7-8"), 7, 8)
    assert len(server.asked) == 2


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_joined(bench, etag):
    """Then the server is asked for all of it, as nothing says that the rest belongs to the part."""
    get, server = bench(etag=etag)
    get("bytes=0-99")
    whole = get(None)
    assert (whole.status, whole.body) == (200, BODY) and server.asked == ["bytes=0-99", None]


@pytest.mark.parametrize("obeys", [True, False], ids=["200", "206"])
def test_another_representation_replaces_the_part(bench, obeys):
    """The server has changed: whether it heeds If-Range or not, no byte of the old one goes with the new."""
    get, server = bench()
    get("bytes=0-99")
    server.body, server.etag, server.heeds_if_range = os.urandom(150_000), '"two"', obeys
    check(get("bytes=50-299"), 50, 299, 150_000, server.body)


def test_all_from_the_first_byte_is_the_whole(bench):
    """bytes=0-, which players ask first, stores the whole."""
    get, server = bench()
    check(get("bytes=0-"), 0, 199_999)
    check(get("bytes=100-200"), 100, 200)
    assert server.asked == [None]


def test_far_parts_of_a_small_one_fetch_the_whole(bench):
    """A second range that does not adjoin the first: the whole is fetched, as it is small."""
    get, server = bench()
    get("bytes=0-99")
    check(get("bytes=1000-1999"), 1000, 1999)
    check(get("bytes=5000-6000"), 5000, 6000)
    assert server.asked == ["bytes=0-99", None]
