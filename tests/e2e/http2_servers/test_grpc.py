# SPDX-License-Identifier: Apache-2.0
"""gRPC calls of a real client (Debian's python3-grpcio) pass to a real server with nothing configured but protocol = "h2"."""

import threading
import time
from concurrent import futures

import grpc
import pytest

from tests.e2e.http2_servers.conftest import metric
from tests.harness import waiting
from tests.harness.certificates import tls

SERVICE = "test.Echo"


class Echo(grpc.GenericRpcHandler):
    """Raw bytes both ways; `cancelled` is set when a call's end was its cancellation, `deadlines` has what was left of each call's time."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.deadlines = []

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        make = {"Unary": grpc.unary_unary_rpc_method_handler, "Count": grpc.unary_stream_rpc_method_handler,
                "Sum": grpc.stream_unary_rpc_method_handler, "Talk": grpc.stream_stream_rpc_method_handler,
                "Fail": grpc.unary_unary_rpc_method_handler, "Sleep": grpc.unary_unary_rpc_method_handler,
                "Endless": grpc.unary_stream_rpc_method_handler}.get(method)
        return make and make(getattr(self, method.lower()))

    def unary(self, request, context):
        context.set_trailing_metadata((("x-trailer", "yes"),))
        self.deadlines.append(context.time_remaining())
        return request[::-1]

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def sum(self, requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def talk(self, requests, context):
        for request in requests:
            yield b"you said " + request

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")

    def sleep(self, request, context):
        context.add_callback(lambda: context.code() is None and self.cancelled.set())
        self.cancelled.wait(waiting.PATIENCE)
        return b""

    def endless(self, request, context):
        context.add_callback(self.cancelled.set)
        while context.is_active():
            yield b"x" * 1000
            time.sleep(0.01)


class Calls:
    def __init__(self, channel):
        self.channel = channel

    def __getattr__(self, name):
        kinds = {"Count": "unary_stream", "Endless": "unary_stream", "Sum": "stream_unary", "Talk": "stream_stream"}
        return getattr(self.channel, kinds.get(name, "unary_unary"))(f"/{SERVICE}/{name}")


@pytest.fixture(params=["h2c", "tls"])
def calls(request, before, cleanup, authority, pair):
    """A channel through the proxy, in the clear on both sides or over TLS on both; `.echo` is the service, `.proxy` the proxy."""
    echo = Echo()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[echo], options=[("grpc.so_reuseport", 0)])
    port = waiting.free_port()
    if request.param == "tls":
        pems = [open(path, "rb").read() for path in (pair[1], pair[0])]
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([tuple(pems)]))
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    if request.param == "tls":
        listen = waiting.free_port()
        proxy = before(f"127.0.0.1:{port}", tls={"ca": authority.pem},
                       settings={"site": {"*": {"listen": f"https://127.0.0.1:{listen}", "tls": tls(pair)}}})
        credentials = grpc.ssl_channel_credentials(open(authority.pem, "rb").read())
        channel = grpc.secure_channel(f"127.0.0.1:{listen}", credentials)
    else:
        proxy = before(f"127.0.0.1:{port}")
        channel = grpc.insecure_channel(f"127.0.0.1:{proxy.port}")
    made = Calls(channel)
    made.echo, made.proxy, made.server = echo, proxy, server
    yield made
    channel.close()
    server.stop(None).wait(waiting.PATIENCE)


def test_a_unary_call(calls):
    """Request and response, of small and large messages; trailers come through, and so does the deadline."""
    for size in (0, 1, 100000, 3000000):
        answer, call = calls.Unary.with_call(bytes(range(200)) * (size // 200) + b"e", timeout=30)
        assert answer == (bytes(range(200)) * (size // 200) + b"e")[::-1]
        assert ("x-trailer", "yes") in [tuple(item) for item in call.trailing_metadata()]
    assert all(0 < left <= 30.5 for left in calls.echo.deadlines)


def test_a_server_streams(calls):
    """A thousand messages of one call."""
    assert list(calls.Count(b"1000", timeout=30)) == [b"%d" % number for number in range(1000)]


def test_a_client_streams(calls):
    """Many messages, one answer."""
    assert calls.Sum((b"x" * 5000 for _ in range(400)), timeout=30) == b"2000000"


def test_both_stream_in_turn(calls):
    """Each message is answered before the next one is sent: nothing is held back in either direction."""
    turn = threading.Semaphore(1)
    def say():
        for number in range(50):
            turn.acquire()
            yield b"%d" % number
    answers = []
    for answer in calls.Talk(say(), timeout=30):
        answers.append(answer)
        turn.release()
    assert answers == [b"you said %d" % number for number in range(50)]


def test_an_error_comes_as_trailers_only(calls):
    """Status and message of a call that fails at once, and no field of ours among its metadata."""
    with pytest.raises(grpc.RpcError) as error:
        calls.Fail(b"x", timeout=30)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION and error.value.details() == "not today"
    names = {name for name, _ in [*error.value.trailing_metadata(), *error.value.initial_metadata()]}
    assert "content-length" not in names


def test_an_unknown_method_says_so(calls):
    """UNIMPLEMENTED is the server's own word."""
    with pytest.raises(grpc.RpcError) as error:
        calls.Unknown(b"x", timeout=30)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_ends_the_call_at_the_server(calls):
    """The client's deadline passes: the server learns of it."""
    with pytest.raises(grpc.RpcError) as error:
        calls.Sleep(b"x", timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert calls.echo.cancelled.wait(waiting.PATIENCE)


def test_a_cancelled_call_is_cancelled_at_the_server(calls):
    """RST_STREAM goes through; the connection serves the next call."""
    stream = calls.Endless(b"x")
    assert next(stream) == b"x" * 1000
    stream.cancel()
    assert calls.echo.cancelled.wait(waiting.PATIENCE)
    assert calls.Unary(b"ab", timeout=30) == b"ba"
    assert metric(calls.proxy, "server_connections_made") == 1


def test_a_call_may_be_silent_for_longer_than_a_request(calls):
    """Neither a stalled client nor a server that thinks is given up: a call has its own deadline."""
    done = threading.Event()
    def say():
        yield b"one"
        done.wait(4)
        yield b"two"
    answers = []
    for answer in calls.Talk(say(), timeout=30):
        answers.append(answer)
    assert answers == [b"you said one", b"you said two"]


def test_a_server_that_is_gone_is_unavailable(calls):
    """The error answer of the proxy means UNAVAILABLE to a client."""
    assert calls.Unary(b"ab", timeout=30) == b"ba"
    calls.server.stop(None).wait(waiting.PATIENCE)
    with pytest.raises(grpc.RpcError) as error:
        calls.Unary(b"ab", timeout=30)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE and error.value.details() == "Bad Gateway"


def test_a_call_larger_than_allowed_says_so(calls):
    """`body` bounds all messages of a call: the client hears RESOURCE_EXHAUSTED, which it would not make of 413."""
    calls.proxy.configure({"site": {"*": {"body": "1MiB"}}})
    assert calls.proxy.reload().returncode == 0
    with pytest.raises(grpc.RpcError) as error:
        calls.Sum((b"x" * 5000 for _ in range(1000)), timeout=30)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert calls.Unary(b"ab", timeout=30) == b"ba"
