# SPDX-License-Identifier: Apache-2.0
"""A proxy whose only site caches, before a scripted origin that counts."""

import pytest


@pytest.fixture
def caching(ladle, origin):
    """caching(answer, cache=True, settings={}) → (proxy, origin); three workers."""
    def make(answer, cache=True, settings=None, **more):
        server = origin(answer, **more)
        proxy = ladle(server, {"server": {"workers": 3}, "cache": {"memory": "64MiB"}, "site": {"*": {"cache": cache}}}, start=False)
        proxy.configure(settings or {})
        return proxy.start(), server
    return make
