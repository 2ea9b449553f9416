# SPDX-License-Identifier: Apache-2.0
"""Loads of real clients that count what fails: kept connections, one connection a request, WebSockets.

Each load is a process of its own (asyncio), so that it does not share the test's interpreter; `stop()` ends it and returns its Count."""

import asyncio
import collections
import functools
import multiprocessing
import time

REQUEST = b"GET %s HTTP/1.1\r\nHost: site.test\r\n%s\r\n"


class Count:
    """What a load saw: answered requests, failures by kind, latencies in seconds."""

    def __init__(self):
        self.done = 0
        self.failures = collections.Counter()
        self.closed_sockets = 0
        self.lost_ports = []  # the client's port of every request that got no whole answer, also of those that are no failure; 0 = never connected
        self.latencies = []

    def failed(self):
        return sum(self.failures.values())

    def percentile(self, share):
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _port(writer):
    return writer.get_extra_info("sockname")[1] if writer is not None else 0


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    await reader.readexactly(length)
    return status, b"connection: close" in head.lower()


async def _kept(port, path, count, stop, pause=0.0):
    """Requests one after the other on a connection that is opened anew only when the proxy says it closes, or between two requests."""
    reader = writer = None
    fresh = True
    while not stop.is_set():
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                fresh = True
            started = time.monotonic()
            writer.write(REQUEST % (path, b""))
            status, closes = await asyncio.wait_for(_answer(reader), 60)
            count.latencies.append(time.monotonic() - started)
            count.done += 1
            if status != 200:
                count.failures[f"kept: status {status}"] += 1
            fresh = False
            if closes:
                writer.close()
                writer = None
            await asyncio.sleep(pause)
        except asyncio.IncompleteReadError as error:
            # An idle connection may be closed between two requests: not a failure if nothing of an answer came.
            if fresh or error.partial:
                count.failures["kept: cut"] += 1
            count.lost_ports.append(_port(writer))
            writer.close()
            writer = None
        except (OSError, asyncio.TimeoutError) as error:
            if fresh or not isinstance(error, (ConnectionResetError, BrokenPipeError)):
                count.failures[f"kept: {type(error).__name__}"] += 1
            count.lost_ports.append(_port(writer))
            if writer is not None:
                writer.close()
            writer = None


async def _short(port, path, count, stop):
    """A connection for each request."""
    while not stop.is_set():
        writer = None
        try:
            started = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST % (path, b"Connection: close\r\n"))
            status, _ = await asyncio.wait_for(_answer(reader), 60)
            count.latencies.append(time.monotonic() - started)
            count.done += 1
            if status != 200:
                count.failures[f"short: status {status}"] += 1
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            count.failures[f"short: {type(error).__name__}"] += 1
            count.lost_ports.append(_port(writer))
        finally:
            if writer is not None:
                writer.close()


async def _websocket(port, path, count, stop):
    """Echoes over one tunnel for as long as the load runs; a tunnel that ends is counted in closed_sockets."""
    del path
    import websockets
    try:
        async with websockets.connect(f"ws://127.0.0.1:{port}/echo") as socket:
            while not stop.is_set():
                started = time.monotonic()
                await socket.send("x")
                await asyncio.wait_for(socket.recv(), 60)
                count.latencies.append(time.monotonic() - started)
                count.done += 1
                await asyncio.sleep(0.05)
    except Exception as error:  # noqa: BLE001
        count.closed_sockets += 1
        count.failures[f"websocket: {type(error).__name__}"] += 1


KINDS = {"kept": _kept, "now and then": functools.partial(_kept, pause=0.005), "short": _short, "websocket": _websocket}


def _run(kind, port, path, clients, stop, out):
    count = Count()

    async def main():
        await asyncio.gather(*(KINDS[kind](port, path, count, stop) for _ in range(clients)))
    asyncio.run(main())
    out.put(count)


class Load:
    """`clients` clients of one kind in a process of their own, from now until stop()."""

    def __init__(self, kind, port, clients, path="/1k"):
        spawn = multiprocessing.get_context("fork")
        self.stopping = spawn.Event()
        self.out = spawn.Queue()
        self.process = spawn.Process(target=_run, args=(kind, port, path.encode(), clients, self.stopping, self.out), daemon=True)
        self.process.start()

    def stop(self):
        self.stopping.set()
        count = self.out.get(timeout=120)
        self.process.join(60)
        return count
