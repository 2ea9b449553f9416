# SPDX-License-Identifier: Apache-2.0
"""A real nginx as origin: files /1k /64k /1m and one for each asked size, the same under /cached/ with an hour to live and under /chunked/ without a length, /slow (rate limited), /held/ (logs how long each was sent)."""

import os

from .real_server import RealServer

_CONF = """
daemon off; worker_processes 1; pid {dir}/pid; error_log stderr; {user}
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
        location /chunked/ {{ alias {dir}/files/; expires 1h; ssi on; ssi_types *; }}
        location / {{ }}
    }}
}}
"""


class NginxOrigin(RealServer):
    """Listens when made; stop() ends it. `files` is the folder it serves. http2: it speaks that and nothing else (prior knowledge)."""

    def __init__(self, sizes=(), host="127.0.0.1", port=None, wrap=(), http2=False, requests=100000000):
        super().__init__(host, port)
        os.chmod(self.dir, 0o755)
        self.files = os.path.join(self.dir, "files")
        os.mkdir(self.files)
        self.url = f"http://{self.text}"
        for name, size in (("1k", 1024), ("64k", 65536), ("1m", 1 << 20), *((str(size), size) for size in sizes)):
            self.add(name, size)
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w", encoding="ascii") as out:
            out.write(_CONF.format(dir=self.dir, listen=self.text, http2=" http2" if http2 else "",
                                   requests=requests, user="user root;" if os.geteuid() == 0 else ""))
        self.start([*wrap, "/usr/sbin/nginx", "-e", "stderr", "-c", conf], waits=not wrap)

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
