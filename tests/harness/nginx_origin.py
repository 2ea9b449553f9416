# SPDX-License-Identifier: Apache-2.0
"""A real nginx as origin: files /1k /64k /1m and one for each asked size, the same under /cached/ with an hour to live, /slow (rate limited), /held/ (logs how long each was sent)."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile

from . import waiting

_CONF = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log; {user}
events {{ worker_connections 16000; }}
worker_rlimit_nofile 40000;
http {{
    access_log off; keepalive_requests {requests}; keepalive_timeout 300; sendfile on; tcp_nopush off; tcp_nodelay on;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    default_type application/octet-stream; client_max_body_size 0; open_file_cache max=1000;
    log_format held "$request_time";
    server {{
        listen {listen} reuseport backlog=4096{http2};
        root {dir}/files;
        location = /slow {{ limit_rate 100k; try_files /1m =404; }}
        location /held/ {{ alias {dir}/files/; access_log {dir}/held.log held; }}
        location /cached/ {{ alias {dir}/files/; expires 1h; }}
        location / {{ }}
    }}
}}
"""


class NginxOrigin:
    """Listens when made; stop() ends it. `files` is the folder it serves. http2: it speaks that and nothing else (prior knowledge)."""

    def __init__(self, sizes=(), host="127.0.0.1", port=None, wrap=(), http2=False, requests=100000000):
        self.dir = tempfile.mkdtemp(prefix="ladle-nginx-")
        os.chmod(self.dir, 0o755)
        self.files = os.path.join(self.dir, "files")
        os.mkdir(self.files)
        self.port = port or waiting.free_port()
        self.text = f"{host}:{self.port}"
        self.url = f"http://{self.text}"
        for name, size in (("1k", 1024), ("64k", 65536), ("1m", 1 << 20), *((str(size), size) for size in sizes)):
            self.add(name, size)
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w", encoding="ascii") as out:
            out.write(_CONF.format(dir=self.dir, listen=self.text, http2=" http2" if http2 else "",
                                   requests=requests, user="user root;" if os.geteuid() == 0 else ""))
        self.process = subprocess.Popen([*wrap, "/usr/sbin/nginx", "-e", f"{self.dir}/error.log", "-c", conf])
        if not wrap:
            waiting.until(self._answers, "nginx to listen")

    def add(self, name, size):
        with open(os.path.join(self.files, name), "wb") as out:
            out.write(bytes((index * 31 + index // 251) % 251 for index in range(min(size, 251 * 251))) * (size // (251 * 251) + 1))
            out.truncate(size)

    def body(self, name):
        with open(os.path.join(self.files, name), "rb") as file:
            return file.read()

    def held_seconds(self):
        """For each answer under /held/: how long nginx was busy sending it, to its last byte."""
        with open(os.path.join(self.dir, "held.log"), encoding="ascii") as log:
            return [float(line) for line in log]

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("nginx ended: " + open(f"{self.dir}/error.log", encoding="utf-8").read())
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
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
