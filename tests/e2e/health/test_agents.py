# SPDX-License-Identifier: Apache-2.0
"""Agents beside the servers: what they say moves the load in all workers without a reload, and nonsense moves nothing."""

import os
import re
import signal
from collections import Counter

import pytest

from tests.harness import waiting
from tests.harness.agent import Agent
from tests.harness.dns import Dns
from tests.harness.origin import Origin, reply

FAST = {"interval": "100ms", "timeout": "1s"}
HOSTS = ["127.0.0.2", "127.0.0.3"]


def named(name):
    return lambda request: reply(name.encode(), headers=[("Connection", "close")])


@pytest.fixture
def pair(cleanup):
    """Two servers at two addresses, and their agents at one port of each."""
    made = []

    def start(what, host, port, **more):
        made.append(what(host=host, port=port, **more))
        cleanup.append(made[-1])
        return made[-1]
    servers = [start(Origin, host, waiting.free_port(), answer=named(name)) for host, name in zip(HOSTS, "ab")]
    port = waiting.free_port()
    return servers, [start(Agent, host, port) for host in HOSTS]


def group(ladle, servers, agent, workers=2, **more):
    upstream = {"servers": servers, "agent": agent, "balance": "round_robin", "eject": 0, **more.pop("upstream", {})}
    return ladle(settings={"server": {"workers": workers, **more.pop("server", {})}, "upstream": {"app": upstream}, "site": {"*": {"upstream": "app"}}})


def with_agents(ladle, pair, workers=2, **upstream):
    servers, agents = pair
    return group(ladle, [one.text for one in servers], {"port": agents[0].port, **FAST}, workers, upstream=upstream)


def shown(proxy, number=0):
    return proxy.status()["servers"][number]


def wait_shown(proxy, what, number=0, **wanted):
    def fits():
        agent = shown(proxy, number)["agent"]
        return all(agent.get(key) == value for key, value in wanted.items())
    waiting.until(fits, what, 15, every=0.05)


def wait_state(proxy, wanted, number=0):
    waiting.until(lambda: shown(proxy, number)["state"] == wanted, f"the server to be {wanted}", 15, every=0.05)


def wait_asked(agent, times=2):
    """Until what it says now has been heard: a question that began after this, and the one after that."""
    before = agent.asked
    waiting.until(lambda: agent.asked >= before + times + 1, "the agent to be asked", 15)


def ask(proxy, count=40):
    return Counter(response.body.decode() if response.status == 200 else response.status for response in (proxy.get() for _ in range(count)))


def wait_shares(proxy, **wanted):
    """Workers make their weights anew every 100 ms; then shares are exact."""
    waiting.until(lambda: ask(proxy) == wanted, f"the shares to be {wanted}", 15)


def test_a_percentage_moves_the_load_in_every_worker_without_a_reload(ladle, pair):
    """An agent that says 25% has a quarter of its server's weight, all workers together, and with 100% it is as before."""
    _, agents = pair
    proxy = with_agents(ladle, pair, workers=3)
    wait_shown(proxy, "the first answer", state="up", order="ready", percent=100)
    wait_shares(proxy, a=20, b=20)
    agents[0].line = b"25%\n"
    wait_shares(proxy, a=8, b=32)
    assert shown(proxy)["agent"]["percent"] == 25 and shown(proxy)["state"] == "up"
    explained = proxy.command("explain", "GET", f"http://localhost:{proxy.port}/").stdout
    assert "of its weight 25 %" in explained
    agents[0].line = b"100%\n"
    wait_shares(proxy, a=20, b=20)
    metrics = proxy.status()["metrics"]
    assert metrics["server_agent_checks"] > 4 and metrics["server_agent_failed"] * 4 < metrics["server_agent_checks"]


@pytest.mark.parametrize("word,back,state", [
    (b"drain", b"ready", "drained"), (b"MAINT", b"READY", "off"), (b"down # disk full", b"up", "down"),
    (b"stopped", b"up", "down"), (b"failed", b"Up", "down"), (b"0%", b"50%", "full"),
])
def test_a_word_takes_a_server_out_and_its_opposite_brings_it_back(ladle, pair, word, back, state):
    """drain, maint, a state or no weight takes a server out in all workers; status and explain say that its agent did, and why."""
    _, agents = pair
    proxy = with_agents(ladle, pair)
    agents[0].line = word + b"\n"
    wait_state(proxy, state)
    assert ask(proxy) == {"b": 40}
    text = proxy.command("status").stdout
    says = word.split()[0].decode().lower()
    assert shown(proxy)["why"].startswith(f"agent: {says}") and f"agent: {says}" in text
    assert ("disk full" in text) == (b"#" in word)
    assert f"its agent says {says}" in proxy.command("explain", "GET", f"http://localhost:{proxy.port}/").stdout
    waiting.until(lambda: "the agent of a server takes it out" in proxy.output(), "the log line")
    agents[0].line = back + b"\n"
    wait_state(proxy, "up")
    waiting.until(lambda: ask(proxy)["a"] > 0, "the server to be used again")


