# SPDX-License-Identifier: Apache-2.0
"""The command line: start, stop, reload, upgrade, restart, run, status, check, demo, version, reopen, purge, cache, help."""

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest
import websockets

from tests.harness import waiting
from tests.harness.ladle import BINARY, IS_SANITIZED, is_zombie, open_files, title
from tests.harness.raw_client import RawClient
from tests.harness.settling import descendants

COMMANDS = ["run", "start", "stop", "reload", "upgrade", "restart", "status", "check", "demo", "version", "reopen", "purge", "cache", "help"]


def run(*arguments, **more):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60, check=False, **more)


@pytest.fixture
def daemon(ladle, origin):
    """A proxy that `ladle start` has started, stopped at the end."""
    proxy = ladle(origin(), start=False)
    yield proxy
    proxy.command("stop", "--now")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    """`ladle COMMAND --help` succeeds and says what the command does."""
    result = run(command, "--help")
    assert result.returncode == 0
    assert command in result.stdout and len(result.stdout) > 60


def test_help_lists_all_commands():
    """`ladle --help` names every command."""
    result = run("--help")
    assert result.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", result.stdout)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_is_a_command_too(command):
    """`ladle help` and `ladle help COMMAND` say what --help says."""
    named = [] if command is None else [command]
    asked, wanted = run("help", *named), run(*named, "--help")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, wanted.stdout, "")


def test_help_of_what_is_no_command():
    """`ladle help` of a mistyped or internal word is wrong usage, with the command that was meant."""
    result = run("help", "relaod")
    assert (result.returncode, result.stdout) == (2, "") and 'did you mean "reload"' in result.stderr
    assert run("help", "check-handover").returncode == 2


def test_version():
    """`ladle version` prints the version."""
    result = run("version")
    assert result.returncode == 0 and re.search(r"\d+\.\d+\.\d+", result.stdout)


@pytest.mark.parametrize("arguments", [["frobnicate"], ["status", "--nonsense"], ["check", "--config"]])
def test_wrong_usage_is_2(arguments):
    """Wrong usage exits with 2 and a message on stderr."""
    result = run(*arguments)
    assert result.returncode == 2 and result.stderr


def test_start_returns_when_it_serves(daemon):
    """`ladle start` returns 0 once the first request can be answered; `stop` drains and returns 0."""
    result = daemon.command("start")
    assert result.returncode == 0, result.stderr
    assert daemon.get().body == b"ok"
    assert daemon.command("status").returncode == 0
    stopped = daemon.command("stop")
    assert stopped.returncode == 0, stopped.stderr
    with pytest.raises(OSError):
        daemon.get()
    assert not os.path.exists(daemon.admin)


def test_start_to_first_answer_is_quick(daemon):
    """From `ladle start` to the first answer takes at most 300 ms (not measured under a sanitizer)."""
    def seconds():
        started = time.monotonic()
        assert daemon.command("start").returncode == 0
        assert daemon.get().status == 200
        return time.monotonic() - started
    for _ in range(1 if IS_SANITIZED else 10):  # twice the bar, for a busy machine; what is slow is so each time
        if seconds() < 0.3 + 0.3:
            return
        assert daemon.command("stop").returncode == 0
    assert IS_SANITIZED


def test_second_start_is_refused(daemon):
    """A second start says in one line that it is running already, and harms nothing."""
    assert daemon.command("start").returncode == 0
    for command in ("start", "run"):
        result = daemon.command(command)
        assert result.returncode not in (0, None)
        assert "already" in result.stderr + result.stdout or "running" in result.stderr + result.stdout
        assert len((result.stderr + result.stdout).strip().splitlines()) <= 2
    assert daemon.get().status == 200


def test_start_with_a_bad_configuration(daemon):
    """`start` prints why it does not start and exits non-zero."""
    daemon.write("[site.\"*\"]\nupsteam = 1\n")
    result = daemon.command("start")
    assert result.returncode == 1
    assert "upsteam" in result.stderr + result.stdout


