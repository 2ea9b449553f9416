# SPDX-License-Identifier: Apache-2.0
"""Sends one case of the tables through the proxy and says what became of it, and what was wrong with that."""

from dataclasses import dataclass, field

from tests.harness import waiting
from tests.harness.ladle import Ladle
from tests.harness.origin import Origin, reply
from tests.harness.raw_client import RawClient
from tests.harness.wire import Closed, WireError

from .malformed_responses import BY_TARGET


@dataclass
class Outcome:
    """What the client got (status, or "cut"), how many requests the origin saw, and every broken rule."""

    got: str = ""
    at_origin: int = 0
    problems: list = field(default_factory=list)

    @property
    def kind(self):
        return "refused" if self.at_origin == 0 else "forwarded"


SHORT = {"header": "1s", "stall": "1s", "idle": "3s", "response": "2s", "connect": "2s"}


class RequestBench:
    """A proxy and an origin that all request cases go through."""

    def __init__(self, mode="full"):
        self.mode = mode
        self.origin = Origin(reply())
        self.ladle = Ladle(self.origin, {"timeouts": SHORT, "site": {"*": {"buffer": {"request": mode}}}})

    def stop(self):
        try:
            self.ladle.stop()
        finally:
            self.origin.stop()

    def play(self, case):
        outcome = Outcome()
        seen = len(self.origin.requests)
        streaming = self.mode == "stream"
        with RawClient(self.ladle.address, timeout=waiting.PATIENCE) as client:
            client.try_send(case.data)
            status = None
            try:
                status = client.response().status
                outcome.got = str(status)
            except Closed as error:
                outcome.got = "cut"
                if not streaming:
                    outcome.problems.append(f"no answer: {error}")
            except TimeoutError:
                outcome.got = "nothing"
                outcome.problems.append("no answer in time")
            except WireError as error:
                outcome.got = "garbage"
                outcome.problems.append(f"bad answer: {error}")
            refused = status is not None and status >= 400
            self._read_on(client, outcome, refused)
        arrived = self.origin.requests[seen:]
        outcome.at_origin = len(arrived)
        self._judge(case, status, refused, arrived, outcome)
        for connection in self.origin.connections:
            if isinstance(connection.error, WireError) and not isinstance(connection.error, Closed):
                outcome.problems.append(f"the origin got malformed bytes: {connection.error}")
                connection.error = None
        return outcome

    def _read_on(self, client, outcome, refused):
        try:
            client.shut_write()
        except OSError:
            return
        try:
            client.sock.settimeout(waiting.PATIENCE)
            while client.reader.at_start():
                status = client.response().status
                outcome.got += f" {status}"
                if refused:
                    outcome.problems.append(f"a second answer after the refusal: {status}")
        except TimeoutError:
            outcome.problems.append("the connection stays open after the client's end")
        except Closed:
            pass
        except WireError as error:
            outcome.problems.append(f"bad bytes after the answer: {error}")

    def _judge(self, case, status, refused, arrived, outcome):
        problem = outcome.problems.append
        if any("smuggled" in request.target for request in arrived):
            problem("a smuggled request reached the origin")
        if refused:
            if arrived:
                problem(f"refused with {status}, but a whole request reached the origin")
            if case.refuse is None:
                problem(f"refused with {status} though it is good")
            elif status not in case.refuse:
                problem(f"refused with {status}, not one of {case.refuse}")
            return
        if not case.passes:
            if status is not None:
                problem(f"served with {status}")
            if arrived:
                problem(f"reached the origin: {arrived[0].head!r}")
            return
        if len(arrived) != 1:
            problem(f"{len(arrived)} requests reached the origin, not 1")
            return
        request = arrived[0]
        if case.body is not None and request.body != case.body:
            problem(f"the origin got the body {request.body!r}")
        if len(request.headers.all("Host")) != 1 or (case.host and request.headers.all("Host") != [case.host]):
            problem(f"the origin got Host {request.headers.all('Host')}")
        for name in case.absent:
            if request.headers.has(name):
                problem(f"the origin got {name}: {request.headers.all(name)}")
        if request.trailers and any(name.lower() in FORBIDDEN_TRAILERS for name, _ in request.trailers):
            problem(f"the origin got trailers {request.trailers}")


