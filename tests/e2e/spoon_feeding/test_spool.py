# SPDX-License-Identifier: Apache-2.0
"""Bodies are taken whole before a server is occupied; responses are absorbed and fed to slow clients from the spool."""

import os
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.ladle import IS_SANITIZED, memory_kib, open_files
from tests.harness.origin import reply

MEGABYTE = 1 << 20


def test_a_slow_upload_does_not_occupy_the_server(ladle, origin):
    """The server hears of a request only when its body is here."""
    server = origin()
    proxy = ladle(server)
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\n")
        client.trickle(b"012345678", 0.03)
        assert not server.connections
        client.send(b"9")
        assert client.response().status == 200
    assert server.requests[0].body == b"0123456789"


def test_stream_mode_occupies_the_server_at_once(ladle, origin):
    """With buffer.request = "stream" the server sees the body as it comes."""
    server = origin()
    proxy = ladle(server, {"site": {"*": {"buffer": {"request": "stream"}}}})
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\n01234")
        waiting.until(lambda: server.received.endswith(b"01234"), "half of the body at the server")
        client.send(b"56789")
        assert client.response().status == 200


def test_a_slow_reader_does_not_hold_the_server(ladle, origin):
    """A response larger than all socket buffers is absorbed at once; the server is free while the client reads slowly."""
    body = os.urandom(8 * MEGABYTE)
    server = origin(reply(body))
    proxy = ladle(settings={"upstream": {"app": {"servers": [server.text], "max_conn": 1, "queue": {"timeout": "30s"}}}, "site": {"*": {"upstream": "app"}}})
    with proxy.client(receive_buffer=8192, timeout=30) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        connection = waiting.until(lambda: server.connections and server.connections[0], "the request")
        waiting.until(lambda: connection.last_sent_at, "the server to have sent all, though the client has read nothing")
        with proxy.client() as other:
            assert other.request("HEAD").status == 200, "the server takes one request at a time, and it took this one"
        assert client.response().body == body


def test_the_spool_goes_to_an_unlinked_file(ladle, origin):
    """Past its share of memory a body goes to a file that has no name."""
    body = os.urandom(24 * MEGABYTE)
    proxy = ladle(origin(reply(body)), {"budget": {"spool_memory": "2MiB", "spool_disk": "1GiB", "per_client": "100MiB"}})
    with proxy.client(receive_buffer=8192, timeout=30) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        worker = proxy.wait_workers(1)[0]

        def deleted_files():
            return [link for link in open_files(worker) if link.startswith(proxy.path("spool") + "/")]
        waiting.until(deleted_files, "a spool file")
        assert all("deleted" in link for link in deleted_files())
        assert not os.listdir(proxy.path("spool"))
        assert client.response().body == body
        waiting.until(lambda: not deleted_files(), "the spool file to be closed")


def test_large_uploads_are_spooled_to_disk(ladle, origin):
    """Uploads larger than the memory budget arrive whole, several at once."""
    server = origin(lambda request: reply(str(len(request.body)).encode()))
    proxy = ladle(server, {"budget": {"spool_memory": "1MiB", "per_client": "200MiB"}})
    body = os.urandom(10 * MEGABYTE)
    results = []

    def upload():
        results.append(proxy.get("/", "POST", body=body).body)
    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [str(len(body)).encode()] * 4
    assert all(request.body == body for request in server.requests)


@pytest.mark.parametrize("budget", [{"spool_memory": "1MiB", "spool_disk": "0B"}, {"spool_memory": "1MiB", "spool_disk": "2MiB"}, {"per_client": "64KiB"},
                                    {"spool_path": "/proc/no-such-folder", "spool_memory": "1MiB"}], ids=["no disk", "little disk", "per client", "unusable folder"])
