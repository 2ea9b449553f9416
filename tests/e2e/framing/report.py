#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints every ambiguous request and every malformed response with its outcome, as Markdown; exit code 1 if a rule was broken."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

from tests.e2e.framing.ambiguous_requests import CASES as REQUESTS  # noqa: E402
from tests.e2e.framing.drive import RequestBench, ResponseBench  # noqa: E402
from tests.e2e.framing.malformed_responses import CASES as RESPONSES  # noqa: E402


def show(title, bench, cases):
    print(f"\n## {title}\n\n| case | client got | requests at the server | broken rules |\n| --- | --- | --- | --- |")
    broken = refused = 0
    try:
        for case in cases:
            outcome = bench.play(case)
            broken += bool(outcome.problems)
            refused += outcome.got[:1] in "45c"
            print(f"| {case.name.replace('|', chr(92) + '|')} | {outcome.got} | {outcome.at_origin} | {'; '.join(outcome.problems)} |")
    finally:
        bench.ladle.expect_failures = True
        bench.stop()
    print(f"\n{len(cases)} cases: {refused} refused or cut, {len(cases) - refused} passed on in one meaning, {broken} broken.")
    return broken


if __name__ == "__main__":
    sys.exit(bool(show("Ambiguous requests", RequestBench(), REQUESTS) + show("Malformed responses", ResponseBench(), RESPONSES)))