def test_port_in_use(daemon):
    """A port in use is one clear line and a failure."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", daemon.port))
        other.listen()
        result = daemon.command("start")
    assert result.returncode not in (0, None)
    text = result.stderr + result.stdout
    assert str(daemon.port) in text and "in use" in text.lower(), text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_no_permission(daemon):
    """Without the right to bind or to write there is one clear line."""
    daemon.configure({"site": {"*": {"listen": "http://127.0.0.1:80"}}})
    with open(daemon.config, encoding="utf-8") as file:
        text = file.read()
    other = "/tmp/ladle-no-permission-%d.toml" % os.getpid()
    with open(other, "w", encoding="utf-8") as out:
        out.write(text)
    try:
        result = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", BINARY, "start", "--config", other],
                                capture_output=True, text=True, timeout=30, check=False)
    finally:
        os.unlink(other)
    assert result.returncode not in (0, None)
    assert "permission" in (result.stderr + result.stdout).lower(), result.stderr + result.stdout


def test_stale_socket_does_not_matter(daemon):
    """The socket of a master that was killed does not keep the next from starting."""
    assert daemon.command("start").returncode == 0
    pid = json.loads(daemon.command("status", "--json").stdout)["master"]["pid"] if False else master_of(daemon)
    workers = descendants(pid)[1:]
    os.kill(pid, signal.SIGKILL)
    waiting.until(lambda: not os.path.exists(f"/proc/{pid}") or not any(title(worker) for worker in workers), "the workers to leave with their master", 40)
    assert os.path.exists(daemon.admin)
    assert daemon.command("status").returncode != 0
    result = daemon.command("start")
    assert result.returncode == 0, result.stderr
    assert daemon.get().status == 200


def master_of(daemon):
    for name in os.listdir("/proc"):
        if name.isdigit() and title(name).startswith("ladle: master"):
            try:
                sockets = open_files(name)
            except FileNotFoundError:  # another test's, just ended
                continue
            with open("/proc/net/unix", encoding="ascii") as file:
                mine = [f"socket:[{line.split()[6]}]" for line in file if line.rstrip().endswith(daemon.admin)]
            if set(mine) & set(sockets):
                return int(name)
    raise AssertionError("no master")


@pytest.mark.parametrize("command", ["stop", "reload", "status", "reopen", "upgrade", "cache"])
def test_commands_without_a_running_proxy(daemon, command):
    """Where nothing runs, a command says so in one line and fails."""
    result = daemon.command(command)
    assert result.returncode not in (0, None)
    assert "not running" in result.stderr + result.stdout, result.stderr + result.stdout
    assert len((result.stderr + result.stdout).strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["stop", "reload", "status", "reopen", "upgrade", "cache"])
def test_a_mistyped_file_reaches_no_master(tmp_path, command):
    """A file that is not there is named in one line; the master of the packaged file is not asked instead."""
    result = run(command, "--config", str(tmp_path / "lalde.toml"))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"ladle: cannot read {tmp_path}/lalde.toml: No such file or directory\n"


def test_stop_drains(ladle, origin):
    """`stop` lets requests under way end, and new connections are refused."""
    import threading
    from tests.harness.origin import reply
    go = threading.Event()
    server = origin(lambda request: (go.wait(60), reply(b"done"))[1])
    proxy = ladle(server)
    answers = []
    asker = threading.Thread(target=lambda: answers.append(proxy.get().body))
    asker.start()
    server.wait_requests(1)
    stop = subprocess.Popen([BINARY, "stop", "--config", proxy.config], stdout=subprocess.DEVNULL)
    time.sleep(0.2)
    assert stop.poll() is None, "stop waits"
    go.set()
    asker.join()
    assert answers == [b"done"]
    assert stop.wait(waiting.PATIENCE) == 0
    assert proxy.process.wait(waiting.PATIENCE) == 0


def test_stop_now(ladle, origin):
    """`stop --now` does not wait."""
    import threading
    server = origin(lambda request: (threading.Event().wait(60), b"")[1])
    proxy = ladle(server, {"server": {"drain_timeout": "50s"}})
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    server.wait_requests(1)
    started = time.monotonic()
    assert proxy.command("stop", "--now").returncode == 0
    proxy.process.wait(waiting.PATIENCE)
    assert time.monotonic() - started < 25
    client.close()


def test_drain_timeout_bounds_a_stop(ladle, origin):
    """SIGTERM drains for at most server.drain_timeout."""
    import threading
    server = origin(lambda request: (threading.Event().wait(60), b"")[1])
    proxy = ladle(server, {"server": {"drain_timeout": "1s"}})
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n")
    server.wait_requests(1)
    started = time.monotonic()
    os.kill(proxy.pid, signal.SIGTERM)
    proxy.process.wait(waiting.PATIENCE)
    assert 0.8 < time.monotonic() - started < 25
    client.close()


def test_idle_connections_do_not_delay_a_stop(ladle, origin):
    """Idle keep-alive connections are closed at once when draining."""
    proxy = ladle(origin(), {"server": {"drain_timeout": "50s"}})
    with proxy.client() as client:
        client.request()
        started = time.monotonic()
        os.kill(proxy.pid, signal.SIGTERM)
        assert client.is_closed()
        proxy.process.wait(waiting.PATIENCE)
        assert time.monotonic() - started < 25


def test_status_human_and_json(ladle, origin):
    """`status` says workers, uptime, connections, requests, restarts, listeners, and since when the configuration is in force."""
    proxy = ladle(origin(), {"server": {"workers": 2}})
    for _ in range(5):
        proxy.get()
    status = waiting.until(lambda: (found := proxy.status()) and find(found, "requests") >= 5 and found, "five requests in status")
    text = json.dumps(status)
    assert str(proxy.pid) in text and f"127.0.0.1:{proxy.port}" in text
    for key in ("uptime", "connections", "requests", "restarts", "listeners", "workers", "config"):
        assert key in text, key
    human = proxy.command("status").stdout
    assert "worker" in human and f"127.0.0.1:{proxy.port}" in human and str(proxy.pid) in human


def find(tree, key):
    """The largest number under that key, anywhere."""
    best = 0
    if isinstance(tree, dict):
        for name, item in tree.items():
            best = max(best, item if name == key and isinstance(item, (int, float)) else find(item, key))
    elif isinstance(tree, list):
        best = max((find(item, key) for item in tree), default=0)
    return best


def test_check_finds_every_error_at_once(ladle, origin):
    """`check` prints all errors in file order with line, column and caret, exits 1, and touches nothing."""
    proxy = ladle(origin(), start=False)
    proxy.write('[site."a.test"]\nupsteam = "x"\n\n[timeouts]\nheader = 10\n')
    result = proxy.command("check")
    assert result.returncode == 1
    text = result.stdout + result.stderr
    assert f"{proxy.config}:2:1: error: " in text and 'did you mean "upstream"' in text
    assert ":5:" in text and '"10s"' in text and "^" in text
    assert not os.path.exists(proxy.admin)


def test_check_of_a_good_file(ladle, origin):
    """`check` of a good file exits 0, also while the proxy runs, also given as an argument."""
    proxy = ladle(origin())
    assert proxy.command("check").returncode == 0
    assert run("check", proxy.config).returncode == 0
    assert proxy.get().status == 200


def test_check_as_json(ladle):
    """`check --format json` is for editors."""
    proxy = ladle(settings={}, start=False)
    proxy.write('[site."a.test"]\nupsteam = "x"\n')
    result = proxy.command("check", "--format", "json")
    assert result.returncode == 1
    json.loads(result.stdout)


async def echo(url):
    """A real WebSocket client: every form of length, fragments, ping, close."""
    async with websockets.connect(url, max_size=1 << 21) as client:
        for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            await client.send(b"x" * size)
            assert await asyncio.wait_for(client.recv(), waiting.PATIENCE) == b"x" * size
        await client.send(["in ", "pieces"])
        assert await asyncio.wait_for(client.recv(), waiting.PATIENCE) == "in pieces"
        await asyncio.wait_for(await client.ping(), waiting.PATIENCE)
    assert client.close_code == 1000


def test_every_command_takes_config(ladle, origin):
    """`--config FILE` is no wrong usage with any command, behind it or before it."""
    proxy = ladle(origin())
    for arguments in (["version"], ["check"], ["status"], ["reload"], ["reopen"]):
        for line in ([*arguments, "--config", proxy.config], ["--config", proxy.config, *arguments], [*arguments, "-c", proxy.config]):
            result = run(*line)
            assert result.returncode == 0, (line, result.stderr)


@pytest.mark.parametrize("written,meant", [("relaod", "reload"), ("statsu", "status"), ("strat", "start"), ("upgarde", "upgrade"), ("reopn", "reopen")])
def test_a_mistyped_command_gets_a_suggestion(written, meant):
    """A word that is nearly a command is answered with that command, and does nothing."""
    for line in ([written], ["--config", "/nowhere", written], [written, "--json"]):
        result = run(*line)
        assert result.returncode == 2 and f'did you mean "{meant}"' in result.stderr, result.stderr
    assert "did you mean" not in run("frobnicate").stderr
    assert "did you mean" not in run("check-handoverr").stderr, "that one is internal"


@pytest.mark.parametrize("line,written,meant", [
    (["--confg", "x"], "--confg", "--config"), (["reload", "--confg", "x"], "--confg", "--config"),
    (["--confg=x", "reload"], "--confg", "--config"), (["check", "--fromat", "json"], "--fromat", "--format"),
    (["status", "--jsn"], "--jsn", "--json"), (["stop", "--noww"], "--noww", "--now"), (["--versoin"], "--versoin", "--version"),
    (["reload", "--hlep"], "--hlep", "--help")])
def test_a_mistyped_option_gets_a_suggestion(line, written, meant):
    """An option that is nearly one of the command's is answered with that one, in one line, and nothing is done."""
    result = run(*line)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f'ladle: there is no option "{written}": did you mean "{meant}"?\n'


