# SPDX-License-Identifier: Apache-2.0
"""A proxy before servers that speak HTTP/2."""

import pytest

from tests.harness.certificates import Authority
from tests.harness.h2_origin import H2Origin
from tests.harness.ladle import merge
from tests.harness.nginx_origin import NginxOrigin

TIMEOUTS = {"header": "2s", "stall": "3s", "response": "3s", "connect": "2s"}


@pytest.fixture
def h2_origin(cleanup):
    """make(…) → H2Origin"""
    def make(*arguments, **more):
        cleanup.append(H2Origin(*arguments, **more))
        return cleanup[-1]
    return make


@pytest.fixture
def before(ladle):
    """make(servers, settings, **upstream) → a Ladle whose site "*" asks these over HTTP/2"""
    def make(*servers, settings=None, route=None, **upstream):
        names = [server if isinstance(server, str) else server.text for server in servers]
        site = {"upstream": "app", **({"route": [{"path": "/*", "upstream": "app", **route}]} if route else {})}
        return ladle(None, merge({"site": {"*": site}, "upstream": {"app": {"servers": names, "protocol": "h2", **upstream}}, "timeouts": TIMEOUTS},
                                 settings or {}))
    return make


@pytest.fixture(scope="module")
def nginx_h2():
    """A real nginx that speaks HTTP/2 without TLS."""
    with NginxOrigin(http2=True) as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def pair(authority):
    return authority.issue("local", ["site.test", "localhost"], address="127.0.0.1")


def metric(ladle, name):
    return ladle.status()["metrics"][name]
