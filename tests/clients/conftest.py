# SPDX-License-Identifier: Apache-2.0
"""Large or slow clients from Debian against a default configuration: `tests/run clients`."""

import pytest

from tests.e2e.tls.conftest import authority, pair, rsa_pair, secure  # noqa: F401 (fixtures)
