# SPDX-License-Identifier: Apache-2.0
"""An origin whose every byte follows from URL, version and flavour, and clients that check each response against that: GETs, ranges,
variants, validations, purges. Each is a process of its own (asyncio).

A key's version is raised before it is purged; once a purge was answered, no response may show an older one. Kinds of keys, by the
last digit: 0–3 plain, 4–5 chunked and slow, 6 short-lived with an ETag, 7 one variant for each X-Flavour, 8–9 large."""

import asyncio
import collections
import hashlib
import itertools
import multiprocessing
import random

KEYS = 1500
FLAVOURS = ("", "sweet", "sour")
LARGE_SCALE = 1  # a test may make the large ones larger, before it starts anything


def size_of(key, version):
    base = (200 + key * 37 % 4000, 6000 + key * 53 % 30000, (60_000 + key * 331 % 200_000) * LARGE_SCALE)
    return base[2 if key % 10 >= 8 else 1 if key % 3 == 0 else 0] + version % 7


def flavour_of(key, asked):
    return asked if key % 10 == 7 else ""


def body_of(key, version, flavour):
    return hashlib.shake_128(f"{key} {version} {flavour}".encode()).digest(size_of(key, version))


class Versions:
    """Shared by all processes: the version that the origin serves, and the oldest that may still be shown."""

    def __init__(self):
        self.now = multiprocessing.Array("q", KEYS, lock=False)
        self.floor = multiprocessing.Array("q", KEYS, lock=False)


