# SPDX-License-Identifier: Apache-2.0
"""What the real servers of tests have in common: a process that listens once made, in a folder of its own, until stopped."""

import shutil
import signal
import socket
import subprocess
import tempfile

from . import waiting


class RealServer:
    """`dir` is its folder, `port` its port on `host`; what it prints stands in `log`."""

    def __init__(self, host="127.0.0.1", port=None):
        self.dir = tempfile.mkdtemp(prefix="ladle-server-")
        self.host, self.port = host, port or waiting.free_port()
        self.text = f"{host}:{self.port}"
        self.log = f"{self.dir}/log"

    def start(self, line, waits=True):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log)
        if waits:
            waiting.until(self._answers, f"{line[0]} to listen")

    def _answers(self):
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                raise AssertionError("it ended: " + log.read())
        try:
            socket.create_connection((self.host, self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
