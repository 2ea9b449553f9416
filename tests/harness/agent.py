# SPDX-License-Identifier: Apache-2.0
"""An agent as HAProxy's `agent-check` knows it: says one line to whoever connects, or what the line that it is told asks for."""

from .origin import Origin


class Agent:
    """Listens at once. `line` is what it says: bytes, or a function of (connection) that plays the whole part itself; None = nothing,
    and it hangs. With `lines` it is told something first, and answers what that dictionary has for it."""

    def __init__(self, line=b"up ready 100%\n", lines=None, host="127.0.0.1", port=0):
        self.line = line
        self.lines = lines
        self.told = []
        self.origin = Origin(script=self._play, host=host, port=port)
        self.port = self.origin.port

    @property
    def asked(self):
        """How often."""
        return len(self.origin.connections)

    def _play(self, connection):
        if callable(self.line):
            return self.line(connection)
        if self.lines is not None:
            told = connection.sock.makefile("rb").readline()
            self.told.append(told)
            connection.send(self.lines.get(told, b"what?\n"))
        elif self.line is None:
            connection.is_ended_by_peer(30)
        else:
            connection.send(self.line)
        connection.close()

    def stop(self):
        self.origin.stop()
