# SPDX-License-Identifier: Apache-2.0
"""A real HAProxy with the frontends and backends that a test wants."""

from .real_server import RealServer

DEFAULTS = "global\n    maxconn 1000\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 20s\n    timeout server 20s\n"


class Haproxy(RealServer):
    """Runs with these sections behind its `defaults`; listens on `port` (the sections say so) once made."""

    def __init__(self, sections, port):
        super().__init__(port=port)
        self.address = ("127.0.0.1", port)
        with open(f"{self.dir}/haproxy.cfg", "w", encoding="ascii") as conf:
            conf.write(f"{DEFAULTS}{sections}\n")
        self.start(["/usr/sbin/haproxy", "-db", "-f", conf.name])
