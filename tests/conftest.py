# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests that run the real binary."""

import os
import resource
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.harness.ladle import Ladle  # noqa: E402
from tests.harness.nginx_origin import NginxOrigin  # noqa: E402
from tests.harness.origin import Origin  # noqa: E402


def pytest_configure(config):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.kill = kill_one


def kill_one(pid, number, kill=os.kill):
    """os.kill for tests: 0 and below are whole groups (pytest's own), 1 is init; most likely a worker's number was taken for its pid."""
    assert pid > 1, f"{pid} is no process of a test"
    kill(pid, number)


@pytest.fixture
def cleanup():
    """A list; what is appended is stopped in reverse order when the test ends."""
    things = []
    yield things
    failures = []
    for thing in reversed(things):
        try:
            thing.stop()
        except AssertionError as error:
            failures.append(error)
    if failures:
        raise failures[0]


@pytest.fixture
def origin(cleanup):
    """make_origin(answer=…, script=…, unix=…, host=…) → Origin"""
    def make(*arguments, **more):
        cleanup.append(Origin(*arguments, **more))
        return cleanup[-1]
    return make


@pytest.fixture
def ladle(cleanup):
    """make_ladle(upstream, settings) → a running Ladle"""
    def make(upstream=None, settings=None, **more):
        start = more.pop("start", True)
        cleanup.append(Ladle(upstream, settings, start=False, **more))
        return cleanup[-1].start() if start else cleanup[-1]
    return make


@pytest.fixture(scope="module")
def nginx():
    """A real nginx origin with files /1k /64k /1m and /slow."""
    with NginxOrigin() as server:
        yield server