FORBIDDEN_TRAILERS = {"content-length", "transfer-encoding", "host", "connection", "trailer", "te", "authorization", "content-encoding", "expect",
                      "content-type", "content-range", "set-cookie", "upgrade", "keep-alive", "max-forwards", "cache-control", "age", "date", "location"}


class ResponseBench:
    """A proxy and an origin that all response cases go through: /bad/N plays case N, any other target gets "clean"."""

    def __init__(self, mode="spool"):
        self.origin = Origin(script=self._script)
        self.ladle = Ladle(self.origin, {"timeouts": SHORT, "site": {"*": {"buffer": {"response": mode}}}})
        self.played = {}

    def stop(self):
        try:
            self.ladle.stop()
        finally:
            self.origin.stop()

    def _script(self, connection):
        while connection.reader.at_start():
            request = connection.reader.request()
            self.origin.record(connection, request)
            case = BY_TARGET.get(request.target)
            if case is None:
                connection.send(reply(b"clean"))
                continue
            self.played[request.target] = connection
            try:
                connection.send(case.data)
                if case.end == "close":
                    return
                if case.end == "reset":
                    connection.reset()
                    return
                if case.end == "hold" and not case.keeps:
                    connection.is_ended_by_peer()
                    return
            except OSError:
                return

    def play(self, case):
        """One bad exchange, then a good one: both judged."""
        outcome = Outcome()
        problem = outcome.problems.append
        message = None
        with RawClient(self.ladle.address, timeout=waiting.PATIENCE) as client:
            client.send(f"{case.method} {case.target} HTTP/1.1\r\nHost: site.test\r\n\r\n")
            try:
                message = client.response(case.method)
                outcome.got = str(message.status)
                if message.framing == "eof":
                    problem("the answer's end cannot be told from a cut")
                self._again(client, case, message, problem)
            except Closed:
                outcome.got = "cut"
            except TimeoutError:
                outcome.got = "nothing"
                problem("no whole answer and no end in time")
            except WireError as error:
                outcome.got = "garbage"
                problem(f"bad answer: {error}")
        outcome.at_origin = 1 if case.target in self.played else 0
        self._judge(case, message, outcome, problem)
        return outcome

    def _again(self, client, case, message, problem):
        """The same client asks again if it may: the answer must be the clean one."""
        if (message.headers.get("Connection") or "").lower() == "close":
            return
        try:
            second = client.request("GET", "/clean")
            if second.body != b"clean":
                problem(f"the next answer on the connection is {second.status} {second.body[:60]!r}")
        except (Closed, OSError):
            pass  # the proxy may give the client's connection up

    def _judge(self, case, message, outcome, problem):
        if not outcome.at_origin:
            problem("the origin never saw the request")
            return
        if message is None:
            if not case.may_fail:
                problem("cut though the answer is good")
        elif message.status in (502, 504):
            if not case.may_fail:
                problem(f"{message.status} though the answer is good")
        elif not case.may_pass:
            problem(f"passed on as {message.status} with body {message.body[:80]!r}")
        elif case.body is not None and message.body != case.body:
            problem(f"passed on with body {message.body[:80]!r}")
        for secret in (b"smuggled", b"\x00", b"X-Late"):
            if message is not None and secret in message.head:
                problem(f"{secret!r} reached the client")
        with RawClient(self.ladle.address, timeout=waiting.PATIENCE) as client:
            try:
                second = client.request("GET", "/clean")
                if (second.status, second.body) != (200, b"clean"):
                    problem(f"the next client got {second.status} {second.body[:60]!r}")
            except (WireError, TimeoutError, OSError) as error:
                problem(f"the next client got no answer: {error}")
        if case.end == "hold" and not case.keeps:
            connection = self.played[case.target]
            if connection.requests[-1].target != case.target:
                problem("the server's connection was used again")
