# SPDX-License-Identifier: Apache-2.0
"""Several hundred malformed answers of a server, as data.

The client must get a 502 (or 504) or a visibly cut answer, never one that is mixed up or silently shortened; where `may_pass`, the answer may
also arrive whole, with exactly `body`. The server's connection is never used again, unless `keeps`."""

from dataclasses import dataclass

from .odd_values import CHUNKED_BODIES, CONTENT_LENGTHS, DISGUISED_LINES, HELLO, LAST, NOT_IN_NAMES, NOT_IN_VALUES, TRANSFER_ENCODINGS

OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"
OK = b"HTTP/1.1 200 OK\r\n"
CL5 = b"Content-Length: 5\r\n"


@dataclass
class Case:
    """What the server sends, and how it ends: "hold" (stays open), "close" or "reset"."""

    name: str
    data: bytes
    end: str = "hold"
    method: str = "GET"
    may_pass: bool = False
    may_fail: bool = True
    body: bytes | None = None
    keeps: bool = False
    target: str = ""


CASES = []


def case(name, data, end="hold", **more):
    CASES.append(Case(name, data, end, target=f"/bad/{len(CASES)}", **more))


def either(name, data, end="hold", **more):
    case(name, data, end, may_pass=True, **more)


def good(name, data, end="hold", **more):
    case(name, data, end, may_pass=True, may_fail=False, **more)


# --- status line ---
for line in (b"HTTP/1.1 abc OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 X", b"HTTP/1.1 000 X", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200OK",
             b"HTTP/1.1 200\tOK", b"HTTP/2.0 200 OK", b"HTTP/2 200", b"HTTP/3 200 OK", b"HTTP/0.9 200 OK", b"HTTP/1 200 OK", b"HTTP/11 200 OK", b"HTTP/1.10 200 OK",
             b"HTTP/01.1 200 OK", b"http/1.1 200 OK", b"ICY 200 OK", b"HTTPS/1.1 200 OK", b"HTTP/1.1 -200 OK", b"HTTP/1.1 +200 OK", b"HTTP/1.1 0200 OK", b"HTTP/1.1 2 00 OK",
             b"HTTP/1.1 0x200 OK", b"HTTP/1.1 200.0 OK", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 \x01", b"HTTP/1.1 200 \x7f", b"HTTP/1.1 200 \x0b",
             b" HTTP/1.1 200 OK", b"\tHTTP/1.1 200 OK", b"\x00HTTP/1.1 200 OK", b"XHTTP/1.1 200 OK", b"\xef\xbb\xbfHTTP/1.1 200 OK", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP", b"200 OK",
             b"HTTP/1.1 200 OK\r", b"HTTP/1.1/200 OK", b"HTTP /1.1 200 OK", b"HTTP/1.1 OK 200", b"GET / HTTP/1.1", b"HTTP/x.y 200 OK", b"HTTP/1. 200 OK", b"HTTP/.1 200 OK",
             b"HTTP/1,1 200 OK", b"HTTP/1.1 2", b"HTTP/1.1 \xb2\xb0\xb0 OK", b"HTTP/1.1 2 0 0", b"HTTP/1.1 200 OK\x00", b"HTTP/1.1\x00200 OK", b"HTTP/1.1 1e2 OK", b"\rHTTP/1.1 200 OK"):
    case(f"status line {line!r}", line + b"\r\n" + CL5 + b"\r\n" + HELLO)
    case(f"status line {line!r}, then close", line + b"\r\n" + CL5 + b"\r\n" + HELLO, "close")
for line in (b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.2 200 OK", b"HTTP/1.9 200 OK", b"HTTP/1.1 600 X", b"HTTP/1.1 999 X", b"HTTP/1.1 200 \xe9\xff", b"HTTP/1.1 200 " + b"x" * 1000,
             b"HTTP/1.1 299 Odd", b"HTTP/1.1 599 Odd"):
    either(f"status line {line[:30]!r}", line + b"\r\n" + CL5 + b"\r\n" + HELLO, body=HELLO, keeps=True)
