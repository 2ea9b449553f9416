# SPDX-License-Identifier: Apache-2.0
"""A server's bad answer gives 502 or a cut connection: every row of malformed_responses.py."""

import pytest

from .drive import ResponseBench
from .malformed_responses import CASES


@pytest.fixture(scope="module", params=["spool", "stream"])
def bench(request):
    made = ResponseBench(request.param)
    yield made
    made.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_response(bench, case):
    """A server's bad answer is a 502 or visibly cut, never mixed up or shortened, and its connection is not used again."""
    outcome = bench.play(case)
    assert not outcome.problems, f"{case.data[:300]!r} → {outcome}"
