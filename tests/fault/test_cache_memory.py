# SPDX-License-Identifier: Apache-2.0
"""How much memory an object takes that came through the proxy."""

import os
import subprocess

from tests.harness import waiting
from tests.harness.raw_client import RawClient

from .scale import pick, say

# One thread of wrk: each URL once, then the first one for ever.
SCRIPT = """
local number, last = 0, %d
request = function()
    number = number + 1
    return wrk.format("GET", "/cached/1k?" .. (number <= last and number or 1), { Host = "site.test" })
end
"""


def resident_bytes(pid):
    """What the cache's arena has taken of the machine's memory."""
    for entry in os.scandir(f"/proc/{pid}/fd"):
        if os.readlink(entry.path).startswith("/memfd:ladle-cache"):
            return os.stat(entry.path).st_blocks * 512
    raise AssertionError("the master has no arena")


def test_what_an_object_of_1_kb_takes(ladle, nginx, tmp_path):
    """Responses of 1 KB with different URLs, nginx's fields and all: beside body, fields and key, an object takes at most 100 bytes of the
    budget, which counts every byte that the kernel gave."""
    count = pick(20_000, 50_000)
    memory = count * 2048 >> 20
    proxy = ladle(nginx, {"cache": {"memory": f"{memory}MiB"}, "site": {"*": {"cache": True}}, "server": {"workers": 2},
                          "log": {"access": {"to": "off"}, "error": {"level": "warning"}}})
    script = tmp_path / "each_once.lua"
    script.write_text(SCRIPT % count, encoding="ascii")
    with subprocess.Popen(["wrk", "-t1", "-c8", "-d170", "-s", str(script), f"http://127.0.0.1:{proxy.port}"], stdout=subprocess.DEVNULL) as load:
        try:
            waiting.until(lambda: proxy.status()["cache"]["stored"] >= count, f"{count} objects to be stored", 80, every=0.1)
        finally:
            load.terminate()
    cache = proxy.status()["cache"]
    assert cache["objects"] == count and cache["evictions"] == 0
    with RawClient(("127.0.0.1", nginx.port)) as client:
        fields = sum(len(name) + len(value) + 4 for name, value in client.request("GET", "/cached/1k?1", [], None, "site.test").headers)
    key = len(f"http://site.test/cached/1k?{count}")
    used, tables, resident = cache["used_bytes"] / count, cache["table_bytes"], resident_bytes(proxy.pid)
    say(f"{count} responses of 1 KB through the proxy (1024 B of body, {fields} B of fields, {key} B of key): {used:.0f} B of the budget each, "
        f"{used - 1024 - fields - key:.0f} B beside them; tables for {memory} MiB {tables / count:.0f} B each; {resident / count:.0f} B each resident")
    assert used - 1024 - fields - key <= 100
    assert resident <= (used * count + tables) * 1.01
