# SPDX-License-Identifier: Apache-2.0
"""The numbers of the fault tests: small ones in tests/run, the full ones of the bars with LADLE_FULL=1 (tests/fault/full)."""

import os

FULL = os.environ.get("LADLE_FULL") == "1"


def pick(small, full):
    return full if FULL else small


def say(text):
    """A figure, for whoever looks at it: kept in LADLE_FIGURES if that is set."""
    print(text)
    path = os.environ.get("LADLE_FIGURES")
    if path:
        with open(path, "a", encoding="utf-8") as out:
            out.write(text + "\n")
