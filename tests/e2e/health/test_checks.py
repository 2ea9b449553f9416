# SPDX-License-Identifier: Apache-2.0
"""Active health checks: what the caretaker asks servers, what every worker makes of it, and what outlives what."""

import os
import signal
import socket
import ssl
import threading
import time

import pytest

from tests.harness import waiting
from tests.harness.certificates import Authority
from tests.harness.dns import Dns
from tests.harness.nginx_origin import NginxOrigin
from tests.harness.origin import reply

FAST = {"path": "/healthz", "interval": "100ms", "timeout": "1s", "rise": 2, "fall": 2}


class Switch:
    """A server's answers: to /healthz what `health` is at the moment, else its name."""

    def __init__(self, name):
        self.name = name
        self.health = reply()

    def __call__(self, request, connection):
        answer = self.health if request.target == "/healthz" else reply(self.name.encode(), headers=[("Connection", "close")])
        return answer(request, connection) if callable(answer) else answer


def group(ladle, servers, health, workers=2, **more):
    return ladle(settings={"server": {"workers": workers, **more.pop("server", {})},
                           "upstream": {"app": {"servers": servers, "health": health, "eject": 0, **more}}, "site": {"*": {"upstream": "app"}}})


def states(proxy):
    return [server["state"] for server in proxy.status()["servers"]]


def wait_states(proxy, *wanted, deadline=None):
    waiting.until(lambda: states(proxy) == list(wanted), f"the servers to be {wanted}", deadline, every=0.05)


def wait_checked(proxy):
    waiting.until(lambda: all(server["check"]["verdict"] != "unknown" for server in proxy.status()["servers"]), "the first checks", every=0.05)


def answers(proxy, count=20):
    return {proxy.get().body.decode() for _ in range(count)}


@pytest.fixture
def pair(origin):
    switches = Switch("a"), Switch("b")
    return switches, [origin(switch) for switch in switches]


def hang(request, connection):
    time.sleep(2.5)


def cut(request, connection):
    connection.reset()


