# SPDX-License-Identifier: Apache-2.0
"""The real binary (LADLE_BINARY, default build/ladle) with a configuration of its own in a temporary folder.

Settings are a nested dict that is merged over defaults made for tests (one worker, short drain, everything in the folder)."""

import copy
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from . import settling, waiting
from .raw_client import RawClient

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("LADLE_BINARY", os.path.join(TOP, "build", "ladle")))
IS_SANITIZED = "asan" in BINARY or os.environ.get("LADLE_SANITIZED") == "1"


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return "{ " + ", ".join(f"{json.dumps(str(key))} = {_value(item)}" for key, item in value.items()) + " }"


def to_toml(settings):
    """TOML text of a nested dict: one header a table, [site."x"] and the like a level deeper, `route` as [[…]], the rest inline."""
    out = []

    def table(name, content):
        out.append(f"\n[{name}]")
        out.extend(f"{key} = {_value(item)}" for key, item in content.items() if key != "route")
        for route in content.get("route", []):
            table(f"[{name}.route]", route)

    out.extend(f"{key} = {_value(item)}" for key, item in settings.items() if not isinstance(item, dict))
    for key, item in settings.items():
        if key in ("site", "upstream", "listen"):
            for name, content in item.items():
                table(f"{key}.{json.dumps(name)}", content)
        elif isinstance(item, dict):
            table(key, item)
    return "\n".join(out) + "\n"


def merge(base, over):
    merged = copy.deepcopy(base)
    for key, item in over.items():
        if isinstance(item, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], item)
        elif item is None:
            merged.pop(key, None)
        else:
            merged[key] = copy.deepcopy(item)
    return merged


