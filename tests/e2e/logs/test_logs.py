# SPDX-License-Identifier: Apache-2.0
"""The access log in both formats, the error log, request ids, reopening."""

import json
import os
import re
import signal
import time

import pytest

from tests.harness import waiting
from tests.harness.origin import reply


def test_json_access_log(ladle, origin):
    """A JSON line has request, answer, client, server, id, times of each step and the reason."""
    server = origin(reply(b"x" * 10, 201, "Created"))
    proxy = ladle(server)
    proxy.get("/p?q=1", "POST", [("User-Agent", 'a "b" \\ \u00e9'.encode().decode("latin-1")), ("Referer", "http://r/")], b"body")
    line = proxy.access_log(1)[0]
    assert line["status"] == 201 and line["method"] == "POST" and line["target"] == "/p?q=1"
    assert line["client"] == "127.0.0.1" and line["host"] == "site.test"
    assert line["server"] == server.text
    assert line["reason"] == "ok"
    assert line["id"] == server.requests[0].headers.get("X-Request-Id")
    assert all(line[step + "_ms"] >= 0 for step in ("head", "body", "connect", "response", "deliver", "total"))


def test_combined_access_log(ladle, origin):
    """A combined line is Apache's, with our fields behind."""
    proxy = ladle(origin(reply(b"x" * 10)), {"log": {"access": {"format": "combined"}}})
    proxy.get("/p", headers=[("User-Agent", "curl/8"), ("Referer", "http://r/")])
    def lines():
        with open(proxy.path("access.log"), encoding="utf-8") as file:
            return file.read().splitlines()
    waiting.until(lambda: os.path.exists(proxy.path("access.log")) and lines(), "a line")
    assert re.match(r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /p HTTP/1\.1" 200 10 "http://r/" "curl/8"', lines()[0]), lines()[0]


def test_log_lines_cannot_be_forged(ladle, origin):
    """Quotes, backslashes and bytes above 0x7f in what a client sends are escaped."""
    proxy = ladle(origin(), {"log": {"access": {"format": "combined"}}})
    proxy.get('/"x', headers=[("User-Agent", 'x" "fake'), ("Referer", "\\\"")])
    waiting.until(lambda: os.path.exists(proxy.path("access.log")) and os.path.getsize(proxy.path("access.log")), "a line")
    with open(proxy.path("access.log"), "rb") as file:
        text = file.read()
    assert text.count(b"\n") == 1
    assert b'"x" "fake"' not in text


def test_refused_requests_are_logged_with_their_reason(ladle, origin):
    """Refusals stand in the access log with an enum reason."""
    proxy = ladle(origin())
    for data, reason in ((b"GET / HTTP/1.1\r\n\r\n", "bad_host"), (b"nonsense\r\n\r\n", "bad_request"),
                         (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_framing"),
                         (b"GET / HTTP/3.1\r\nHost: x\r\n\r\n", "bad_version")):
        with proxy.client() as client:
            client.send(data)
            assert client.response().status >= 400
        waiting.until(lambda: any(line["reason"] == reason for line in proxy.access_log()), f"reason {reason}")


def test_every_request_is_logged_once(ladle, origin):
    """No line is lost or doubled, and the lines of a stopped proxy are all there."""
    proxy = ladle(origin(), {"server": {"workers": 2}})
    for number in range(200):
        proxy.get(f"/{number}")
    assert sorted(line["target"] for line in proxy.access_log(200)) == sorted(f"/{number}" for number in range(200))


def test_reopen_after_rotation(ladle, origin):
    """SIGUSR1 and `ladle reopen` begin a new file after the old one was moved away; no line is lost."""
    proxy = ladle(origin(), {"server": {"workers": 2}})
    proxy.get("/1")
    proxy.access_log(1)
    os.rename(proxy.path("access.log"), proxy.path("access.log.1"))
    result = proxy.command("reopen")
    assert result.returncode == 0, result.stderr
    waiting.until(lambda: os.path.exists(proxy.path("access.log")), "the new file")
    proxy.get("/2")
    assert [line["target"] for line in proxy.access_log(1)] == ["/2"]
    os.rename(proxy.path("access.log"), proxy.path("access.log.2"))
    os.kill(proxy.pid, signal.SIGUSR1)
    waiting.until(lambda: os.path.exists(proxy.path("access.log")), "the new file")
    def third():
        proxy.get("/3")
        return any(line["target"] == "/3" for line in proxy.access_log())
    waiting.until(third, "/3 in the newest file")
    with open(proxy.path("access.log.1"), encoding="utf-8") as file:
        assert json.loads(file.readline())["target"] == "/1"


def test_logs_are_reopened_while_it_drains(ladle, origin):
    """A Ladle that waits for its last download still gives a rotated log up."""
    proxy = ladle(origin(reply(b"x" * (16 << 20))), {"server": {"drain_timeout": "20s"}})
    with proxy.client(receive_buffer=4096) as client:
        client.send(b"GET /long HTTP/1.1\r\nHost: site.test\r\n\r\n")
        waiting.until(lambda: proxy.status()["metrics"]["spool_memory_bytes"] > 0, "the download to be under way")
        os.kill(proxy.pid, signal.SIGTERM)
        waiting.until(lambda: proxy.status()["state"] == "stopping", "the drain")
        os.rename(proxy.path("access.log"), proxy.path("access.log.1"))
        assert proxy.command("reopen").returncode == 0
        waiting.until(lambda: os.path.exists(proxy.path("access.log")), "the new file")


def test_logs_can_be_off(ladle, origin):
    """access = "off" writes none."""
    proxy = ladle(origin(), {"log": {"access": "off"}})
    assert proxy.get().status == 200
    assert not os.path.exists(proxy.path("access.log"))


def test_a_reload_can_turn_the_logs_off_and_on(ladle, origin):
    """access = "off" after a reload ends the log with what was before it, an error log too; a further reload begins them again."""
    proxy = ladle(origin())
    proxy.get("/before")
    logs = proxy.settings["log"]
    proxy.configure({"log": {"access": {"to": "off"}, "error": {"to": "off"}}})
    assert proxy.reload().returncode == 0
    with open(proxy.path("error.log"), "rb") as file:
        ended = file.read()
    proxy.get("/between")
    proxy.configure({"log": logs})
    assert proxy.reload().returncode == 0
    proxy.get("/after")
    assert [line["target"] for line in proxy.access_log(2)] == ["/before", "/after"]
    with open(proxy.path("error.log"), "rb") as file:
        assert file.read().count(b"reloaded") == ended.count(b"reloaded") + 1


def test_lines_that_the_file_refuses_are_counted(ladle, origin):
    """A full disk loses access log lines, not requests, and says how many."""
    proxy = ladle(origin(), {"log": {"access": {"to": "/dev/full"}}})
    for _ in range(3):
        assert proxy.get().status == 200
    waiting.until(lambda: proxy.status()["metrics"]["log_lines_dropped"] == 3, "three lost lines")
    assert proxy.status()["metrics"]["log_lines"] == 0


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"])
def test_a_servers_fault_is_logged_with_the_request(ladle, origin, answer):
    """What the error log says of a server carries the id that the access log has."""
    def fail(_, connection):
        connection.send(answer)
        connection.close()
    proxy = ladle(origin(fail) if answer else f"http://127.0.0.1:{waiting.free_port()}")
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
        client.sock.recv(100)
    access = proxy.access_log(1)
    faults = [line for line in proxy.output().splitlines() if " warning worker=0 " in line]
    assert {line.split(" id=")[1].strip() for line in faults} == {access[0]["id"]}


def test_error_log_has_levels(ladle, origin):
    """Below its level nothing is written to the error log."""
    proxy = ladle(origin(), {"log": {"error": {"level": "error"}}})
    proxy.get()
    with open(proxy.path("error.log"), encoding="utf-8") as file:
        assert not [line for line in file if " info " in line or " debug " in line]


def test_the_request_id_is_logged_and_sent(ladle, origin):
    """The id in the log is the one that the server got."""
    server = origin()
    proxy = ladle(server)
    for _ in range(5):
        proxy.get()
    assert [line["id"] for line in proxy.access_log(5)] == [request.headers.get("X-Request-Id") for request in server.requests]


def test_every_reason_is_counted(ladle, origin):
    """Each request ends in the counter of its reason."""
    proxy = ladle(origin())
    proxy.get()
    with proxy.client() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        client.response()
    waiting.until(lambda: proxy.status()["metrics"]["ended_bad_host"] == 1, "the counter")
    assert proxy.status()["metrics"]["ended_ok"] >= 1


def test_the_error_log_is_not_flooded(ladle):
    """A server that is down is told of 20 times a second at most by each worker, and how many lines were held back is told and counted."""
    log = {"error": {"level": "warning"}}
    proxy = ladle(settings={"server": {"workers": 1}, "log": log, "upstream": {"app": {"servers": [f"127.0.0.1:{waiting.free_port()}"]}}, "site": {"*": {"upstream": "app"}}})
    begun, statuses = time.monotonic(), []

    def are_dropped():
        statuses.extend(proxy.get().status for _ in range(150))
        return proxy.status()["metrics"]["error_lines_dropped"] > 0
    waiting.until(are_dropped, "the counter")
    said = proxy.output().count("cannot connect to a server")
    assert set(statuses) == {502} and 20 <= said <= 20 * (time.monotonic() - begun + 2) and said < len(statuses)


def test_the_debug_level_says_more(ladle, origin):
    """level = "debug" tells of each connection to a server, "info" does not."""
    debug, info = (ladle(origin(), {"log": {"error": {"level": level}}}) for level in ("debug", "info"))
    for proxy in (info, debug):
        proxy.get()
    waiting.until(lambda: "connected to a server" in debug.output(), "the line")
    info.access_log(1) # written with the other one or later
    assert "connected to a server" not in info.output()
