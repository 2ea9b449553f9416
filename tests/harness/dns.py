# SPDX-License-Identifier: Apache-2.0
"""A small DNS server (UDP on loopback) whose answers a test sets and changes: what stands behind [server] resolvers."""

import ipaddress
import socket
import struct
import threading
import time

_TYPES = {1: 4, 28: 6}  # A, AAAA: the IP version of their addresses


class Dns:
    """`records` maps a name to (ttl, [addresses]); a name that is not there does not exist (NXDOMAIN), None is not answered at all."""

    def __init__(self, records=None):
        self.records = dict(records or {})
        self.questions = []  # (when, name, type)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.text = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.stopping = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping = True
        self.sock.sendto(b"", self.sock.getsockname())
        self.thread.join()
        self.sock.close()

    def times(self, name, kind=1):
        """When the name was asked for."""
        return [when for when, asked, asked_kind in list(self.questions) if asked == name and asked_kind == kind]

    def _serve(self):
        while True:
            query, peer = self.sock.recvfrom(4096)
            if self.stopping:
                return
            answer = self._answer(query)
            if answer:
                self.sock.sendto(answer, peer)

    def _answer(self, query):
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
        ttl, addresses = record or (0, [])
        packed = [address.packed for address in map(ipaddress.ip_address, addresses) if address.version == _TYPES.get(kind)]
        answers = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, ttl, len(address)) + address for address in packed)
        return query[:2] + struct.pack(">HHHHH", 0x8180 if record else 0x8183, 1, len(packed), 0, 0) + question + answers
