# SPDX-License-Identifier: Apache-2.0
"""A small DNS server (UDP and TCP on loopback) whose answers a test sets and changes: what stands behind [server] resolvers."""

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from typing import NamedTuple

from . import waiting

A, AAAA, SRV = 1, 28, 33
_MOST_OVER_UDP = 512  # RFC 1035 §4.2.1, without EDNS


class Srv(NamedTuple):
    """A record of a service."""
    target: str
    port: int
    priority: int = 0
    weight: int = 0


def _encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".") if label) + b"\0"


def _encode(record):
    """The type of a record, and its data."""
    if isinstance(record, Srv):
        return SRV, struct.pack(">HHH", record.priority, record.weight, record.port) + _encode_name(record.target)
    address = ipaddress.ip_address(record)
    return (A if address.version == 4 else AAAA), address.packed


class Dns:
    """`records` maps a name to (ttl, [addresses and Srv]); a name that is not there does not exist (NXDOMAIN), None is not answered
    at all. What is too large for UDP comes over TCP."""

    def __init__(self, records=None):
        self.records = dict(records or {})
        self.questions = []  # (when, name, type)
        self.over_tcp = 0
        port = waiting.free_port()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", port))
        self.listener = socket.create_server(("127.0.0.1", port))
        self.text = f"127.0.0.1:{port}"
        self.stopping = False
        self.threads = [threading.Thread(target=serve, daemon=True) for serve in (self._serve, self._serve_tcp)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping = True
        self.sock.sendto(b"", self.sock.getsockname())
        self.listener.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.sock.close()
        self.listener.close()

    def times(self, name, kind=A):
        """When the name was asked for."""
        return [when for when, asked, asked_kind in list(self.questions) if asked == name and asked_kind == kind]

    def _serve(self):
        while True:
            query, peer = self.sock.recvfrom(4096)
            if self.stopping:
                return
            answer = self._answer(query, _MOST_OVER_UDP)
            if answer:
                self.sock.sendto(answer, peer)

    def _serve_tcp(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream, contextlib.suppress(OSError):  # c-ares may reset when it has all
                connection.settimeout(waiting.DEADLINE)
                while size := stream.read(2):
                    query = stream.read(struct.unpack(">H", size)[0])
                    self.over_tcp += 1
                    answer = self._answer(query, 0xFFFF)
                    stream.write(struct.pack(">H", len(answer)) + answer)
                    stream.flush()

    def _answer(self, query, most):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
            at += 1 + query[at]
        kind, _ = struct.unpack_from(">HH", query, at + 1)
        question, name = query[12 : at + 5], ".".join(labels)
        self.questions.append((time.monotonic(), name, kind))
        record = self.records.get(name, ())
        if record is None:
            return None
        ttl, known = record or (0, [])
        found = [data for of_kind, data in map(_encode, known) if of_kind == kind]
        answers = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(data)) + data for data in found)
        if 12 + len(question) + len(answers) > most:
            return query[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + question  # truncated: come over TCP
        return query[:2] + struct.pack(">HHHHH", 0x8180 if record else 0x8183, 1, len(found), 0, 0) + question + answers