def test_draining_keeps_the_clients_that_stick_and_maint_does_not(ladle, pair):
    """A client with a sticky cookie stays at a server that its agent drains; with maint it goes to another."""
    _, agents = pair
    proxy = with_agents(ladle, pair, sticky="srv")
    first = next(response for response in (proxy.get() for _ in range(10)) if response.body == b"a")
    cookie = [("Cookie", first.headers.get("set-cookie").split(";")[0])]
    agents[0].line = b"drain\n"
    wait_state(proxy, "drained")
    assert {proxy.get(headers=cookie).body for _ in range(5)} == {b"a"} and ask(proxy, 10) == {"b": 10}
    agents[0].line = b"maint\n"
    wait_state(proxy, "off")
    assert {proxy.get(headers=cookie).body for _ in range(5)} == {b"b"}


def long_line(connection):
    try:
        while True:
            connection.send(b"up " * 10_000)
    except OSError:
        pass


def reset(connection):
    connection.send(b"dow")
    connection.reset()


@pytest.mark.parametrize("nonsense", [
    b"", b"\n", b"down, says the server\n", b"HTTP/1.1 200 OK\r\n\r\ndown", b"\0down\n", b"-5%\n", b"maxconn:many\n", b"\xff" * 512, b"drain" * 200, long_line, reset, None,
], ids=["nothing", "an empty line", "a sentence", "HTTP", "a zero byte", "a negative weight", "no number", "no text", "a long word", "without end", "a reset", "silence"])
def test_nonsense_of_an_agent_changes_nothing(ladle, pair, nonsense):
    """What is not understood, or never ends, leaves what was said before; it is a warning in the log, and counted."""
    _, agents = pair
    proxy = with_agents(ladle, pair)
    agents[0].line = b"50% up ready\n"
    wait_shown(proxy, "the first answer", percent=50)
    agents[0].line = nonsense
    waiting.until(lambda: proxy.status()["metrics"]["server_agent_failed"] >= 2, "two bad answers", 15)
    agent = shown(proxy)["agent"]
    assert (agent["percent"], agent["state"], agent["order"]) == (50, "up", "ready") and shown(proxy)["state"] == "up"
    assert agent["last"][0] in ("malformed", "silent") or nonsense is reset and agent["last"][0] == "refused"  # that is when it is quick
    assert agent["last_failure"]
    waiting.until(lambda: "gives no answer that can be used" in proxy.output(), "the log line")
    assert proxy.output().count("gives no answer that can be used") <= 3  # one for each way to fail, however often it does
    agents[0].line = b"down\n"
    wait_state(proxy, "down")
    waiting.until(lambda: "the agent of a server answers again" in proxy.output(), "the log line")


def test_an_agent_that_dies_leaves_what_it_said(ladle, pair, cleanup):
    """An agent that refuses connections is no failing server: what it said last holds until one is there that says otherwise."""
    servers, agents = pair
    proxy = with_agents(ladle, pair)
    agents[0].line = b"25%\n"
    agents[1].line = b"drain\n"
    wait_shown(proxy, "the weight", percent=25)
    wait_state(proxy, "drained", 1)
    for agent in agents:
        agent.stop()
    waiting.until(lambda: all(server["agent"]["last"][0] == "refused" for server in proxy.status()["servers"]), "the agents to be missed", 15)
    assert ask(proxy) == {"a": 40}
    assert shown(proxy)["agent"]["percent"] == 25 and shown(proxy, 1)["state"] == "drained"
    assert "Connection refused" in shown(proxy)["agent"]["last_failure"]
    cleanup.append(Agent(b"ready 25%\n", host=HOSTS[1], port=agents[1].port))
    wait_shares(proxy, a=20, b=20)


