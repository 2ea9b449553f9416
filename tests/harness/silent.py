# SPDX-License-Identifier: Apache-2.0
"""A server that never takes a connection, and never refuses one."""

import socket
import time


class Deaf:
    """A server whose backlog is full: a connect to it neither succeeds nor fails."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(0)
        self.text = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.fillers = []
        while True:
            filler = socket.socket()
            filler.setblocking(False)
            self.fillers.append(filler)
            filler.connect_ex(self.sock.getsockname())
            time.sleep(0.05)
            if filler.connect_ex(self.sock.getsockname()) != 0:
                return

    def stop(self):
        for sock in (*self.fillers, self.sock):
            sock.close()
