# SPDX-License-Identifier: Apache-2.0
"""Ladle and its peers, one worker each, tuned alike: keep-alive to the origin, no access log, a local answer on /local, a cache for what
stands under /cached/. With a pair for each kind of key they also speak TLS, HTTP/1.1 and HTTP/2, on the ports behind theirs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.harness.certificates import Authority  # noqa: E402
from tests.harness.ladle import BINARY, to_toml  # noqa: E402

LOCAL = "hello, world\n"
TICK = os.sysconf("SC_CLK_TCK")
KEYS = ("ec", "rsa")


def host_of(key):
    """The name of the site with that kind of key; "" = the one without TLS."""
    return f"{key or 'plain'}.bench.test"


def make_pairs(folder):
    """For each kind of key (certificate, key)."""
    authority = Authority(folder)
    return {key: authority.issue(host_of(key), kind=key) for key in KEYS}


def processes_of(root):
    """The process and all its descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                    parents.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += parents.get(pid, [])
    return found


def cpu_seconds(pids):
    """User + system time that they have used."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total / TICK


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


class Proxy:
    """A proxy that runs in the foreground as a child of this process."""

    name = ""
    has_tls = True

    def __init__(self, listen, origin, port, pairs=None, wrap=(), binary=None):
        self.dir = tempfile.mkdtemp(prefix=f"bench-{self.name}-")
        os.chmod(self.dir, 0o755)
        self.listen, self.origin, self.port, self.pairs, self.binary = listen, origin, port, pairs or {}, binary
        with open(self.dir + "/out", "wb") as out:
            self.process = subprocess.Popen([*wrap, *self.command()], stdout=out, stderr=out)

    def port_of(self, key):
        return self.port + (1 + KEYS.index(key) if key else 0)

    def url(self, key=""):
        return f"{'https' if key else 'http'}://{self.listen}:{self.port_of(key)}"

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        return path

    def output(self):
        with open(self.dir + "/out", encoding="utf-8", errors="replace") as file:
            return file.read()

    def pids(self):
        return processes_of(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Nginx(Proxy):
    name = "nginx"

    def command(self):
        servers = "".join(f"server {{ listen {self.listen}:{self.port_of(key)} ssl http2 backlog=8192; ssl_certificate {cert}; ssl_certificate_key {file}; "
                          f"include {self.write('locations', self.locations())}; }}\n" for key, (cert, file) in self.pairs.items())
        return ["nginx", "-e", self.dir + "/err", "-c", self.write("conf", f"""
daemon off; worker_processes 1; pid {self.dir}/pid; error_log {self.dir}/err; user root;
worker_rlimit_nofile 16000;
events {{ worker_connections 8000; multi_accept on; }}
http {{
    access_log off; ssl_protocols TLSv1.2 TLSv1.3; keepalive_requests 1000000000; keepalive_timeout 300; tcp_nopush off; tcp_nodelay on; client_max_body_size 100m;
    client_body_temp_path {self.dir}/b; proxy_temp_path {self.dir}/t; fastcgi_temp_path {self.dir}/f; uwsgi_temp_path {self.dir}/u; scgi_temp_path {self.dir}/s;
    proxy_cache_path {self.dir}/cache levels=1:2 keys_zone=c:10m max_size=256m use_temp_path=off; sendfile on; open_file_cache max=1000;
    upstream origin {{ server {self.origin}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen {self.listen}:{self.port} backlog=8192;
        include {self.write('locations', self.locations())};
    }}
    {servers}
}}
""")]

    def locations(self):
        return f"""
location = /local {{ default_type text/plain; return 200 "{LOCAL[:-1]}\\n"; }}
location / {{
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffer_size 8k; proxy_buffers 16 32k; proxy_busy_buffers_size 128k;
}}
location /cached/ {{
    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    proxy_cache c; proxy_cache_lock on;
}}
"""


class Haproxy(Proxy):
    name = "haproxy"

    def command(self):
        binds = "".join(f"    bind {self.listen}:{self.port_of(key)} backlog 8192 ssl crt {self.write(key, read(cert) + read(file))} alpn h2,http/1.1\n"
                        for key, (cert, file) in self.pairs.items())
        return ["haproxy", "-db", "-f", self.write("conf", f"""
global
    nbthread 1
    maxconn 8000