def test_operator_check_and_agent_each_keep_a_server_out(ladle, pair):
    """None of the three brings back what another one has taken out."""
    servers, agents = pair
    healthy = [True]
    servers[0].answer = lambda request: reply(b"a", status=200 if healthy[0] or request.target != "/healthz" else 500, headers=[("Connection", "close")])
    health = {"path": "/healthz", "interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1}
    proxy = with_agents(ladle, pair, health=health)
    order = ["upstream", "app", "server", servers[0].text]
    healthy[0] = False
    agents[0].line = b"down\n"
    wait_shown(proxy, "the agent", state="down")
    waiting.until(lambda: shown(proxy)["check"]["verdict"] == "down", "the check to fail", 15)
    assert proxy.command(*order, "drain").returncode == 0
    agents[0].line = b"up ready\n"
    wait_shown(proxy, "the agent", state="up")
    assert shown(proxy)["why"] == "ordered by the operator" and ask(proxy, 10) == {"b": 10}
    assert proxy.command(*order, "resume").returncode == 0
    assert shown(proxy)["why"].startswith("check: ") and ask(proxy, 10) == {"b": 10}
    agents[0].line = b"drain\n"
    wait_shown(proxy, "the agent", order="drain")
    healthy[0] = True
    waiting.until(lambda: shown(proxy)["check"]["verdict"] == "up", "the check", 15)
    assert shown(proxy)["why"] == "agent: drain" and ask(proxy, 10) == {"b": 10}
    assert proxy.command(*order, "up").returncode == 0
    assert ask(proxy, 10) == {"b": 10}
    agents[0].line = b"ready\n"
    wait_shares(proxy, a=20, b=20)


def test_with_every_agent_out_orders_hold_and_findings_are_tried(ladle, pair):
    """Every agent saying "down" or 0% may be wrong: requests are tried. Every agent saying maint is an order: 502."""
    _, agents = pair
    proxy = with_agents(ladle, pair)
    for line, state, wanted in ((b"down\n", "down", {"a": 5, "b": 5}), (b"up 0%\n", "full", {"a": 5, "b": 5}), (b"maint\n", "off", {502: 10})):
        for agent in agents:
            agent.line = line
        wait_state(proxy, state, 0)
        wait_state(proxy, state, 1)
        assert ask(proxy, 10) == wanted


def test_maxconn_is_held_over_all_workers(ladle, pair):
    """maxconn:1 at both servers: of three requests at once two are at a server and one waits, until the agent allows more."""
    import threading
    servers, agents = pair
    go = threading.Event()
    for server in servers:
        server.answer = lambda request: go.wait(60) and reply(b"late")
    for agent in agents:
        agent.line = b"maxconn:1\n"
    proxy = with_agents(ladle, pair, queue={"size": 10, "timeout": "20s"})
    wait_shown(proxy, "the limit", max_conn=1)
    wait_shown(proxy, "the limit", number=1, max_conn=1)
    got = []
    clients = [threading.Thread(target=lambda: got.append(proxy.get().status)) for _ in range(3)]
    for client in clients:
        client.start()
    waiting.until(lambda: proxy.status()["metrics"]["server_queue"] == 1, "one to wait", 15)
    waiting.until(lambda: [len(server.requests) for server in servers] == [1, 1], "one at each server")
    agents[0].line = b"maxconn:2\n"
    waiting.until(lambda: len(servers[0].requests) == 2, "it to be let in", 15)
    go.set()
    for client in clients:
        client.join()
    assert got == [200] * 3


def test_an_agent_may_answer_over_http(ladle, cleanup):
    """agent = { path }: the first line of the body counts, however it is framed; an answer that is no 2xx changes nothing."""
    answers = {"load": reply(b"25%, up\nthe rest is for people\n")}

    def serve(name):
        return lambda request: answers["load"] if request.target == "/load" and name == "a" else reply(b"up" if request.target == "/load" else name.encode())
    servers = [Origin(serve(name)) for name in "ab"]
    cleanup.extend(servers)
    proxy = group(ladle, [one.text for one in servers], {"path": "/load", "host": "app.test", **FAST})
    wait_shown(proxy, "the weight", percent=25, state="up")
    wait_shares(proxy, a=8, b=32)
    asked = next(request for request in servers[0].requests if request.target == "/load")
    assert asked.headers.get("host") == "app.test" and asked.headers.get("user-agent") == "ladle-health-check"
    answers["load"] = reply(b"down\n", status=503)
    waiting.until(lambda: shown(proxy)["agent"]["last"][0] == "wrong status", "the bad answer", 15)
    assert shown(proxy)["state"] == "up" and shown(proxy)["agent"]["percent"] == 25
    answers["load"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ndr\r\n4\r\nain\n\r\n0\r\n\r\n"
    wait_state(proxy, "drained")


def test_one_agent_for_many_is_told_whom_it_is_asked_about(ladle, cleanup):
    """`send` is said first, with the names of upstream and server in it; one agent at one port answers for two servers."""
    servers = [Origin(named(name)) for name in "ab"]
    agent = Agent(lines={f"app/{servers[0].text}\n".encode(): b"drain\n", f"app/{servers[1].text}\n".encode(): b"ready\n"})
    cleanup.extend([*servers, agent])
    proxy = group(ladle, [one.text for one in servers], {"port": agent.port, "send": "{upstream}/{server}\n", **FAST})
    wait_state(proxy, "drained")
    wait_shown(proxy, "the other answer", number=1, order="ready")
    assert ask(proxy) == {"b": 40} and set(agent.told) == set(agent.lines)


def test_the_agent_of_a_server_on_a_unix_socket_is_on_this_host(ladle, cleanup, tmp_path):
    """A server without a port has its agent at 127.0.0.1."""
    os.chmod(tmp_path, 0o755)
    servers = [Origin(named("a"), unix=str(tmp_path / "a.sock")), Origin(named("b"))]
    agent = Agent(b"20% up\n")
    cleanup.extend([*servers, agent])
    proxy = group(ladle, [one.text for one in servers], {"port": agent.port, **FAST})
    wait_shown(proxy, "the answer", percent=20, state="up")


def test_what_an_agent_said_outlives_a_reload_a_crash_and_an_upgrade(ladle, pair):
    """The agent need not say it again; only another question begins anew."""
    servers, agents = pair
    proxy = with_agents(ladle, pair)
    agents[0].line = b"drain 30% # for the night\n"
    wait_state(proxy, "drained")
    agents[0].line = None  # says no more
    proxy.configure({"upstream": {"app": {"queue": {"size": 7}, "agent": {"interval": "1s"}}}})
    assert proxy.reload().returncode == 0
    assert shown(proxy)["state"] == "drained" and ask(proxy, 10) == {"b": 10}
    before = proxy.caretaker()
    os.kill(before, signal.SIGKILL)
    waiting.until(lambda: proxy.caretaker() not in (None, before), "another caretaker", 15)
    assert ask(proxy, 10) == {"b": 10}
    assert proxy.command("upgrade").returncode == 0
    waiting.until(lambda: proxy.status()["state"] == "serving", "the upgrade's end", 20)
    assert shown(proxy)["why"] == "agent: drain: for the night" and shown(proxy)["agent"]["percent"] == 30 and ask(proxy, 10) == {"b": 10}
    proxy.configure({"upstream": {"app": {"agent": {"send": "hello\n"}}}})
    assert proxy.reload().returncode == 0
    waiting.until(lambda: ask(proxy, 10)["a"] > 0, "it to be forgotten", 15)


def test_an_agent_that_is_no_longer_asked_keeps_nobody_out(ladle, pair):
    """A configuration without `agent` takes back what agents have said."""
    _, agents = pair
    proxy = with_agents(ladle, pair)
    agents[0].line = b"maint\n"
    wait_state(proxy, "off")
    proxy.configure({"upstream": {"app": {"agent": None}}})
    assert proxy.reload().returncode == 0
    assert "agent" not in shown(proxy) and shown(proxy)["state"] == "up"
    waiting.until(lambda: ask(proxy, 10) == {"a": 5, "b": 5}, "both to be used")


def test_only_the_caretaker_asks_and_with_jitter(ladle, pair):
    """However many workers there are, an agent is asked once in an interval, give or take a tenth, and over plain TCP."""
    servers, agents = pair
    proxy = group(ladle, [one.text for one in servers], {"port": agents[0].port, "interval": "500ms"}, workers=4)
    waiting.until(lambda: agents[0].asked >= 5, "five questions", 15)
    first, last = agents[0].origin.connections[0].opened_at, agents[0].origin.connections[4].opened_at
    assert 1.2 <= last - first
    assert not any(connection.received for connection in agents[0].origin.connections)
    assert re.search(r"agent: ready, up, 100 %; asked: ", proxy.command("status").stdout)


def test_a_name_is_asked_at_one_of_its_addresses(ladle, cleanup):
    """A named server has one agent: at the lowest of its addresses, whatever order DNS gives them in."""
    port, agents_port = waiting.free_port(), waiting.free_port()
    servers = [Origin(named(host), host=host, port=port) for host in HOSTS]
    agents = [Agent(line, host=host, port=agents_port) for host, line in zip(HOSTS, (b"40%\n", b"90%\n"))]
    cleanup.extend([*servers, *agents, Dns({"app.ladle.test": (1, HOSTS[::-1])})])
    proxy = group(ladle, [f"app.ladle.test:{port}"], {"port": agents_port, **FAST}, server={"resolvers": [cleanup[-1].text]})
    wait_shown(proxy, "the answer", percent=40)
    wait_asked(agents[0], 3)
    assert agents[1].asked == 0
