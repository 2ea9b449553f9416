# SPDX-License-Identifier: Apache-2.0
"""A private network for measurements: MTU 1500, congestion control reno. Needs root.

`lo`: one namespace, everything on its loopback. `veth`: the proxy in one namespace, clients and origin in another, a virtual
cable between. Why not the machine's own loopback: with its MTU of 64 KB and bbr the picture distorts (a cached megabyte costs nginx
five times as much)."""

import os
import subprocess

_SETTINGS = {
    "net.ipv4.tcp_congestion_control": "reno",
    "net.ipv4.ip_local_port_range": "1024 65000",
    "net.ipv4.tcp_tw_reuse": "1",
    "net.core.somaxconn": "16384",
    "net.ipv4.tcp_max_syn_backlog": "16384",
}


def _run(*line):
    subprocess.run(line, check=True, capture_output=True)


class Network:
    """proxy_host / origin_host are addresses; in_proxy / in_load are command prefixes that run a program there."""

    def __init__(self, kind="veth"):
        name = f"ladle-{os.getpid()}"
        self.names = [f"{name}-p"] if kind == "lo" else [f"{name}-p", f"{name}-l"]
        for space in self.names:
            _run("ip", "netns", "add", space)
            _run("ip", "-n", space, "link", "set", "lo", "mtu", "1500", "up")
            for key, value in _SETTINGS.items():
                subprocess.run(["ip", "netns", "exec", space, "sysctl", "-qw", f"{key}={value}"], check=False, capture_output=True)
        self.proxy_host = self.origin_host = "127.0.0.1"
        if kind == "veth":
            self.proxy_host, self.origin_host = "10.77.0.1", "10.77.0.2"
            _run("ip", "-n", self.names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.names[1])
            for space, host in zip(self.names, (self.proxy_host, self.origin_host)):
                _run("ip", "-n", space, "addr", "add", f"{host}/24", "dev", "cable")
                _run("ip", "-n", space, "link", "set", "cable", "mtu", "1500", "up")
        self.in_proxy = ["ip", "netns", "exec", self.names[0]]
        self.in_load = ["ip", "netns", "exec", self.names[-1]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for space in self.names:
            subprocess.run(["ip", "netns", "del", space], check=False)
