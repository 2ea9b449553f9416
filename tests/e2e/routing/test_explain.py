# SPDX-License-Identifier: Apache-2.0
"""`ladle explain`: what the running proxy would do with a request."""

import json

from tests.harness import waiting
from tests.harness.origin import reply


def explain(proxy, *arguments):
    finished = proxy.command("explain", *arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_explain_says_what_then_happens_and_sends_nothing(ladle, origin):
    """Site, route, their lines, the path, the server and the cache key are those of the real request that follows."""
    server = origin(lambda request: reply(headers=[("Cache-Control", "max-age=60")]))
    proxy = ladle(None, {"upstream": {"app": {"servers": [server.url, "127.0.0.1:9"], "max_conn": 7}},
                         "site": {"*.test": {"upstream": "app", "body": "3MiB", "cache": True, "route": [
                             {"name": "api", "path": "/v2/*", "strip": "/v2", "headers": {"request_set": {"X-Env": "prod"}}},
                             {"name": "html", "accept": "text/html", "respond": 403},
                             {"name": "moved", "path": "/old", "redirect": {"to": "/new", "status": 302}}]}}})
    url = f"http://www.test:{proxy.port}"
    said = explain(proxy, "GET", url + "/v2/a?b=1")
    with open(proxy.config, encoding="utf-8") as file:
        lines = file.read().split("\n")
    def line_at(what):
        file, line = said[what]["at"].rsplit(":", 1)
        assert file == proxy.config
        return lines[int(line) - 1]
    assert said["site"]["name"] == "*.test" and line_at("site") == '[site."*.test"]'
    assert said["route"]["name"] == "api" and line_at("route") == '[[site."*.test".route]]'
    assert (said["path"], said["sent"]) == ("/v2/a", "/a?b=1")
    assert said["upstream"]["name"] == "app" and [one["chosen"] for one in said["upstream"]["servers"]].count(True) == 1
    assert said["body"] == 3 << 20 and said["limits"]["timeouts.connect"] == "3s"
    assert said["cache_key"] == url + "/v2/a?b=1"
    assert said["request_headers"] == {"X-Env": "prod"}
    assert not server.requests
    assert proxy.get("/v2/a?b=1", host=f"www.test:{proxy.port}").status == 200
    assert server.requests[0].target == "/a?b=1"
    assert explain(proxy, "GET", url + "/", "-H", "Accept: text/html")["answer"] == {"status": 403, "reason": "respond"}
    assert explain(proxy, "GET", url + "/old")["location"] == "/new"


def test_explain_takes_the_client_and_the_headers_that_it_is_given(ladle):
    """--client and -H choose routes as a client's address and headers do; what would be refused is said with its reason."""
    proxy = ladle("http://127.0.0.1:9", {"site": {"*": {"route": [{"name": "office", "client": "192.0.2.0/24"},
                                                                  {"name": "beta", "cookie": {"beta": "1"}}]}}})
    url = f"http://a.test:{proxy.port}/"
    assert explain(proxy, "GET", url)["route"]["name"] == "default"
    assert explain(proxy, "GET", url, "--client", "192.0.2.8")["route"]["name"] == "office"
    assert explain(proxy, "GET", url, "-H", "Cookie: beta=1")["route"]["name"] == "beta"
    assert explain(proxy, "CONNECT", url)["answer"] == {"status": 405, "reason": "method_not_allowed"}
    text = proxy.command("explain", "GET", url)
    assert text.returncode == 0 and "route     default" in text.stdout and proxy.config in text.stdout


def test_explain_says_clearly_what_it_cannot_answer(ladle):
    """A URL, a client or a header that is none, a port that nobody listens on, and a proxy that does not run are errors."""
    proxy = ladle("http://127.0.0.1:9")
    for arguments, words in [(("GET", "nonsense"), "expected a URL"), (("GET", "http://a.test/", "--client", "x"), "IP address"),
                             (("GET", "http://a.test:1/"), "port 1"), (("GET", "http://a.test/", "-H", "no"), "a header such as"),
                             (("GET", "http://a.test/", "-H", "a b: c"), "is no header"), (("GET", "https://a.test/"), "https")]:
        failed = proxy.command("explain", *arguments)
        assert failed.returncode != 0 and words in failed.stderr, failed.stderr
    proxy.stop()
    assert "not running" in ladle("http://127.0.0.1:9", start=False).command("explain", "GET", "http://a.test/").stderr


def test_a_question_counts_nothing(ladle):
    """explain asks which server would be next also where all are out of order; no panic is counted before a request meets it."""
    health = {"kind": "tcp", "interval": "100ms", "fall": 1}
    proxy = ladle(settings={"server": {"workers": 1}, "site": {"*": {"upstream": "app"}},
                            "upstream": {"app": {"servers": [f"127.0.0.1:{waiting.free_port()}"], "health": health}}})
    waiting.until(lambda: proxy.status()["servers"][0]["state"] == "down", "the check to fail")
    said = explain(proxy, "GET", f"http://a.test:{proxy.port}/")
    assert said["upstream"]["servers"][0]["chosen"] and proxy.status()["metrics"]["server_panics"] == 0
    assert proxy.get().status == 502 and proxy.status()["metrics"]["server_panics"] == 1