def test_past_the_budget_comes_back_pressure_not_failure(ladle, origin, budget):
    """With the budget used up, slow clients still get every byte; the server waits."""
    body = os.urandom(6 * MEGABYTE)
    proxy = ladle(origin(reply(body)), {"budget": budget})
    results = []

    def read_slowly():
        with proxy.client(receive_buffer=8192, timeout=30) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
            time.sleep(0.5)
            results.append(client.response().body == body)
    threads = [threading.Thread(target=read_slowly) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 6


def test_memory_stays_within_the_budget(ladle, origin):
    """Slow readers of far more than the budget do not make the worker larger than the budget says."""
    body = b"x" * (8 * MEGABYTE)
    proxy = ladle(origin(reply(body)), {"budget": {"spool_memory": "4MiB", "spool_disk": "0B", "per_client": "1GiB"}})
    worker = proxy.wait_workers(1)[0]
    before = memory_kib(worker, "Pss")
    clients = [proxy.client(receive_buffer=8192) for _ in range(20)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    time.sleep(1.5)
    grown = memory_kib(worker, "Pss") - before
    for client in clients:
        client.close()
    assert IS_SANITIZED or grown < 20 * 1024, f"{grown} KiB"  # the sanitizer holds freed memory back


def test_stream_responses_wait_for_the_client(ladle, origin):
    """With buffer.response = "stream" the server is read only as fast as the client reads."""
    server = origin(script=lambda connection: (connection.reader.request(), connection.send(reply(b"x" * (32 * MEGABYTE)))))
    proxy = ladle(server, {"site": {"*": {"buffer": {"response": "stream"}}}})
    with proxy.client(receive_buffer=8192, timeout=30) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: server.connections, "the request")
        time.sleep(1)
        assert server.connections[0].last_sent_at is None, "the server must still be sending"
        assert len(client.response().body) == 32 * MEGABYTE


def test_a_client_that_stops_reading_is_cut(ladle, origin):
    """A client that takes nothing for timeouts.stall is closed, and its spool freed."""
    proxy = ladle(origin(reply(b"x" * (16 * MEGABYTE))), {"timeouts": {"stall": "700ms"}})
    with proxy.client(receive_buffer=4096) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        assert proxy.access_log(1)[0]["reason"] == "client_stalled"


def test_a_client_that_leaves_frees_its_spool(ladle, origin):
    """When a slow client leaves, what waited for it is given back."""
    proxy = ladle(origin(reply(b"x" * (16 * MEGABYTE))))
    client = proxy.client(receive_buffer=4096)
    client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    time.sleep(0.3)
    client.reset()
    line = proxy.access_log(1)[0]
    assert line["reason"] == "client_left"
    assert proxy.get().status == 200


def test_many_slow_clients_share_the_ceiling(ladle, origin):
    """However many clients are slow, what waits for them stays below spool_memory and 20 KiB for each of them."""
    proxy = ladle(origin(reply(b"x" * (8 * MEGABYTE))), {"server": {"workers": 2}, "budget": {"spool_memory": "2MiB", "spool_disk": "0B", "per_client": "1GiB"}})
    clients = [proxy.client(receive_buffer=4096, source=f"127.0.1.{n + 1}") for n in range(60)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    held = []

    def are_many():
        held.append(proxy.status()["metrics"]["spool_memory_bytes"])
        return len(held) >= 15 and max(held) > MEGABYTE
    waiting.until(are_many, "them to make it wait", every=0.1)
    for client in clients:
        client.close()
    assert max(held) <= 2 * MEGABYTE + 2 * MEGABYTE + 60 * 20 * 1024, held  # each of two workers may pass the ceiling by a turn's reads


def test_a_greedy_client_has_its_share_and_another_is_unaffected(ladle, origin):
    """per_client bounds what waits for one address over all its connections and workers; another address is still spooled for at once."""
    body = os.urandom(8 * MEGABYTE)
    server = origin(reply(body))
    proxy = ladle(server, {"server": {"workers": 2}, "budget": {"spool_memory": "64MiB", "spool_disk": "0B", "per_client": "3MiB"}})
    greedy = [proxy.client(receive_buffer=4096, source="127.0.2.1") for _ in range(20)]
    for client in greedy:
        client.send(b"GET /greedy HTTP/1.1\r\nHost: site.test\r\n\r\n")
    waiting.until(lambda: proxy.status()["metrics"]["spool_memory_bytes"] > MEGABYTE, "its share to be used")
    time.sleep(1)
    held = proxy.status()["metrics"]["spool_memory_bytes"]
    assert MEGABYTE < held <= (3 + 2) * MEGABYTE + 20 * 20 * 1024, "the rest waits at the server"
    with proxy.client(receive_buffer=4096, source="127.0.2.2", timeout=30) as modest:
        modest.send(b"GET /modest HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: proxy.status()["metrics"]["spool_memory_bytes"] > held + MEGABYTE, "the modest one's answer to be taken in whole")
        assert modest.response().body == body
    for client in greedy:
        client.close()


@pytest.mark.parametrize("first", [4000, 10000, 20000, 30000, 50000])
@pytest.mark.parametrize("budget", [{"spool_memory": "1MiB", "spool_disk": "0B"}, {"per_client": "1MiB"}], ids=["memory", "per client"])
def test_an_upload_of_any_pieces_gets_past_the_ceiling(ladle, origin, budget, first):
    """However little room the budget has left, an upload goes on: it was stuck between a large question and a small one."""
    server = origin()
    proxy = ladle(server, {"budget": budget, "timeouts": {"stall": "3s"}})
    body = os.urandom(2 * MEGABYTE)
    with proxy.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: site.test\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:first])
        time.sleep(0.1)
        client.send(body[first:])
        assert client.response().status == 200
    assert server.requests[0].body == body