for text in (b"garbage\r\n\r\n", b"<html><body>hello</body></html>", b"\x00" * 100, b"\x15\x03\x01\x00\x02\x02\x46", b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ESMTP\r\n",
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18, b"\n" * 200, b"\r\n" * 200, b"\xff" * 1000, b"hello", b"{}", b"\r\n", b"-ERR\r\n"):
    case(f"no HTTP {text[:20]!r}", text, "close")
    case(f"no HTTP {text[:20]!r}, held", text)
either("an empty line first", b"\r\n" + OK + CL5 + b"\r\n" + HELLO, body=HELLO, keeps=True)
case("status line without an end", b"HTTP/1.1 200 " + b"x" * 3000000)
case("nothing, then close", b"", "close")
case("nothing, then reset", b"", "reset")
case("nothing at all", b"")
for end in ("close", "reset", "hold"):
    for cut in (1, 8, 12, 16, 17, 25, 34, 37):
        case(f"head cut after {cut} bytes, {end}", (OK + CL5 + b"\r\n")[:cut], end)

# --- line ends and field lines ---
case("every line ended by bare LF", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello")
case("every line ended by bare CR", b"HTTP/1.1 200 OK\rContent-Length: 5\r\rhello")
case("status line ended by bare LF", b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello")
case("head ended by bare LF", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello")
case("head ended by CR LF CR", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\rhello")
for code in NOT_IN_NAMES:
    case(f"byte {code:#04x} in a field name", OK + CL5 + b"X-a" + bytes([code]) + b"b: y\r\n\r\n" + HELLO)
for code in NOT_IN_VALUES:
    case(f"byte {code:#04x} in a field value", OK + CL5 + b"X-a: b" + bytes([code]) + b"c\r\n\r\n" + HELLO)
for name, line in {
    "empty name": b": x", "no colon": b"nonsense", "space before the colon": b"X : y", "tab before the colon": b"X\t: y", "obs-fold by space": b"X: a\r\n b", "obs-fold by tab": b"X: a\r\n\tb",
    "a line of spaces": b"X: a\r\n  ", "bare LF": b"X: a\nY: b", "bare CR": b"X: a\rY: b", "CR CR LF": b"X: a\r", "a status line": b"HTTP/1.1 200 OK", "a split by LF": b"X: a\n\nsmuggled",
    "a split by CR": b"X: a\r\rsmuggled", "NUL line": b"\x00",
}.items():
    case(f"field line: {name}", OK + CL5 + line + b"\r\n\r\n" + HELLO)
    case(f"first field line: {name}", OK + line + b"\r\n" + CL5 + b"\r\n" + HELLO)
case("first line is folded", OK + b" X: y\r\n" + CL5 + b"\r\n" + HELLO)
either("bytes above 0x7f in a value", OK + CL5 + b"X: \xe9\r\n\r\n" + HELLO, body=HELLO, keeps=True)

# --- lengths and codings ---
for coding in (b"chunked", b"Chunked", b"identity", b"xchunked", b"gzip", b""):
    for length in (b"0", b"5", b"15", b"999"):
        te, cl = b"Transfer-Encoding: " + coding + b"\r\n", b"Content-Length: " + length + b"\r\n"
        case(f"both, CL {length.decode()} before TE {coding.decode()!r}", OK + cl + te + b"\r\n5\r\nhello\r\n" + LAST + OTHER)
        case(f"both, TE {coding.decode()!r} before CL {length.decode()}", OK + te + cl + b"\r\n5\r\nhello\r\n" + LAST + OTHER, "close")
for value, may_pass in CONTENT_LENGTHS:
    (either if may_pass else case)(f"Content-Length {value[:40]!r}", OK + b"Content-Length: " + value + b"\r\n\r\n" + HELLO, "close", body=HELLO)
    if not may_pass:
        case(f"Content-Length {value[:40]!r}, held", OK + b"Content-Length: " + value + b"\r\n\r\n" + HELLO + OTHER)
for value, may_pass in TRANSFER_ENCODINGS:
    add = either if may_pass else case
    add(f"Transfer-Encoding {value!r}", OK + b"Transfer-Encoding: " + value + b"\r\n\r\n5\r\nhello\r\n" + LAST, body=HELLO, keeps=may_pass)
    if not may_pass:
        case(f"Transfer-Encoding {value!r}, then close", OK + b"Transfer-Encoding: " + value + b"\r\n\r\n5\r\nhello\r\n" + LAST, "close")
for line, _ in DISGUISED_LINES:
    case(f"line {line!r}", OK + line + b"\r\n\r\n" + HELLO + OTHER)
    case(f"line {line!r} beside a length", OK + CL5 + line + b"\r\n\r\n" + HELLO + OTHER)
for connection in (b"", b"Connection: keep-alive\r\n"):
    case(f"HTTP/1.0 with chunked {connection!r}", b"HTTP/1.0 200 OK\r\n" + connection + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST)
    case(f"HTTP/1.0 with chunked {connection!r}, close", b"HTTP/1.0 200 OK\r\n" + connection + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST, "close")
case("HTTP/1.0 with both", b"HTTP/1.0 200 OK\r\n" + CL5 + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST)

# --- chunks ---
for body, may_pass in CHUNKED_BODIES:
    add = either if may_pass else case
    add(f"chunks {body[:60]!r}", OK + b"Transfer-Encoding: chunked\r\n\r\n" + body, "close", body=HELLO)
    if not may_pass:
        case(f"chunks {body[:60]!r}, held", OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + OTHER)

# --- ends before its end ---
for end in ("close", "reset"):
    case(f"length 100, 50 sent, {end}", OK + b"Content-Length: 100\r\n\r\n" + b"x" * 50, end)
    case(f"length 100, none sent, {end}", OK + b"Content-Length: 100\r\n\r\n", end)
    case(f"length 1 MB, 900 KB sent, {end}", OK + b"Content-Length: 1048576\r\n\r\n" + b"x" * 900000, end)
    case(f"length 5, 4 sent, {end}", OK + CL5 + b"\r\nhell", end)
    for sent in (b"", b"5", b"5\r", b"5\r\n", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r", b"5\r\nhello\r\n", b"5\r\nhello\r\n0", b"5\r\nhello\r\n0\r", b"5\r\nhello\r\n0\r\n",
                 b"5\r\nhello\r\n0\r\n\r", b"5\r\nhello\r\n0\r\nX-Late: y\r\n", b"5\r\nhello\r\n0\r\nX-La", b"100000\r\n" + b"x" * 500000):
        case(f"chunked, cut after {sent[:30]!r}, {end}", OK + b"Transfer-Encoding: chunked\r\n\r\n" + sent, end)
case("length 100, 50 sent, held", OK + b"Content-Length: 100\r\n\r\n" + b"x" * 50)
case("chunked, no last chunk, held", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
case("body to the end, reset", OK + b"\r\nhello", "reset")
good("body to the end, closed", OK + b"\r\nhello", "close", body=HELLO)
good("HTTP/1.0 body to the end", b"HTTP/1.0 200 OK\r\n\r\nhello", "close", body=HELLO)

# --- bytes after the end ---
for extra in (b"x", b"\r\n", b"\n", b"\x00", OTHER, b"hello" * 1000, b"0\r\n\r\n"):
    either(f"length 5 and then {extra[:20]!r}", OK + CL5 + b"\r\nhello" + extra, body=HELLO)
    either(f"chunked and then {extra[:20]!r}", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + extra, body=HELLO)
    either(f"204 and then {extra[:20]!r}", b"HTTP/1.1 204 No Content\r\n\r\n" + extra, body=b"")
    either(f"304 and then {extra[:20]!r}", b"HTTP/1.1 304 Not Modified\r\n\r\n" + extra, body=b"")
    either(f"HEAD and then {extra[:20]!r}", OK + CL5 + b"\r\n" + extra, method="HEAD", body=b"")
    either(f"length 0 and then {extra[:20]!r}", OK + b"Content-Length: 0\r\n\r\n" + extra, body=b"")
either("204 with a length", b"HTTP/1.1 204 No Content\r\n" + CL5 + b"\r\nhello", body=b"")
either("204 with chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST, body=b"")
either("304 with a body", b"HTTP/1.1 304 Not Modified\r\n" + CL5 + b"\r\nhello", body=b"")
either("304 with chunks", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST, body=b"")
either("205 with a body", b"HTTP/1.1 205 Reset Content\r\n" + CL5 + b"\r\nhello", keeps=True)
either("HEAD with a body", OK + CL5 + b"\r\nhello", method="HEAD", body=b"")
either("HEAD with chunks", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST, method="HEAD", body=b"")
good("304 with the length of what it does not send", b"HTTP/1.1 304 Not Modified\r\n" + CL5 + b"\r\n", body=b"", keeps=True)
good("HEAD with the length of what it does not send", OK + CL5 + b"\r\n", method="HEAD", body=b"", keeps=True)
case("two answers at once, first cut", OK + b"Content-Length: 500\r\n\r\n" + OTHER, "close")

# --- interim answers ---
case("101 nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsmuggled")
case("101 without fields", b"HTTP/1.1 101 Switching Protocols\r\n\r\nsmuggled")
case("101 to h2c", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "close")
case("100 with a body", b"HTTP/1.1 100 Continue\r\n" + CL5 + b"\r\nhello" + OK + CL5 + b"\r\nhello")
case("100 with chunks", b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST + OK + CL5 + b"\r\nhello")
case("103 with a body", b"HTTP/1.1 103 Early Hints\r\n" + CL5 + b"\r\nhello" + OK + CL5 + b"\r\nhello")
case("100, then garbage", b"HTTP/1.1 100 Continue\r\n\r\ngarbage\r\n\r\n")
for status in (100, 102, 103, 199):
    for end in ("close", "reset"):
        case(f"{status}, then {end}", b"HTTP/1.1 %d X\r\n\r\n" % status, end)
    case(f"{status}, then nothing", b"HTTP/1.1 %d X\r\n\r\n" % status)
    case(f"{status} by the thousand", b"HTTP/1.1 %d X\r\nX: y\r\n\r\n" % status * 20000 + OK + CL5 + b"\r\nhello")
case("103 of many fields by the hundred", (b"HTTP/1.1 103 X\r\n" + b"X: y\r\n" * 90 + b"\r\n") * 500 + OK + CL5 + b"\r\nhello")
case("HTTP/1.1 100 with NUL", b"HTTP/1.1 100 Continue\r\nX: \x00\r\n\r\n" + OK + CL5 + b"\r\nhello")
either("103, then an answer", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + CL5 + b"\r\nhello", body=HELLO, keeps=True)
either("100 nobody waits for, then an answer", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + CL5 + b"\r\nhello", body=HELLO, keeps=True)

# --- sizes ---
for count in (5000, 50000):
    case(f"{count} fields", OK + CL5 + b"X: y\r\n" * count + b"\r\n" + HELLO)
case("field value of 1 MB", OK + CL5 + b"X: " + b"y" * 1000000 + b"\r\n\r\n" + HELLO)
case("field name of 1 MB", OK + CL5 + b"X" * 1000000 + b": y\r\n\r\n" + HELLO)
case("head without an end", OK + b"X: y\r\n" * 200000)
either("field value of 20 KB", OK + CL5 + b"X: " + b"y" * 20000 + b"\r\n\r\n" + HELLO, body=HELLO, keeps=True)
case("1000 Content-Lengths", OK + CL5 * 1000 + b"\r\n" + HELLO)

# --- framing fields named in Connection ---
for named in (b"Content-Length", b"close, Content-Length", b"Transfer-Encoding"):
    either(f"Connection: {named.decode()}", OK + CL5 + b"Connection: " + named + b"\r\n\r\n" + HELLO, body=HELLO, keeps=True)
either("chunked, Connection: Transfer-Encoding", OK + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST, body=HELLO, keeps=True)
good("a clean answer", OK + CL5 + b"\r\n" + HELLO, body=HELLO, keeps=True)
good("a clean chunked answer", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + LAST, body=HELLO, keeps=True)

BY_TARGET = {each.target: each for each in CASES}
