# SPDX-License-Identifier: Apache-2.0
"""One proxy and one origin for all tests of a file that need no settings of their own."""

import pytest

from tests.harness.ladle import Ladle
from tests.harness.origin import Origin, reply


class Relay:
    """A running proxy before a scripted origin; set `answer`, then ask."""

    def __init__(self, settings=None):
        self.origin = Origin(lambda request, connection: self._answer(request, connection))
        self.answer = reply()
        self.ladle = Ladle(self.origin, settings)

    def _answer(self, request, connection):
        answer = self.answer
        if not callable(answer):
            return answer
        return answer(request, connection) if answer.__code__.co_argcount > 1 else answer(request)

    def client(self, **more):
        return self.ladle.client(**more)

    def get(self, *arguments, **more):
        return self.ladle.get(*arguments, **more)

    @property
    def last(self):
        """The newest request that the origin got."""
        return self.origin.requests[-1]

    def stop(self):
        try:
            self.ladle.stop()
        finally:
            self.origin.stop()


@pytest.fixture(scope="module")
def _relay():
    made = Relay({"timeouts": {"header": "2s", "stall": "3s", "response": "3s", "connect": "1s"}})
    yield made
    made.stop()


@pytest.fixture
def relay(_relay):
    _relay.answer = reply()
    return _relay