@pytest.mark.parametrize("line,where", [(["status", "--now"], "ladle status"), (["run", "--handovr", "3"], "ladle run"), (["--frobnicate"], "ladle")])
def test_an_option_that_is_near_none_points_to_the_help(line, where):
    """No option of another command is suggested, and none that is internal."""
    result = run(*line)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f'ladle: there is no option "{line[-1] if len(line) < 3 else line[1]}": {where} --help lists them\n'


def test_status_shows_the_caretaker(ladle, origin):
    """People see the process that resolves names, with its pid and state, and when there is none."""
    proxy = ladle(origin())
    human = proxy.command("status").stdout
    assert re.search(rf"caretaker\n +pid {proxy.caretaker()} +ready", human), human


@pytest.fixture
def two_files(ladle, origin, tmp_path):
    """A proxy, and another file that names its control socket."""
    proxy = ladle(origin())
    other = tmp_path / "other.toml"
    other.write_text(open(proxy.config, encoding="utf-8").read())
    return proxy, str(other)


def test_a_reload_of_another_file_than_the_running_one_is_refused(two_files, tmp_path):
    """The running Ladle would read its own file, which is not the one that was meant: one line says so, and nothing is reloaded."""
    proxy, other = two_files
    before = proxy.status()["config"]
    result = run("reload", "--config", other)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"ladle: not reloaded: the running Ladle reads {proxy.config}, not {other}\n"
    assert proxy.status()["config"] == before
    link = tmp_path / "link.toml"
    link.symlink_to(proxy.config)
    for result in (run("reload", "--config", str(link)), proxy.reload()):
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("command", ["status", "reopen", "upgrade", "stop", "restart"])
def test_the_running_masters_file_is_named_where_it_is_another(two_files, cleanup, command):
    """Two files with one control socket: a command does what it was told, and first says which file is in force."""
    proxy, other = two_files
    cleanup.append(Stopped(other))
    result = run(command, "--config", other)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[0] == f"ladle: the running Ladle reads {proxy.config}, not {other}"
    assert result.stderr.count("the running Ladle reads") == 1