cache stored
    total-max-size 256
    max-object-size 8000000
    max-age 3600
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s
    http-reuse always
    option forwardfor
frontend in
    bind {self.listen}:{self.port} backlog 8192
{binds}    http-request return status 200 content-type text/plain string "hello, world\\n" if {{ path /local }}
    http-request cache-use stored if {{ path_beg /cached/ }}
    http-request set-var(txn.cached) bool(true) if {{ path_beg /cached/ }}
    default_backend origin
backend origin
    http-response cache-store stored if {{ var(txn.cached) -m bool }}
    server one {self.origin} pool-max-conn 256
""")]


class Varnish(Proxy):
    name = "varnish"
    has_tls = False

    def command(self):
        host, port = self.origin.rsplit(":", 1)
        vcl = self.write("vcl", f"""vcl 4.1;
backend origin {{ .host = "{host}"; .port = "{port}"; .max_connections = 1000; }}
sub vcl_recv {{ if (req.url == "/local") {{ return (synth(200)); }} if (req.url ~ "^/cached/") {{ return (hash); }} return (pass); }}
sub vcl_synth {{ set resp.http.Content-Type = "text/plain"; synthetic("hello, world" + {{"
"}}); return (deliver); }}
""")
        return ["varnishd", "-F", "-n", self.dir + "/work", "-a", f"{self.listen}:{self.port}", "-f", vcl, "-s", "malloc,64m", "-p", "thread_pools=1",
                "-p", "thread_pool_min=200", "-p", "workspace_thread=4k", "-p", "timeout_idle=300"]


class LadleProxy(Proxy):
    name = "ladle"

    def command(self):
        os.mkdir(self.dir + "/spool")
        shutil.chown(self.dir + "/spool", "nobody") if os.geteuid() == 0 else None
        self.config = self.write("ladle.toml", to_toml({
            "server": {"workers": 1, "admin": self.dir + "/control.sock", "user": "nobody", "drain_timeout": "2s"}, "cache": {"object": {"inline": "16KiB"}},
            "budget": {"spool_path": self.dir + "/spool"},
            "timeouts": {"idle": "300s"}, "upstream": {"origin": {"servers": [self.origin], "keepalive": {"idle": 256}}},
            "log": {"access": {"to": "off"}, "error": {"to": "stderr", "level": "warning"}},
            "site": {"*": self.site(), **{host_of(key): self.site(key) for key in self.pairs}},
        }))
        return [self.binary or BINARY, "run", "--config", self.config]

    def site(self, key=""):
        tls = {"tls": {"cert": self.pairs[key][0], "key": f"file:{self.pairs[key][1]}"}} if key else {}
        return {"listen": self.url(key), "upstream": "origin",
                "route": [{"path": "/local", "respond": {"status": 200, "body": LOCAL}}, {"path": "/cached/*", "cache": True}], **tls}


ALL = {proxy.name: proxy for proxy in (LadleProxy, Nginx, Haproxy, Varnish)}

FETCH = """import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
s.sendall(b"GET " + sys.argv[3].encode() + b" HTTP/1.1\\r\\nHost: site.test\\r\\nConnection: close\\r\\n\\r\\n")
data = b""
while (piece := s.recv(65536)): data += piece
print(data.split(b" ")[1].decode(), len(data.split(b"\\r\\n\\r\\n", 1)[1]))
"""


def fetch(prefix, host, port, path):
    """(status, body length) of one GET made inside the namespace; None while nothing listens."""
    result = subprocess.run([*prefix, "/usr/bin/python3", "-c", FETCH, host, str(port), path], capture_output=True, text=True, check=False)
    return tuple(int(word) for word in result.stdout.split()) if result.returncode == 0 else None


def wait_for(proxy, prefix, path, length, deadline=20.0):
    """Until it answers `path` with 200 and a body of that length."""
    end = time.monotonic() + deadline
    while True:
        got = fetch(prefix, proxy.listen, proxy.port, path)
        if got == (200, length):
            return
        if time.monotonic() > end or proxy.process.poll() is not None:
            raise SystemExit(f"{proxy.name} does not serve {path}: {got}\n{proxy.output()}")
        time.sleep(0.1)


def origin_listens(prefix, host, port):
    end = time.monotonic() + 10
    while fetch(prefix, host, port, "/1k") != (200, 1024):
        if time.monotonic() > end:
            raise SystemExit("the origin does not start")
        time.sleep(0.05)
