# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition with a deadline, never a sleep in place of one; free ports that two test processes never share."""

import fcntl
import os
import random
import socket
import tempfile
import time

DEADLINE = float(os.environ.get("LADLE_TEST_DEADLINE", "30"))
PATIENCE = max(30.0, DEADLINE)  # of what ends only where something is wrong: reads, and servers that wait to be let go
_next_port = None
_reserved = None


def until(condition, what, deadline=None, every=0.01):
    """Returns the condition's first true value; fails with `what` when the deadline has passed. `deadline` is that of a quiet machine."""
    end = time.monotonic() + (DEADLINE if deadline is None else deadline * max(1.0, DEADLINE / 10))
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for: {what}")
        time.sleep(every)


def _is_free(port):
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _is_ours(port):
    """Whether no other process of tests, of whatever run, has it or will have it: a byte of a common file, locked until this one ends."""
    global _reserved
    try:
        if _reserved is None:
            _reserved = os.open(os.path.join(tempfile.gettempdir(), f"ladle-test-ports-{os.getuid()}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(_reserved, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        return True
    except BlockingIOError:
        return False


def free_port():
    """A port below the ephemeral range, from a stretch of its own for each pytest-xdist worker."""
    global _next_port
    number = int("".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", "0"))) or 0) % 8
    first, size = 10000 + number * 2500, 2500
    if _next_port is None:
        _next_port = random.randrange(size)
    for _ in range(size):
        _next_port = (_next_port + 1) % size
        if _is_ours(first + _next_port) and _is_free(first + _next_port):
            return first + _next_port
    raise AssertionError("no free port")