@pytest.mark.parametrize("command", ["status", "reopen", "upgrade", "stop"])
def test_nothing_is_said_of_the_file_where_it_is_the_one(ladle, origin, tmp_path, command):
    """By whatever path the running master's own file is named, no warning comes."""
    proxy = ladle(origin())
    link = tmp_path / "link.toml"
    link.symlink_to(proxy.config)
    result = run(command, "--config", str(link))
    assert (result.returncode, result.stderr) == (0, "")


class Stopped:
    """What was started in the background with this file is stopped at the end."""

    def __init__(self, config):
        self.config = config

    def stop(self):
        run("stop", "--now", "--config", self.config)


class Demo:
    """`ladle demo` in the foreground, its temporary files under `folder`."""

    def __init__(self, folder, *arguments, binary=BINARY, **more):
        self.folder = folder
        self.process = subprocess.Popen([binary, "demo", "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        cwd=folder, env={**os.environ, "TMPDIR": str(folder)}, **more)
        self.text = ""

    def read_until(self, what):
        while what not in self.text:
            line = self.process.stdout.readline()
            assert line, self.text
            self.text += line
        return self.text

    def end(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(waiting.PATIENCE)
        self.process.stdout.close()
        return self.process.returncode

    def left(self):
        return [name for name in os.listdir(self.folder) if name.startswith("ladle-demo-")]


@pytest.fixture
def demo_folder(tmp_path):
    """A folder in which another user may go to a control socket and a spool."""
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH: # pytest's own; never /tmp, which is everybody's already
            folder.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["serving", "starting"])
def test_the_demo_leaves_nothing_behind(demo_folder, number, when):
    """Ctrl-C, kill and a terminal that closes end the demo, its processes and its folder, also while it is starting."""
    demo = Demo(demo_folder)
    if when == "serving":
        demo.read_until("Ctrl-C ends all")
    else:
        waiting.until(demo.left, "the folder to be made", every=0.0005)
    assert demo.left()
    everybody = descendants(demo.process.pid)
    demo.end(number)
    assert not demo.left()
    waiting.until(lambda: not [pid for pid in everybody if os.path.exists(f"/proc/{pid}")], "all processes of the demo to be gone")


def test_a_demo_that_is_killed_leaves_no_process(demo_folder):
    """kill -9 of the demo ends its proxy and its servers too."""
    demo = Demo(demo_folder)
    demo.read_until("Ctrl-C ends all")
    others = descendants(demo.process.pid)[1:]
    assert len(others) >= 5
    demo.end(signal.SIGKILL)
    waiting.until(lambda: all(is_zombie(pid) for pid in others), "all processes of the demo to be gone")


def port_of(text):
    return int(re.search(r"http://127\.0\.0\.1:(\d+)", text)[1])


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "T"


def test_ctrl_z_stops_the_whole_demo(demo_folder):
    """Ctrl-Z stops the demo with its proxy and its servers, and when it goes on they all do, and serve."""
    demo = Demo(demo_folder, process_group=0)
    try:
        port = port_of(demo.read_until("Ctrl-C ends all"))
        everybody = descendants(demo.process.pid)
        for _ in range(2):
            os.killpg(demo.process.pid, signal.SIGTSTP)
            waiting.until(lambda: all(map(is_stopped, everybody)), "all processes of the demo to be stopped")
            os.killpg(demo.process.pid, signal.SIGCONT)
            waiting.until(lambda: not any(map(is_stopped, everybody)), "all processes of the demo to go on")
        with RawClient(("127.0.0.1", port)) as client:
            assert client.request("GET", "/", [("Connection", "close")], host=f"127.0.0.1:{port}").status == 200
        assert descendants(demo.process.pid) == everybody
    finally:
        os.killpg(demo.process.pid, signal.SIGCONT)
        code = demo.end(signal.SIGINT)
    assert code == 0 and not demo.left()


def test_ctrl_z_where_nobody_can_continue_the_demo(demo_folder):
    """In a session of its own (a container) the demo does not stop for Ctrl-Z, as no process there does, and serves on."""
    demo = Demo(demo_folder, start_new_session=True)
    port = port_of(demo.read_until("Ctrl-C ends all"))
    os.killpg(demo.process.pid, signal.SIGTSTP)
    with RawClient(("127.0.0.1", port)) as client:
        assert client.request("GET", "/", [("Connection", "close")], host=f"127.0.0.1:{port}").status == 200
    assert demo.end(signal.SIGINT) == 0


@pytest.mark.skipif(os.geteuid() != 0 or IS_SANITIZED, reason="needs a user of its own; the leak checker needs a process more")
@pytest.mark.parametrize("most, missing", [(1, "servers"), (2, "servers"), (3, "proxy")])
def test_a_demo_without_room_for_its_processes(demo_folder, most, missing):
    """Where the demo cannot make one of its processes it says which and why, fails, and leaves nothing behind."""
    user = 60000 + os.getpid() % 5000
    def confine():
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    demo_folder.chmod(0o777)
    binary = shutil.copy(BINARY, demo_folder / "ladle")  # the tree may stand where only root can go
    demo = Demo(demo_folder, binary=binary, preexec_fn=confine)
    text = demo.process.communicate(timeout=waiting.PATIENCE)[0]
    assert text == f"ladle: cannot start the demo's {missing}: {'cannot fork: ' if missing == 'servers' else ''}Resource temporarily unavailable\n"
    assert demo.process.returncode == 1 and not demo.left()


def test_a_demo_without_a_folder_for_its_files():
    """Where TMPDIR is no folder the demo says so and fails."""
    result = run("demo", env={**os.environ, "TMPDIR": "/no/such"})
    assert (result.returncode, result.stderr) == (1, "ladle: there is no folder for temporary files: No such file or directory (TMPDIR)\n")


def test_the_demo_notices_its_end_whoever_called_it(demo_folder):
    """The demo ends as usual where its caller ignores SIGCHLD, and with it the ends of all children."""
    demo = Demo(demo_folder, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    demo.read_until("Ctrl-C ends all")
    assert demo.end(signal.SIGTERM) == 0
    assert not demo.left()


def test_the_demo_names_commands_that_work(demo_folder):
    """What the demo's text tells to type works as it stands, and a --config of one's own is said to be of no use."""
    demo = Demo(demo_folder, "--config", "/etc/ladle/mine.toml")
    try:
        text = demo.read_until("Ctrl-C ends all")
        assert "/etc/ladle/mine.toml is not used" in text
        commands = re.findall(r"^  (\S*ladle (?:reload|status) .*)$", text, re.MULTILINE)
        assert len(commands) == 2
        for command in commands:
            result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False, cwd="/")
            assert result.returncode == 0, (command, result.stderr)
        curl = re.search(r"^  (curl \S+/headers)", text, re.MULTILINE)[1]
        assert "ladle" in subprocess.run(f"{curl} -s", shell=True, capture_output=True, text=True, timeout=60, check=True).stdout
    finally:
        demo.end(signal.SIGINT)
    assert not demo.left()


def test_demo_needs_nothing(tmp_path):
    """`ladle demo` serves pages and a WebSocket echo through a proxy and its own origins, says what to try, and Ctrl-C ends all."""
    process = subprocess.Popen([BINARY, "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    try:
        text = ""
        deadline = time.monotonic() + 20
        while "http://" not in text and time.monotonic() < deadline:
            text += process.stdout.readline()
        port = int(re.search(r"http://(?:127\.0\.0\.1|localhost):(\d+)", text)[1])
        def page():
            try:
                with RawClient(("127.0.0.1", port)) as client:
                    return client.request("GET", "/", [("Connection", "close")], host=f"127.0.0.1:{port}")
            except OSError:
                return None
        response = waiting.until(page, "the demo to answer")
        assert response.status == 200 and response.body
        asyncio.run(echo(f"ws://127.0.0.1:{port}/ws"))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(waiting.PATIENCE)
    assert process.returncode in (0, 130, -2)
