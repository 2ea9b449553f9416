# SPDX-License-Identifier: Apache-2.0
"""A real browser: headless Chromium shows the demo over HTTP/2, and its WebSocket is a stream of the same connection."""

import os
import signal
import subprocess

import pytest

from tests.harness import waiting
from tests.harness.ladle import BINARY

PAGE = "https://site.test:{port}/"


@pytest.fixture
def demo(cleanup):
    """The address of a running `ladle demo`."""
    class Demo:
        def __init__(self):
            self.port = waiting.free_port()
            self.process = subprocess.Popen([BINARY, "demo", "--port", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            waiting.until(lambda: subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{self.port}/"], check=False).returncode == 0, "the demo", 20)

        def stop(self):
            self.process.send_signal(signal.SIGINT)
            self.process.wait(15)

    cleanup.append(Demo())
    return f"http://127.0.0.1:{cleanup[-1].port}"


def browse(proxy, folder, *arguments):
    line = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors", f"--user-data-dir={folder}/profile",
            f"--host-resolver-rules=MAP site.test 127.0.0.1:{proxy.port}", "--timeout=20000", *arguments, PAGE.format(port=proxy.port)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd=folder, env={**os.environ, "HOME": str(folder)})


def test_the_demo_over_http_2(secure, demo, tmp_path):
    """The page and its picture come over one HTTP/2 connection, the WebSocket opens on it too; LADLE_SCREENSHOT keeps the picture."""
    proxy = secure(demo, settings={"timeouts": {"tunnel": "5s"}})
    picture = os.environ.get("LADLE_SCREENSHOT", f"{tmp_path}/demo.png")
    done = browse(proxy, tmp_path, f"--screenshot={picture}", "--window-size=900,900", "--virtual-time-budget=4000")
    assert done.returncode == 0 and os.path.getsize(picture) > 5000, done.stderr
    # /favicon.ico as well, if the browser wants one; and the WebSocket's line comes when it has ended.
    waiting.until(lambda: {"/", "/picture.svg", "/ws"} <= {line["target"] for line in proxy.access_log()}, "all three in the log", 20)
    lines = {line["target"]: line for line in proxy.access_log()}
    for target, status in (("/", 200), ("/picture.svg", 200), ("/ws", 101)):
        assert (lines[target]["protocol"], lines[target]["status"]) == ("HTTP/2.0", status), lines[target]
    metrics = proxy.status()["metrics"]
    assert metrics["tunnels"] == 1 and metrics["h2_cut"] == 0
    page = browse(proxy, tmp_path, "--dump-dom", "--virtual-time-budget=4000")
    assert "Hello from server" in page.stdout and "connected" in page.stdout, page.stdout