class Ladle:
    """One running proxy. With upstream=…, a site "*" sends everything there; settings say the rest."""

    def __init__(self, upstream=None, settings=None, start=True, wrap=(), port=None, binary=None):
        self.binary = binary or BINARY
        self.dir = tempfile.mkdtemp(prefix="ladle-test-")
        os.chmod(self.dir, 0o755)
        self.port = port or waiting.free_port()
        self.address = ("127.0.0.1", self.port)
        self.wrap = list(wrap)
        self.config = os.path.join(self.dir, "ladle.toml")
        self.admin = os.path.join(self.dir, "control.sock")
        self.process = None
        self.expect_failures = False
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        spool = os.path.join(self.dir, "spool")
        os.mkdir(spool)
        if os.geteuid() == 0:
            shutil.chown(spool, user)
        self.settings = {
            "server": {"workers": 1, "admin": self.admin, "drain_timeout": "3s", "user": user, "state": os.path.join(self.dir, "state")},
            "budget": {"spool_path": spool},
            "log": {
                "access": {"to": os.path.join(self.dir, "access.log"), "format": "json"},
                "error": {"to": os.path.join(self.dir, "error.log"), "level": "debug"},
            },
        }
        if upstream is not None:
            target = upstream if isinstance(upstream, str) else upstream.url
            self.settings["site"] = {"*": {"listen": f"http://127.0.0.1:{self.port}", "upstream": target}}
        self.configure(settings or {})
        if start:
            try:
                self.start()
            except AssertionError:
                self.stop(check=False)  # nobody else knows of it yet
                raise

    # --- configuration ---
    def configure(self, over):
        """Merges over the settings and writes the file."""
        self.settings = merge(self.settings, over)
        for site in self.settings.get("site", {}).values():
            site.setdefault("listen", f"http://127.0.0.1:{self.port}")
        self.write(to_toml(self.settings))

    def write(self, text):
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(text)

    def path(self, name):
        return os.path.join(self.dir, name)

    # --- commands ---
    def command(self, *arguments, timeout=60, config=True, **more):
        """Runs `ladle ARGUMENTS --config FILE` and returns the finished process (stdout, stderr, returncode)."""
        line = [self.binary, *arguments] + (["--config", self.config] if config else [])
        self._settle()
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False, **more)

    def reload(self):
        return self.command("reload")

    def ask(self, command, timeout=60):
        """What the master answers on its control socket, as the commands ask it; OSError if none is there. For looking often: starting
        a sanitized process takes longer than most tests."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(self.admin)
            connection.sendall(json.dumps({"command": command}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = lines.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionError(f"the master left without an answer: {answer}")
        return json.loads(answer)

    def status(self):
        """With all counts of what clients have their answers to."""
        self._settle()
        answer = self.ask("status")
        assert answer.pop("ok"), answer
        return answer

    def start(self, until=("serving",)):
        """Waits for one of these states. The master answers before its workers are ready, and a worker that dies by then ends the start."""
        self.stderr = open(self.path("stderr.log"), "ab")
        self.process = subprocess.Popen([*self.wrap, self.binary, "run", "--config", self.config], stdout=self.stderr, stderr=self.stderr)
        waiting.until(lambda: self._state() in until, f"ladle to be {until}", waiting.PATIENCE)
        return self

    def _state(self):
        if self.process.poll() is not None:
            raise AssertionError(f"ladle ended with {self.process.returncode}: {self.output()}")
        try:
            return self.ask("status")["state"]
        except OSError:
            return None

    def _settle(self):
        if self.process and self.process.poll() is None:
            settling.settle(self.process.pid)

    def stop(self, check=True):
        """Ends the proxy, and fails if a sanitizer or an assertion spoke."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(waiting.PATIENCE)
            except subprocess.TimeoutExpired:
                for pid in self.children():
                    os.kill(pid, signal.SIGKILL)
                self.process.kill()
                self.process.wait()
                if check:
                    raise AssertionError(f"ladle did not stop within {waiting.PATIENCE} s of SIGTERM: " + self.output()) from None
        text = self.output()
        if self.process:
            self.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        if check and not self.expect_failures:
            for bad in ("AddressSanitizer", "runtime error:", "assertion failed", "LeakSanitizer: detected"):
                assert bad not in text, text

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop(check=kind is None)

    # --- looking in ---
    def client(self, **more):
        return RawClient(self.address, **more)

    def get(self, target="/", method="GET", headers=(), body=None, host="site.test"):
        with self.client() as client:
            return client.request(method, target, [*headers, ("Connection", "close")], body, host)

    def output(self):
        """The error log so far: all that clients have their answers to."""
        self._settle()
        text = ""
        for name in ("stderr.log", "error.log"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), encoding="utf-8", errors="replace") as file:
                    text += file.read()
        return text

    def access_log(self, count=None, deadline=None):
        """The access log's JSON lines; with a count, waits until there are as many."""
        def lines():
            try:
                with open(self.path("access.log"), encoding="utf-8") as file:
                    whole = file.read()
            except FileNotFoundError:
                return []
            return [json.loads(line) for line in whole.split("\n")[:-1]]
        if count is not None:
            waiting.until(lambda: len(lines()) >= count, f"{count} access log lines", deadline)
        return lines()

    @property
    def pid(self):
        """The master's."""
        return self.process.pid

    def children(self):
        return children_of(self.pid)

    def workers(self):
        """{number: pid} of the living workers, by their titles; while two generations live, the younger."""
        found = {}
        for pid in sorted(self.children()):
            match = re.match(r"ladle: worker (\d+)", title(pid))
            if match and not is_zombie(pid):
                found[int(match[1])] = pid
        return found

    def wait_workers(self, count, deadline=None, without=None):
        """`without`: those that were killed (a pid, or several), which may live on for a moment."""
        gone = {without} if isinstance(without, int) else set(without or ())

        def found():
            workers = self.workers()
            return workers if len(workers) == count and gone.isdisjoint(workers.values()) else None
        return waiting.until(found, f"{count} workers", deadline)

    def caretaker(self):
        found = [pid for pid in self.children() if title(pid).startswith("ladle: caretaker") and not is_zombie(pid)]
        return found[0] if found else None


def title(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[0].decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += [int(child) for child in file.read().split()]
    return found


def open_files(pid):
    """What its descriptors lead to; those that are closed meanwhile are left out."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            pass
    return found


def is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def memory_kib(pid, what="Pss"):
    """Pss, Rss or Private_Dirty of a process, from smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(what + ":"))


def cpu_seconds(pid):
    """Of processor time that a process has had."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9