@pytest.mark.parametrize("bad,last", [
    (reply(status=500), "wrong status"), (hang, "silent"), (cut, "malformed"), (b"nonsense\r\n\r\n", "malformed"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab", "silent"), (reply(status=404), "wrong status"),
], ids=["500", "hanging", "reset", "nonsense", "hanging in the body", "404"])
def test_a_server_that_fails_its_check_gets_no_request(ladle, pair, bad, last):
    """A server whose checks fail is used by no worker, status says why, and it is used again once they are good."""
    (a, b), servers = pair
    proxy = group(ladle, [server.text for server in servers], FAST)
    wait_states(proxy, "up", "up")
    a.health = bad
    wait_states(proxy, "down", "up", deadline=15)
    assert answers(proxy) == {"b"}
    shown = proxy.status()["servers"][0]
    assert shown["check"]["last"][0] == last and shown["why"].startswith("check: ") and shown["out_for_ms"] >= 0
    assert shown["check"]["next_in_ms"] <= 200
    a.health = reply()
    wait_states(proxy, "up", "up", deadline=15)
    waiting.until(lambda: answers(proxy) == {"a", "b"}, "both to be used")


def test_a_server_that_refuses_is_found_down_without_a_request(ladle, origin):
    """A server that nobody listens at goes down by its checks alone, after `fall` of them, and before the first result it counts as up."""
    dead = f"127.0.0.1:{waiting.free_port()}"
    proxy = group(ladle, [dead, origin(Switch("b")).text], {**FAST, "interval": "5s"})
    assert states(proxy) == ["up", "up"]
    wait_states(proxy, "down", "up", deadline=20)
    text = proxy.command("status").stdout
    assert "check: connect: Connection refused" in text and "refused, refused" in text


def test_with_every_server_down_all_are_tried(ladle, pair):
    """Panic: checks that are wrong about all servers cost no request; panic = false answers 502 instead."""
    switches, servers = pair
    proxy = group(ladle, [server.text for server in servers], FAST)
    wait_checked(proxy)
    for switch in switches:
        switch.health = reply(status=500)
    wait_states(proxy, "down", "down")
    waiting.until(lambda: answers(proxy) == {"a", "b"}, "both to be used")
    shown = proxy.status()
    assert all(server["panic"] for server in shown["servers"]) and shown["metrics"]["server_panics"] > 0
    assert shown["metrics"]["server_checks"] > shown["metrics"]["server_checks_failed"] >= 4
    assert "tried all the same" in proxy.command("status").stdout
    proxy.configure({"upstream": {"app": {"panic": False}}})
    assert proxy.reload().returncode == 0
    assert proxy.get().status == 502
    switches[1].health = reply()
    wait_states(proxy, "down", "up")
    assert answers(proxy) == {"b"}


@pytest.mark.parametrize("expect,status,good", [("2xx", 204, True), (503, 503, True), ("200-299", 301, False), (["204", "3xx"], 301, True)])
def test_expect_says_which_statuses_are_good(ladle, origin, expect, status, good):
    """`expect` takes a status, a class, a range, or a list of them."""
    switch = Switch("a")
    switch.health = reply(b"", status=status, length=status != 204)
    proxy = group(ladle, [origin(switch).text, origin(Switch("b")).text], {**FAST, "expect": expect})
    wait_checked(proxy)
    assert states(proxy)[0] == ("up" if good else "down")


def test_the_body_must_contain_the_text(ladle, origin):
    """`body` is looked for in the answer's body, however that is framed, and only in its first 64 KiB."""
    a, b, c = Switch("a"), Switch("b"), Switch("c")
    a.health = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nstatus: r\r\n4\r\neady\r\n0\r\n\r\n"
    b.health = reply(b"status: starting")
    c.health = reply(b"x" * 70000 + b"status: ready")
    proxy = group(ladle, [origin(one).text for one in (a, b, c)], {**FAST, "body": "status: ready"})
    wait_states(proxy, "up", "down", "down")
    assert proxy.status()["servers"][1]["check"]["last"][0] == "wrong body"


def test_what_is_asked(ladle, origin):
    """Path, method and host are as configured; the connection is closed, and the check says who it is."""
    switch = Switch("a")
    server = origin(switch)
    proxy = group(ladle, [server.text], {**FAST, "method": "HEAD", "host": "app.test"})
    wait_checked(proxy)
    asked = next(request for request in server.requests if request.target == "/healthz")
    assert asked.method == "HEAD" and asked.headers.get("host") == "app.test" and asked.headers.get("user-agent") == "ladle-health-check"


def test_only_the_caretaker_asks(ladle, pair):
    """However many workers there are, a server is asked once in an interval, give or take a tenth."""
    _, servers = pair
    proxy = group(ladle, [server.text for server in servers], {**FAST, "interval": "500ms"}, workers=4)
    wait_checked(proxy)
    waiting.until(lambda: len(servers[0].requests) >= 5, "five checks", 10)
    first, last = servers[0].connections[0].opened_at, servers[0].connections[4].opened_at
    assert 1.2 <= last - first  # a busy machine may be late to see the first


def test_another_port_and_tcp(ladle, origin):
    """kind = "tcp" is content with a connection, to another `port` where there is one."""
    checked = socket.create_server(("127.0.0.1", 0))
    proxy = group(ladle, [origin(Switch("a")).text, origin(Switch("b")).text],
                  {"kind": "tcp", "port": checked.getsockname()[1], "interval": "100ms", "fall": 2, "timeout": "500ms"})
    wait_checked(proxy)
    assert states(proxy) == ["up", "up"]
    checked.close()
    wait_states(proxy, "down", "down")
    assert proxy.get().status == 200


def test_health_is_kept_over_a_reload_and_begins_anew_with_another_check(ladle, pair):
    """A reload that leaves the check as it is leaves its state; another check starts with the benefit of the doubt."""
    (a, _), servers = pair
    proxy = group(ladle, [server.text for server in servers], {**FAST, "interval": "1h"}, workers=2)
    wait_checked(proxy)
    proxy.configure({"upstream": {"app": {"health": FAST}}})
    a.health = reply(status=500)
    assert proxy.reload().returncode == 0
    wait_states(proxy, "down", "up")
    since = proxy.status()["servers"][0]["check"]["for_ms"]
    for _ in range(3):
        proxy.configure({"upstream": {"app": {"queue": {"size": 10 + _}}}})
        assert proxy.reload().returncode == 0
        assert states(proxy) == ["down", "up"]
    assert proxy.status()["servers"][0]["check"]["for_ms"] > since
    assert answers(proxy) == {"b"}
    proxy.configure({"upstream": {"app": {"health": {**FAST, "path": "/other"}}}})
    assert proxy.reload().returncode == 0
    assert "up" in states(proxy)[0]
    waiting.until(lambda: answers(proxy) == {"a", "b"}, "both to be used")


def test_a_killed_caretaker_loses_nothing(ladle, pair):
    """With the caretaker killed in the middle of a check, what it knew stays, and the next one goes on from there."""
    (a, b), servers = pair
    proxy = group(ladle, [server.text for server in servers], FAST)
    a.health = reply(status=500)
    wait_states(proxy, "down", "up")
    go = threading.Event()
    b.health = lambda request, connection: go.wait(60) and connection.send(reply())
    count = len(servers[1].requests)
    waiting.until(lambda: len(servers[1].requests) > count, "a check to be under way")
    before = proxy.caretaker()
    os.kill(before, signal.SIGKILL)
    assert answers(proxy) == {"b"}
    waiting.until(lambda: proxy.caretaker() not in (None, before), "another caretaker", 15)
    b.health = reply()
    go.set()
    assert states(proxy) == ["down", "up"] and answers(proxy) == {"b"}
    a.health = reply()
    wait_states(proxy, "up", "up", deadline=15)


def test_health_outlives_an_upgrade(ladle, pair):
    """The next program, with another caretaker, knows from its first request on who is down, and goes on checking."""
    (a, _), servers = pair
    proxy = group(ladle, [server.text for server in servers], {**FAST, "interval": "1s"})
    a.health = reply(status=500)
    wait_states(proxy, "down", "up", deadline=20)
    since = proxy.status()["servers"][0]["check"]["for_ms"]
    assert proxy.command("upgrade").returncode == 0
    assert states(proxy) == ["down", "up"] and answers(proxy) == {"b"}
    assert proxy.status()["servers"][0]["check"]["for_ms"] > since
    a.health = reply()
    wait_states(proxy, "up", "up", deadline=20)


def test_all_addresses_of_a_name_are_asked(ladle, origin, cleanup):
    """A name is up while one of its addresses is, and the others are not connected to."""
    port = waiting.free_port()
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    switches = [Switch(host) for host in hosts]
    for switch, host in zip(switches, hosts):
        origin(switch, host=host, port=port)
    cleanup.append(Dns({"app.ladle.test": (60, hosts)}))
    proxy = group(ladle, [f"app.ladle.test:{port}"], FAST, server={"resolvers": [cleanup[-1].text]})
    wait_checked(proxy)
    waiting.until(lambda: answers(proxy) == set(hosts), "all to be used")
    switches[1].health = reply(status=500)
    waiting.until(lambda: "127.0.0.2" not in answers(proxy, 12), "the bad address to be left alone", 15)
    assert states(proxy) == ["up"] and answers(proxy) == {"127.0.0.1", "127.0.0.3"}
    switches[1].health = reply()
    waiting.until(lambda: answers(proxy) == set(hosts), "all to be used again", 15)


def test_a_server_with_tls_must_prove_who_it_is(ladle, origin, cleanup, tmp_path):
    """Checks are as strict as requests: TLS with the upstream's verification, and a certificate that does not fit is a failed check."""
    authority = Authority(tmp_path)
    good, bad = Switch("a"), Switch("b")
    texts = []
    for switch, name in ((good, "app.test"), (bad, "other.test")):
        plain = origin(switch)
        texts.append(tls_front(cleanup, authority.issue(name), plain))
    proxy = group(ladle, texts, FAST, tls={"ca": str(authority.pem), "sni": "app.test"})
    wait_states(proxy, "up", "down")
    assert "TLS" in proxy.status()["servers"][0 if states(proxy)[0] == "down" else 1]["why"]


def tls_front(cleanup, certificate, plain):
    """TLS in front of a plain origin; where it listens."""
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    class Stop:
        def stop(self):
            listener.close()

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(raw):
        try:
            outside = settings.wrap_socket(raw, server_side=True)
        except (ssl.SSLError, OSError):
            return
        inside = socket.create_connection(("127.0.0.1", plain.port))
        threading.Thread(target=pump, args=(outside, inside), daemon=True).start()
        pump(inside, outside)
        outside.close()

    def accept():
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(raw,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    cleanup.append(Stop())
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_real_nginx_goes_and_comes_back(ladle):
    """Real nginx servers, one of which is stopped and started again, with HTTP/1 checks."""
    with NginxOrigin() as first:
        second = NginxOrigin()
        try:
            proxy = group(ladle, [first.text, second.text], {**FAST, "path": "/1k"})
            wait_checked(proxy)
            assert states(proxy) == ["up", "up"]
        finally:
            second.stop()
        wait_states(proxy, "up", "down", deadline=15)
        assert all(proxy.get("/1k").status == 200 for _ in range(20))


def test_http2_servers_are_asked_over_http2(ladle):
    """An upstream of protocol "h2" is checked over HTTP/2."""
    with NginxOrigin(http2=True) as server:
        proxy = group(ladle, [server.text], {**FAST, "path": "/1k"}, protocol="h2")
        wait_checked(proxy)
        assert states(proxy) == ["up"]
        proxy.configure({"upstream": {"app": {"health": {"path": "/missing"}}}})
        assert proxy.reload().returncode == 0
        wait_states(proxy, "down")


def test_grpc_servers_are_asked_by_the_health_protocol(ladle, cleanup):
    """kind = "grpc" asks grpc.health.v1.Health/Check of a real gRPC server, as a whole or for one service."""
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor
    status = {"value": 1}

    def check(request, _):
        if request not in (b"", b"\x0a\x04shop"):
            raise AssertionError(request)
        return b"\x08" + bytes([status["value"]])
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    class Stop:
        def stop(self):
            server.stop(None)
    cleanup.append(Stop())
    proxy = group(ladle, [f"127.0.0.1:{port}"], {**FAST, "kind": "grpc", "service": "shop"}, protocol="h2")
    wait_checked(proxy)
    assert states(proxy) == ["up"]
    status["value"] = 2
    wait_states(proxy, "down")
    assert proxy.status()["servers"][0]["check"]["last"][0] == "not serving" and "NOT_SERVING" in proxy.status()["servers"][0]["why"]
    status["value"] = 1
    wait_states(proxy, "up")


def test_a_want_of_our_own_is_no_result_of_a_check(ladle, origin):
    """A caretaker whose descriptors other checks hold says that it cannot check the rest, and nobody goes down or has failed for it."""
    hanging = origin(script=lambda connection: connection.is_ended_by_peer(60), host="0.0.0.0")
    servers = [f"127.0.1.{number}:{hanging.port}" for number in range(1, 101)]
    health = {"path": "/healthz", "interval": "100ms", "timeout": "60s", "fall": 1}
    proxy = ladle(settings={"upstream": {"app": {"servers": servers, "health": health}}, "site": {"*": {"upstream": "app"}}},
                  wrap=("prlimit", "--nofile=70:70"))
    proxy.expect_failures = True  # a sanitizer that looks at types needs descriptors itself, and without them sees faults that are none
    waiting.until(lambda: proxy.output().count("a server cannot be checked") >= 50, "checks that cannot be made")
    assert "Too many open files" in proxy.output()
    assert set(states(proxy)) == {"up"} and proxy.status()["metrics"]["server_checks_failed"] == 0
