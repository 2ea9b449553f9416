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
            go.wait(20)
        return reply()
    server = origin(slow)
    queue = {"queue": {"timeout": "6s"}}
    proxy = ladle(settings={"server": {"workers": 1}, "upstream": {"app": {"servers": [server.text], "max_conn": 1, **queue}}, "site": {"*": {"upstream": "app"}}})
    results = {}

    def ask(target):
        results[target] = (proxy.get(target).status, time.monotonic())
    threads = [threading.Thread(target=ask, args=("/slow",))]
    threads[0].start()
    server.wait_requests(0)
    waiting.until(lambda: server.received, "the first request")
    threads.append(threading.Thread(target=ask, args=("/waits",)))
    threads[1].start()
    waiting.until(lambda: "server_queue" in str(proxy.status()) and '"server_queue": 0' not in proxy.command("status", "--json").stdout, "the second one to wait")
    proxy.configure({"log": {"error": {"level": "info"}}})
    assert proxy.reload().returncode == 0
    started = time.monotonic()
    go.set()
    for thread in threads:
        thread.join(20)
    assert results["/waits"][0] == 200 and results["/waits"][1] - started < 2