async def read_head(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return head[0], fields


# --- the origin ---

def _span(fields, etag, size):
    """The one range that is asked for, as (first, last); None = the whole."""
    text = fields.get("range", "")
    if not text.startswith("bytes=") or "," in text or fields.get("if-range", etag) != etag:
        return None
    first, _, last = text[6:].partition("-")
    if not first:
        return None
    first, last = int(first), min(int(last or size), size - 1)
    return (first, last) if first <= last else None


async def _exchange(reader, writer, versions):
    line, fields = await read_head(reader)
    key = int(line.split(" ")[1].rpartition("/")[2])
    version, flavour = versions.now[key % KEYS] if key < KEYS else 0, flavour_of(key, fields.get("x-flavour", ""))
    etag = f'"{key}-{version}-{flavour}"'
    life = 0 if key % 10 == 6 else 600
    head = f"ETag: {etag}\r\nX-Version: {version}\r\nCache-Control: max-age={life}\r\n" + ("Vary: X-Flavour\r\n" if key % 10 == 7 else "")
    if fields.get("if-none-match") == etag:
        writer.write(f"HTTP/1.1 304 Not Modified\r\n{head}\r\n".encode())
        return
    body = body_of(key, version, flavour)
    span = _span(fields, etag, len(body))
    if span:
        status, extra, body = "206 Partial Content", f"Content-Range: bytes {span[0]}-{span[1]}/{len(body)}\r\n", body[span[0]:span[1] + 1]
    else:
        status, extra = "200 OK", ""
    if key % 10 in (4, 5) and not span:
        writer.write(f"HTTP/1.1 {status}\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        half = len(body) // 2
        writer.write(b"%x\r\n%s\r\n" % (half, body[:half]))
        await asyncio.sleep(0.02)
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - half, body[half:]))
        return
    writer.write(f"HTTP/1.1 {status}\r\n{head}{extra}Content-Length: {len(body)}\r\n\r\n".encode())
    if key < KEYS and key % 97 == 9 and random.random() < 0.5:
        writer.write(body[:len(body) // 2])
        await writer.drain()
        raise ConnectionError("cut on purpose")
    if key % 10 == 8:
        writer.write(body[:len(body) // 3])
        await asyncio.sleep(0.01)
        body = body[len(body) // 3:]
    writer.write(body)


def _run_origin(versions, port):
    async def serve(reader, writer):
        try:
            while True:
                await _exchange(reader, writer, versions)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()
    asyncio.run(main())


class TrafficOrigin:
    def __init__(self, versions, port):
        self.url = f"http://127.0.0.1:{port}"
        self.process = multiprocessing.get_context("fork").Process(target=_run_origin, args=(versions, port), daemon=True)
        self.process.start()

    def stop(self):
        self.process.terminate()
        self.process.join(60)


# --- the clients ---

class Seen:
    """What clients saw. A line for each body that is not what its URL and version say, that is older than its purge, that did not come."""

    def __init__(self):
        self.counts = collections.Counter()
        self.wrong = []
        self.outdated = []
        self.hanging = []

    def add(self, other):
        self.counts += other.counts
        self.wrong += other.wrong
        self.outdated += other.outdated
        self.hanging += other.hanging


async def read_body(reader, fields):
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            body += (await reader.readexactly(size + 2))[:size]
            if size == 0:
                return body
    return await reader.readexactly(int(fields["content-length"]))


class Visitor:
    """One client on one kept connection."""

    def __init__(self, port, versions, seen, own):
        self.port, self.versions, self.seen = port, versions, seen
        self.own = own  # (number of this process, of how many): whose keys it may purge
        self.random = random.Random()
        self.reader = self.writer = None
        self.asking = "nothing yet"

    async def ask(self, method, key, fields):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        self.writer.write(f"{method} /k/{key} HTTP/1.1\r\nHost: site.test\r\n{lines}\r\n".encode())
        self.asking = f"{method} {key} {fields}"
        line, answer = await read_head(self.reader)
        self.asking += f", head {line} {answer}"
        body = await read_body(self.reader, answer)
        if answer.get("connection") == "close":
            self.leave()
        return int(line.split(" ")[1]), answer, body

    def leave(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def get(self, key):
        flavour = self.random.choice(FLAVOURS)
        fields = {"X-Flavour": flavour}
        if self.random.random() < 0.15:
            first = self.random.randrange(6000)
            fields["Range"] = f"bytes={first}-{first + self.random.randrange(4000)}"
        floor = self.versions.floor[key]
        status, answer, body = await self.ask("GET", key, fields)
        self.seen.counts[f"status {status}"] += 1
        self.seen.counts["hits"] += "; hit" in answer.get("cache-status", "")
        if status not in (200, 206):
            return
        version = int(answer["x-version"])
        whole = body_of(key, version, flavour_of(key, flavour))
        where = f"{answer.get('content-range', '')} {answer.get('cache-status', '')} key {key} version {version} flavour {flavour!r} asked {fields.get('Range')}"
        if status == 206:
            first, _, last = answer["content-range"][6:].partition("/")[0].partition("-")
            whole = whole[int(first):int(last) + 1]
        if body != whole:
            at = next((at for at, (one, other) in enumerate(zip(body, whole)) if one != other), min(len(body), len(whole)))
            self.seen.wrong.append(f"{where}: {len(body)} bytes of {len(whole)}, differing from {at}")
        if version < floor:
            self.seen.outdated.append(f"{where}: {floor} was purged in")

    async def purge(self, key):
        number, count = self.own
        key = key // count * count + number
        if key >= KEYS:
            return
        self.versions.now[key] += 1
        version = self.versions.now[key]
        is_soft = self.random.random() < 0.2
        status, _, _ = await self.ask("PURGE", key, {"Soft-Purge": "1" if is_soft else ""})
        self.seen.counts["purges"] += status == 200
        if status == 200 and not is_soft:
            self.versions.floor[key] = max(version, self.versions.floor[key])

    async def run(self, stop):
        while not stop.is_set():
            # Popular ones, and a long tail that makes room scarce.
            key = int(KEYS * self.random.random() ** 3)
            try:
                await asyncio.wait_for(self.purge(key) if self.random.random() < 0.03 else self.get(key), 60)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.seen.counts["cut"] += 1
                self.leave()
            except asyncio.TimeoutError:
                self.seen.hanging.append(f"{self.asking}, from port {self.writer and self.writer.get_extra_info('sockname')[1]}")
                self.leave()


def _run_visitors(port, versions, own, clients, stop, out):
    seen = Seen()

    async def main():
        await asyncio.gather(*(Visitor(port, versions, seen, own).run(stop) for _ in range(clients)))
    asyncio.run(main())
    out.put(seen)


class Visitors:
    """`clients` clients in each of `processes` processes, from now until stop()."""

    def __init__(self, port, versions, processes=2, clients=12):
        fork = multiprocessing.get_context("fork")
        self.stopping, self.out = fork.Event(), fork.Queue()
        self.processes = [fork.Process(target=_run_visitors, args=(port, versions, (number, processes), clients, self.stopping, self.out), daemon=True)
                          for number in range(processes)]
        for process in self.processes:
            process.start()

    def stop(self):
        self.stopping.set()
        seen = Seen()
        for _ in self.processes:
            seen.add(self.out.get(timeout=120))
        for process in self.processes:
            process.join(60)
        return seen


def fill_with_others(port, count):
    """Asks for `count` keys that nobody asked for before, so that all the others have to go; returns how many bodies were wrong."""
    async def main():
        visitor = Visitor(port, None, Seen(), (0, 1))
        wrong = 0
        for key in itertools.islice(itertools.count(KEYS * 10, 10), count):
            status, _, body = await visitor.ask("GET", key, {})
            wrong += status != 200 or body != body_of(key, 0, "")
        visitor.leave()
        return wrong
    return asyncio.run(main())
