# SPDX-License-Identifier: Apache-2.0
"""Ambiguous framing is refused and never forwarded: every row of ambiguous_requests.py."""

import pytest

from .ambiguous_requests import CASES
from .drive import RequestBench

STREAMED = [case for case in CASES if b"hunked" in case.data]


@pytest.fixture(scope="module")
def taken_whole():
    bench = RequestBench("full")
    yield bench
    bench.stop()


@pytest.fixture(scope="module")
def streamed():
    bench = RequestBench("stream")
    yield bench
    bench.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_request(taken_whole, case):
    """A malformed or ambiguous request is refused and never seen by the server; what passes, passes in one meaning."""
    outcome = taken_whole.play(case)
    assert not outcome.problems, f"{case.data[:300]!r} → {outcome}"


@pytest.mark.parametrize("case", STREAMED, ids=lambda case: case.name)
def test_request_whose_body_is_streamed(streamed, case):
    """The same with buffer.request = "stream": the server never sees a whole request of it."""
    outcome = streamed.play(case)
    assert not outcome.problems, f"{case.data[:300]!r} → {outcome}"
