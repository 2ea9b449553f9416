# SPDX-License-Identifier: Apache-2.0
"""Writes small MaxMind DB files (format 2.0) that say which country an address is in, as GeoLite2-Country does."""

import ipaddress
import struct


def _control(kind, size):
    first = kind if kind < 8 else 0
    small, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([first << 5 | small]) + (b"" if kind < 8 else bytes([kind - 7])) + more


def encode(value):
    """A value of the data section, without pointers."""
    if isinstance(value, str):
        text = value.encode()
        return _control(2, len(text)) + text
    if isinstance(value, dict):
        return _control(7, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(encode(item) for item in value)
    kind, number = value if isinstance(value, tuple) else (6, value)  # 5, 6, 9: of 16, 32, 64 bits
    text = number.to_bytes(8, "big").lstrip(b"\0")
    return _control(kind, len(text)) + text


def country(code):
    """What GeoLite2-Country says of a network."""
    return {"continent": {"code": "XX", "names": {"en": "Some continent"}}, "country": {"geoname_id": 1, "iso_code": code}}


def database(networks, record_size=28, ip_version=6):
    """The bytes of a file: {"192.0.2.0/24": "DE"}, or values as they are to stand in it."""
    nodes = [[None, None]]
    section, places = b"", {}
    for network, value in networks.items():
        value = country(value) if isinstance(value, str) else value
        data = encode(value)
        if data not in places:
            places[data] = len(section)
            section += data
        net = ipaddress.ip_network(network)
        bits = int(net.network_address)
        width, length = net.max_prefixlen, net.prefixlen
        if net.version == 4 and ip_version == 6:
            width, length = 128, length + 96
        node = 0
        for at in range(length):
            side = bits >> (width - 1 - at) & 1
            if at == length - 1:
                nodes[node][side] = ("data", places[data])
            else:
                if nodes[node][side] is None:
                    nodes.append([None, None])
                    nodes[node][side] = len(nodes) - 1
                node = nodes[node][side]
    tree = b"".join(_node([_record(record, len(nodes)) for record in node], record_size) for node in nodes)
    metadata = {"node_count": len(nodes), "record_size": (5, record_size), "ip_version": (5, ip_version), "database_type": "Test-Country",
                "languages": ["en"], "binary_format_major_version": (5, 2), "binary_format_minor_version": (5, 0),
                "build_epoch": (9, 1), "description": {"en": "for tests"}}
    return tree + bytes(16) + section + b"\xab\xcd\xefMaxMind.com" + encode(metadata)


def _record(record, count):
    if record is None:
        return count
    return count + 16 + record[1] if isinstance(record, tuple) else record


def _node(records, size):
    left, right = records
    if size == 24:
        return left.to_bytes(3, "big") + right.to_bytes(3, "big")
    if size == 32:
        return struct.pack(">II", left, right)
    return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([left >> 24 << 4 | right >> 24]) + (right & 0xFFFFFF).to_bytes(3, "big")
