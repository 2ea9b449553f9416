# SPDX-License-Identifier: Apache-2.0
"""Proxies around Ladle that speak the PROXY protocol; the TLS clients of tests/e2e/tls."""

import pytest

from tests.e2e.tls.conftest import authority, curl, pair, secure  # noqa: F401 (fixtures)
from tests.harness.haproxy import Haproxy


@pytest.fixture
def haproxy(cleanup):
    """make(sections, port) → a running HAProxy"""
    def make(sections, port):
        cleanup.append(Haproxy(sections, port))
        return cleanup[-1]
    return make
