# SPDX-License-Identifier: Apache-2.0
"""Requests and connections that outlive the configuration they began with."""

import threading
import time

from tests.harness import waiting
from tests.harness.origin import reply


def test_a_kept_connection_is_not_another_servers(ladle, origin):
    """A new server that got a removed one's place in the shared table was sent requests on the old one's connections."""
    first = origin(lambda request: reply(b"first"))
    second = origin(lambda request: reply(b"second"))
    proxy = ladle(settings={"upstream": {"app": {"servers": [first.text]}}, "site": {"*": {"upstream": "app"}}})
    assert proxy.get().body == b"first"
    proxy.configure({"upstream": {"app": None, "none": {"servers": ["127.0.0.1:9"]}}, "site": {"*": {"upstream": "none"}}})
    assert proxy.reload().returncode == 0
    time.sleep(11)  # the master looks every 10 s for servers that nobody names
    proxy.configure({"upstream": {"none": None, "app": {"servers": [second.text]}}, "site": {"*": {"upstream": "app"}}})
    assert proxy.reload().returncode == 0
    assert proxy.get().body == b"second"


def test_who_waits_in_a_replaced_configurations_queue_gets_a_turn(ladle, origin):
    """After a reload nobody told those who waited in the old queue that another worker's request had ended."""
    go = threading.Event()

    def slow(request):
        if request.target == "/slow":
            go.wait(60)
        return reply()
    server = origin(slow)
    proxy = ladle(settings={"server": {"workers": 2}, "site": {"*": {"upstream": "app"}},
                            "upstream": {"app": {"servers": [server.text], "max_conn": 1, "queue": {"timeout": "60s"}}}})
    results = []
    threads = [threading.Thread(target=proxy.get, args=("/slow",))]
    threads[0].start()
    waiting.until(lambda: server.received, "the first request")
    for _ in range(10):  # on both workers
        threads.append(threading.Thread(target=lambda: results.append(proxy.get("/waits").status)))
        threads[-1].start()
    waiting.until(lambda: '"server_queue": 10' in proxy.command("status", "--json").stdout, "the others to wait")
    proxy.configure({"log": {"error": {"level": "info"}}})
    assert proxy.reload().returncode == 0
    go.set()
    for thread in threads:
        thread.join()
    assert results == [200] * 10
