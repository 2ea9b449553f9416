# SPDX-License-Identifier: Apache-2.0
"""Waiting until the proxy's processes have done what they were at.

A client has the last byte of its answer a moment before the worker counts the request and writes its line, and on a busy machine the
worker may lose its processor just there. Whoever looks at counts or lines first waits until every thread has been seen asleep."""

import os
import time

from . import waiting

_ENOUGH_NS = 50_000_000  # of processor time: whoever never sleeps has long gone on to something else after that


def descendants(pid):
    """The process itself and all below it."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as file:
                    found += [int(child) for child in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def _threads(pid):
    for process in descendants(pid):
        try:
            yield from (f"/proc/{process}/task/{task}" for task in os.listdir(f"/proc/{process}/task"))
        except FileNotFoundError:
            pass


def _look(thread):
    """Whether it has something to do (R, or D: it reads or writes a file), and its processor time; None when it has ended."""
    try:
        with open(f"{thread}/stat", encoding="utf-8", errors="replace") as file:
            is_busy = file.read().rsplit(")", 1)[1].split()[0] in "RD"
        with open(f"{thread}/schedstat", encoding="ascii") as file:
            return is_busy, int(file.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return None


def settle(pid):
    """Returns when each thread of the process and of all below it has slept, or has had its share of processor time, since the call.
    Twice, for a thread's work may be to hand something to another one (a line of the log)."""
    end = time.monotonic() + waiting.DEADLINE
    for _ in range(2):
        begun = {}
        while time.monotonic() < end:
            busy = False
            for thread in list(begun or _threads(pid)):
                seen = _look(thread)
                if seen and seen[0] and seen[1] < begun.setdefault(thread, seen[1]) + _ENOUGH_NS:
                    busy = True
                else:
                    begun.pop(thread, None)
            if not busy:
                break
            time.sleep(0.001)
