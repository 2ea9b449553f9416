# SPDX-License-Identifier: Apache-2.0
"""load_report: what servers say of their load in their responses (ORCA) moves the requests, and goes no further."""

import struct
from base64 import b64encode
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.origin import chunked_reply, reply

AT_ONCE = {"blackout": "0s"}


class Reporter:
    """A server's answers: its name, and in a header what `report` is at the moment."""

    def __init__(self, name):
        self.name = name
        self.report = None
        self.field = "Endpoint-Load-Metrics"

    def __call__(self, request):
        return reply(self.name.encode(), headers=[(self.field, self.report)] if self.report is not None else [])


def group(ladle, origin, names="ab", workers=2, load_report=AT_ONCE, balance="round_robin", **more):
    reporters = [Reporter(name) for name in names]
    servers = [origin(reporter) for reporter in reporters]
    upstream = {"servers": [server.text for server in servers], "balance": balance, "eject": 0, **more}
    if load_report:
        upstream["load_report"] = load_report
    proxy = ladle(settings={"server": {"workers": workers}, "upstream": {"app": upstream}, "site": {"*": {"upstream": "app"}}})
    return proxy, reporters, servers


def ask(proxy, count=40):
    with proxy.client() as client:
        return Counter(client.request().body.decode() for _ in range(count))


def wait_shares(proxy, wanted, deadline=20):
    """Each worker makes its weights anew once a second; until then, and while reports come, it asks."""
    waiting.until(lambda: ask(proxy) == wanted, f"the shares to be {wanted}", deadline, every=0.1)


def metric(proxy, name):
    return proxy.status()["metrics"][name]


@pytest.mark.parametrize("busy,idle", [
    ("TEXT cpu_utilization=0.9, rps_fractional=90", "TEXT cpu_utilization=0.3, rps_fractional=90"),
    ('JSON {"application_utilization": 0.9, "cpu_utilization": 0.1, "rpsFractional": 90}', 'JSON {"cpu_utilization": 0.3, "rps_fractional": 90.0}'),
    ("BIN " + b64encode(struct.pack("<BdBd", 0x09, 0.9, 0x31, 90)).decode(), "BIN " + b64encode(struct.pack("<BdBd", 0x09, 0.3, 0x31, 90)).decode()),
], ids=["text", "JSON", "protobuf"])
def test_reports_move_the_load(ladle, origin, busy, idle):
    """Of two servers that do the same at 90 % and at 30 % the second gets three times as many, in all workers, without a reload."""
    proxy, (a, b), _ = group(ladle, origin)
    assert ask(proxy) == {"a": 20, "b": 20}
    a.report, b.report = busy, idle
    wait_shares(proxy, {"a": 10, "b": 30})
    a.report, b.report = idle, busy
    wait_shares(proxy, {"a": 30, "b": 10})
    assert metric(proxy, "server_load_reports") > 40 and metric(proxy, "server_load_reports_bad") == 0
    shown = proxy.status()["servers"][0]["load"]
    assert shown["counts"] and abs(shown["capacity_per_s"] - 300) < 0.1
    assert "load: 300.0 requests/s if it were used up" in proxy.command("status").stdout
    assert "of its weight 300 %" in proxy.command("explain", "GET", f"http://localhost:{proxy.port}/").stdout


def test_errors_count_as_load(ladle, origin):
    """A server of whose requests half fail has half a utilisation more, times the penalty."""
    proxy, (a, b), _ = group(ladle, origin)
    a.report, b.report = "TEXT cpu_utilization=0.5, rps_fractional=10, eps=5", "TEXT cpu_utilization=0.5, rps_fractional=10"
    waiting.until(lambda: 12 <= ask(proxy)["a"] <= 14, "a third to go there", 20)
    proxy.configure({"upstream": {"app": {"load_report": {"penalty": "0%"}}}})
    assert proxy.reload().returncode == 0
    wait_shares(proxy, {"a": 20, "b": 20})


@pytest.mark.parametrize("nonsense", [
    "", "TEXT", "TEXT cpu_utilization=many", "TEXT rps_fractional=-1", "JSON {", "JSON " + "[" * 3000, "BIN ////", "YAML x: 1", "x" * 5000,
    "TEXT cpu_utilization=nan, rps_fractional=inf", "TEXT cpu_utilization=0.5", "TEXT rps_fractional=5", "TEXT cpu_utilization=1e-300, rps_fractional=1e300",
], ids=lambda text: text[:20] or "empty")
def test_nonsense_is_counted_and_changes_nothing(ladle, origin, nonsense):
    """What is no report, or says nothing that a weight can be made of, leaves the weights as they are."""
    proxy, (a, b), _ = group(ladle, origin, workers=1)
    a.report, b.report = nonsense, "TEXT cpu_utilization=0.3, rps_fractional=90"
    waiting.until(lambda: ask(proxy) == {"a": 20, "b": 20} and metric(proxy, "server_load_reports_bad") > 60, "many reports", 20)
    with proxy.client() as client:
        response = client.request()
    assert response.headers.get("endpoint-load-metrics") is None


