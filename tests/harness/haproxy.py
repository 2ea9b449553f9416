# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy with the frontends and backends that a test wants."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile

from . import waiting


class Haproxy:
    """Runs with these sections behind its `defaults`; listens on `port` (the sections say so) once made."""

    def __init__(self, sections, port):
        self.dir = tempfile.mkdtemp(prefix="ladle-haproxy-")
        self.port = port
        self.address = ("127.0.0.1", port)
        conf = os.path.join(self.dir, "haproxy.cfg")
        with open(conf, "w", encoding="ascii") as out:
            out.write(f"global\n    maxconn 1000\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 20s\n    timeout server 20s\n{sections}\n")
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.process = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", conf], stdout=self.log, stderr=self.log)
        waiting.until(self._answers, "haproxy to listen")

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("haproxy ended: " + open(self.log.name, encoding="utf-8", errors="replace").read())
        try:
            socket.create_connection(self.address, 1).close()
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
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
