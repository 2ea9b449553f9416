# SPDX-License-Identifier: Apache-2.0
"""Priorities (RFC 9218): the priority field and PRIORITY_UPDATE decide what is sent first when not all can be."""

import struct

import pytest

from tests.harness.h2_client import DATA, H2Client, PRIORITY_UPDATE
from tests.harness.origin import reply

SIZE = 200000


@pytest.fixture
def client(ladle, origin):
    proxy = ladle(origin(lambda request: reply(b"x" * SIZE)))
    # Streams have room, the connection has none but its first 65 535 bytes: so all wait for it together.
    with H2Client(proxy.address, settings=[(4, SIZE)], windows=False) as made:
        yield made


def order_of_data(client, streams):
    """Opens the connection's window once all wait for it; the streams of the DATA frames, in order."""
    client.until(lambda: all(client.streams[stream].status for stream in streams))
    client.until(lambda: sum(len(client.streams[stream].body) for stream in streams) >= 65535)
    for _ in range(10):
        client.ping()
    order = []
    client.open_window(0, len(streams) * SIZE)
    while not all(client.streams[stream].ended for stream in streams):
        frame = client.read_frame()
        assert frame is not None
        if frame.type == DATA:
            order.append(frame.stream)
    return order


def first_last(order, stream):
    return order.index(stream), len(order) - 1 - order[::-1].index(stream)


def test_the_more_urgent_goes_first(client):
    """A stream of urgency 1 is sent whole before one of urgency 5, whichever was asked for first."""
    late = client.start(headers=[("priority", "u=5")])
    soon = client.start(headers=[("priority", "u=1")])
    order = order_of_data(client, [late, soon])
    assert first_last(order, soon)[1] < first_last(order, late)[1] and order.count(soon) > 1
    assert order.index(late) > first_last(order, soon)[1] or order[: order.index(soon)] == [late] * order.index(soon)


def test_incremental_streams_take_turns(client):
    """Two incremental streams of one urgency alternate; two that are not, follow each other."""
    pair = [client.start(headers=[("priority", "i")]) for _ in range(2)]
    order = order_of_data(client, pair)
    assert all(order[:6].count(stream) >= 2 for stream in pair), order


def test_an_update_counts(client):
    """PRIORITY_UPDATE changes the order of what waits."""
    first = client.start(headers=[("priority", "u=3")])
    second = client.start(headers=[("priority", "u=3")])
    client.send(client.frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", second) + b"u=0"))
    order = order_of_data(client, [first, second])
    assert first_last(order, second)[1] < first_last(order, first)[1]