def test_clients_do_not_get_the_reports(ladle, origin):
    """Neither form of the header goes to the client, in whatever case, nor as a trailer, nor from the cache; servers are asked for it."""
    server = origin(lambda request: chunked_reply([b"x"], headers=[("ENDPOINT-load-metrics", "TEXT eps=1"), ("endpoint-load-metrics-bin", "AAAA"),
                                                                   ("Cache-Control", "max-age=60"), ("X-Kept", "1")],
                                                  trailers=[("endpoint-load-metrics", "TEXT cpu_utilization=0.5, rps_fractional=5"), ("X-Trailer", "1")]))
    proxy = ladle(settings={"upstream": {"app": {"servers": [server.text], "load_report": "orca"}},
                            "site": {"*": {"upstream": "app", "route": [{"path": "/cached", "cache": True}]}}})
    for target in ("/plain", "/cached", "/cached"):
        with proxy.client() as client:
            response = client.request("GET", target, headers=[("TE", "trailers"), ("endpoint-load-metrics-format", "BIN"), ("endpoint_load_metrics_format", "BIN")])
        assert response.headers.get("x-kept") == "1"
        assert not any("endpoint" in name.lower() for name, _ in [*response.headers, *response.trailers])
    assert len(server.requests) == 2
    asked = [value for name, value in server.requests[0].headers if name.lower().replace("_", "-") == "endpoint-load-metrics-format"]
    assert asked == ["TEXT"]
    assert metric(proxy, "server_load_reports_bad") >= 4
    assert metric(proxy, "server_load_reports") >= 1  # the trailer


def test_without_load_report_nothing_is_read_or_removed(ladle, origin):
    """The header is any header where nobody asked for it."""
    proxy, (a, _), servers = group(ladle, origin, load_report=None)
    a.report = "TEXT cpu_utilization=0.9, rps_fractional=9"
    with proxy.client() as client:
        answers = [client.request() for _ in range(2)]
    assert [answer.headers.get("endpoint-load-metrics") for answer in answers if answer.body == b"a"] == [a.report]
    assert metric(proxy, "server_load_reports") == 0
    assert "load" not in proxy.status()["servers"][0]
    assert servers[0].requests[0].headers.get("endpoint-load-metrics-format") is None


def test_reports_do_not_count_during_the_blackout_and_when_they_are_old(ladle, origin):
    """A server that has only just begun to report has its configured weight; one that has stopped has it back after `expire`."""
    proxy, (a, b), _ = group(ladle, origin, workers=1, load_report={"blackout": "1h", "expire": "3s"})
    a.report, b.report = "TEXT cpu_utilization=0.9, rps_fractional=90", "TEXT cpu_utilization=0.3, rps_fractional=90"
    waiting.until(lambda: ask(proxy) == {"a": 20, "b": 20} and metric(proxy, "server_load_reports") > 120, "many reports", 20)
    assert not proxy.status()["servers"][0]["load"]["counts"]
    assert "does not count now" in proxy.command("status").stdout
    proxy.configure({"upstream": {"app": {"load_report": {"blackout": "0s"}}}})
    assert proxy.reload().returncode == 0
    wait_shares(proxy, {"a": 10, "b": 30})
    a.report = b.report = None
    wait_shares(proxy, {"a": 20, "b": 20})


def test_reports_outlive_a_reload_and_an_upgrade(ladle, origin):
    """What servers have said is known to the next configuration, and to the next program."""
    proxy, (a, b), _ = group(ladle, origin, workers=1)
    a.report, b.report = "TEXT cpu_utilization=0.9, rps_fractional=90", "TEXT cpu_utilization=0.3, rps_fractional=90"
    wait_shares(proxy, {"a": 10, "b": 30})
    a.report = b.report = None
    proxy.configure({"upstream": {"app": {"queue": {"size": 7}}}})
    assert proxy.reload().returncode == 0
    assert ask(proxy) == {"a": 10, "b": 30}
    assert proxy.command("upgrade").returncode == 0
    waiting.until(lambda: proxy.status()["state"] == "serving", "the upgrade's end", 20)
    assert ask(proxy) == {"a": 10, "b": 30}
