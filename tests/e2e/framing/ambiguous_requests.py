# SPDX-License-Identifier: Apache-2.0
"""Several hundred malformed or ambiguous requests, as data.

Each Case says what may happen: `refuse` lists the statuses that a refusal may have (None: it must not be refused), `passes` whether the
request may reach the origin in an unambiguous form. Nothing named "smuggled" may ever arrive there."""

from dataclasses import dataclass, field

from .odd_values import CHUNKED_BODIES, CONTENT_LENGTHS, DISGUISED_LINES, HELLO, LAST, NOT_IN_NAMES, NOT_IN_VALUES, TRANSFER_ENCODINGS

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"
ANY_REFUSAL = (400, 404, 405, 408, 413, 414, 417, 431, 501, 505)


@dataclass
class Case:
    """One request as bytes. `body`: what the origin must get if it passes; `host`: the Host it must then see."""

    name: str
    data: bytes
    refuse: tuple | None = (400,)
    passes: bool = False
    body: bytes | None = None
    host: str | None = None
    closes: bool = True
    absent: tuple = field(default=())  # field names that the origin must not see


CASES = []


def case(name, data, refuse=(400,), **more):
    CASES.append(Case(name, data, refuse, **more))


def must_pass(name, data, **more):
    CASES.append(Case(name, data, None, passes=True, **more))


def either(name, data, refuse=ANY_REFUSAL, **more):
    CASES.append(Case(name, data, refuse, passes=True, **more))


def post(lines, body=b"", version=b"1.1", host=b"Host: site.test\r\n"):
    return b"POST /x HTTP/" + version + b"\r\n" + host + lines + b"\r\n\r\n" + body


def get(line=b"GET / HTTP/1.1", host=b"Host: site.test\r\n", more=b""):
    return line + b"\r\n" + host + more + b"\r\n"


CHUNKED_HELLO = b"5\r\nhello\r\n" + LAST

# --- Content-Length together with Transfer-Encoding ---
for coding in (b"chunked", b"Chunked", b"identity", b"xchunked", b"chunked, chunked", b""):
    for length in (b"0", b"5", b"15", b"999"):
        te, cl = b"Transfer-Encoding: " + coding, b"Content-Length: " + length
        case(f"both, CL {length.decode()} before TE {coding.decode()!r}", post(cl + b"\r\n" + te, CHUNKED_HELLO + SMUGGLED), (400, 501))
        case(f"both, TE {coding.decode()!r} before CL {length.decode()}", post(te + b"\r\n" + cl, CHUNKED_HELLO + SMUGGLED), (400, 501))

# --- odd lengths and codings ---
for value, may_pass in CONTENT_LENGTHS:
    add = either if may_pass and value == value.strip(b" \t") else case
    add(f"Content-Length {value[:40]!r}", post(b"Content-Length:" + b" " + value, HELLO), *([] if may_pass else [(400, 413)]),
        **({"body": HELLO} if may_pass else {}))
    if not may_pass:
        case(f"GET with Content-Length {value[:40]!r}", get(more=b"Content-Length: " + value + b"\r\n") + SMUGGLED, (400, 413))
for value, may_pass in TRANSFER_ENCODINGS:
    # Blanks that the grammar allows, but that parsers trim differently, are refused in requests.
    add = either if may_pass and value == value.strip(b" \t") else case
    add(f"Transfer-Encoding {value!r}", post(b"Transfer-Encoding: " + value, CHUNKED_HELLO), (400, 501), **({"body": HELLO} if may_pass else {}))
for line, may_pass in DISGUISED_LINES:
    case(f"line {line!r}", post(line, HELLO + SMUGGLED), (400, 501))
    case(f"line {line!r} beside a length", post(b"Content-Length: 5\r\n" + line, HELLO + SMUGGLED), (400, 501))
must_pass("Content_Length beside a length", post(b"Content-Length: 5\r\nContent_Length: 50", HELLO), body=HELLO, absent=("Content_Length",))
must_pass("Transfer_Encoding beside a length", post(b"Content-Length: 5\r\nTransfer_Encoding: chunked", HELLO), body=HELLO, absent=("Transfer_Encoding",))
must_pass("X_Forwarded_For", get(more=b"X_Forwarded_For: 10.0.0.1\r\n"), absent=("X_Forwarded_For",))
must_pass("Content-Lengthx beside a length", post(b"Content-Length: 5\r\nContent-Lengthx: 50", HELLO), body=HELLO)
must_pass("TE: chunked", post(b"Content-Length: 5\r\nTE: chunked", HELLO), body=HELLO, absent=("TE",))
must_pass("Content-Encoding: chunked", post(b"Content-Length: 5\r\nContent-Encoding: chunked", HELLO), body=HELLO)
for version in (b"1.0", b"0.9", b"2.0"):
    for connection in (b"", b"Connection: keep-alive\r\n"):
        case(f"HTTP/{version.decode()} with chunked {connection!r}", post(connection + b"Transfer-Encoding: chunked", CHUNKED_HELLO + SMUGGLED, version), (400, 505))
case("HTTP/1.0 with both", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5", CHUNKED_HELLO, b"1.0"))

# --- chunks ---
for body, may_pass in CHUNKED_BODIES:
    add = either if may_pass else case
    add(f"chunks {body[:60]!r}", post(b"Transfer-Encoding: chunked", body + (b"" if may_pass else SMUGGLED)), (400, 413, 431), **({"body": HELLO} if may_pass else {}))

# --- field lines ---
for code in NOT_IN_NAMES:
    case(f"byte {code:#04x} in a field name", get(more=b"X-a" + bytes([code]) + b"b: y\r\n"))
    case(f"byte {code:#04x} ends a field name", get(more=b"X-a" + bytes([code]) + b": y\r\n"))
for code in NOT_IN_VALUES:
    case(f"byte {code:#04x} in a field value", get(more=b"X-a: b" + bytes([code]) + b"c\r\n"))
    if code not in b"\n":
        case(f"byte {code:#04x} begins a field value", get(more=b"X-a:" + bytes([code]) + b"c\r\n"))
for name, line in {
    "empty name": b": x\r\n", "no colon": b"nonsense\r\n", "no colon, two words": b"GET / HTTP/1.1\r\n", "obs-fold by space": b"X: a\r\n b\r\n",
    "obs-fold by tab": b"X: a\r\n\tb\r\n", "a line of spaces": b"X: a\r\n   \r\n", "first line is folded": b" X: a\r\n", "bare LF ends a line": b"X: a\nY: b\r\n",
    "bare CR ends a line": b"X: a\rY: b\r\n", "CR CR LF": b"X: a\r\r\n", "LF CR": b"X: a\n\r", "NUL line": b"\x00\r\n", "colon only": b":\r\n",
    "smuggled by bare LF": b"X: a\n\nGET /smuggled HTTP/1.1\nHost: site.test\n\n", "smuggled by bare CR": b"X: a\r\rGET /smuggled HTTP/1.1\rHost: site.test\r\r",
}.items():
    case(name, get(more=line))
    case(name + ", before Host", b"GET / HTTP/1.1\r\n" + line + b"Host: site.test\r\n\r\n")
case("every line ended by bare LF", b"GET / HTTP/1.1\nHost: site.test\n\n")
case("every line ended by bare CR", b"GET / HTTP/1.1\rHost: site.test\r\r", (400, 408))
case("request line ended by bare LF", b"GET / HTTP/1.1\nHost: site.test\r\n\r\n")
case("head ended by bare LF", b"GET / HTTP/1.1\r\nHost: site.test\r\n\n", (400,))
case("head ended by CR LF CR", b"GET / HTTP/1.1\r\nHost: site.test\r\n\rX", (400, 408))
must_pass("empty value", get(more=b"X-empty:\r\n"))
must_pass("bytes above 0x7f in a value", get(more=b"X: \xc3\xa9\xff\r\n"))
must_pass("tab in a value", get(more=b"X: a\tb\r\n"))

# --- request line ---
for line in (b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"\tGET / HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET\t/ HTTP/1.1",
             b"GET /\tHTTP/1.1", b"GET /", b"GET", b"GET / ", b" / HTTP/1.1", b"GET HTTP/1.1", b"GET / HTTP /1.1", b"GET / HTTP/ 1.1", b"G ET / HTTP/1.1",
             b"G\x00ET / HTTP/1.1", b"G\xc3T / HTTP/1.1", b"(GET) / HTTP/1.1", b"GET: / HTTP/1.1", b'"GET" / HTTP/1.1', b"GET / a HTTP/1.1", b"GET / HTTP/1.1\x00",
             b"GET / HTTP/1.1\x0b", b"GET\x0b/ HTTP/1.1", b"GET\x0c/ HTTP/1.1", b"GET\xa0/ HTTP/1.1", b"GET /\xa0HTTP/1.1", b"GET,/ HTTP/1.1", b"\x00GET / HTTP/1.1",
             b"GET / HTTP/1.1\r", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GE\rT / HTTP/1.1", b"/ GET HTTP/1.1", b"HTTP/1.1 200 OK", b"<GET> / HTTP/1.1",
             b"{} / HTTP/1.1", b"GET /\rHTTP/1.1", b"\xef\xbb\xbfGET / HTTP/1.1", b"\x0bGET / HTTP/1.1", b"\rGET / HTTP/1.1", b"\nGET / HTTP/1.1", b"\n\nGET / HTTP/1.1"):
    case(f"request line {line!r}", get(line), (400, 408, 505))
for version in (b"HTTP/0.9", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.01", b"HTTP/1,1", b"http/1.1", b"Http/1.1", b"HTTP/1.1x", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/+1.1",
                b"HTTP/1.+1", b"HTTP/11", b"HTTPS/1.1", b"ICY/1.1", b"HTTP/1.1.1", b"HTTP/-1.1", b"HTTP/2.0", b"HTTP/2", b"HTTP/3.0", b"HTTP/9.9", b"HTTP/x.y", b"HTTP\\1.1",
                b"HTTP", b"1.1", b"HTTP/1.1,HTTP/1.1", b"HTTP/1.\xb1", b"HTTP/1\x001", b"XHTTP/1.1", b"HTTP:1.1", b"HTTP/0.0", b"HTTP/0.1", b"HTTP/1.x"):
    case(f"version {version!r}", get(b"GET / " + version), (400, 505))
either("HTTP/1.2", get(b"GET / HTTP/1.2"))
either("HTTP/1.9", get(b"GET / HTTP/1.9"))
either("one empty line first", b"\r\n" + get())
either("three empty lines first", b"\r\n\r\n\r\n" + get())
either("a thousand empty lines first", b"\r\n" * 1000 + get())
case("almost the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", (400, 505))
case("HTTP/2 preface without its empty line", b"PRI * HTTP/2.0\r\nHost: site.test\r\n\r\n", (400, 505))
case("HTTP/0.9 request", b"GET /\r\n", (400, 408, 505))

# --- target ---
for code in [*range(0x21), 0x7F]:
    case(f"byte {code:#04x} in the target", get(b"GET /a" + bytes([code]) + b"b HTTP/1.1"), (400, 408, 505))
for target in (b"a", b"?q", b"#", b"/a#b", b"/#", b"*", b"*x", b"/a#b?c", b"..", b"\\", b"a/b", b"site.test", b"site.test:80", b"http:", b"http:/", b"http://", b"http:///x",
               b"http://:80/", b"http://site.test:99999/", b"http://site.test:0x50/", b"http://site.test:-1/", b"http://site.test:8o/", b"http://user@site.test/",
               b"http://user:pw@site.test/", b"http://@site.test/", b"ftp://site.test/", b"gopher://site.test/", b"http://[::1/x", b"http://[::1]x/", b"http://[zz]/",
               b"http://site.test\\@evil.test/", b"http://site.test/#f", b"http://site.test#f", b"http//site.test/", b"://site.test/", b"http://a,b@c/", b"http://si\x00te/",
               b"http://site.test:80:80/", b"http://\"x\"/", b"http://<x>/", b"http://site.test|x/", b"http://a\xffb/", b"javascript:alert(1)", b"file:///etc/passwd",
               b"http://site.test%zz/", b"http://site.test`/", b"http://{x}/"):
    case(f"target {target!r}", get(b"GET " + target + b" HTTP/1.1"), (400,))
for target in (b"//evil.test/x", b"/%00", b"/%zz", b"/%", b"/%2", b"/..", b"/../../etc/passwd", b"/a/..;/b", b"/%2e%2e/", b"/\\..\\x", b"/a\xc3\xa9", b"/a\xffb", b"/a|b", b"/<x>",
               b"/\"", b"/{}", b"/^`", b"/a?b?c", b"/;x", b"/%0d%0aX:%20y", b"/x?a=%00", b"///", b"/./", b"/a//b", b"/?a=b#", b"HTTP://site.test/",
               b"http://site.test", b"http://site.test?x", b"http://site.test:/", b"http://http://site.test/", b"http://SITE.TEST:80/"):
    either(f"target {target!r}", get(b"GET " + target + b" HTTP/1.1"))
case("an https target on a plain connection", get(b"GET https://site.test/ HTTP/1.1"), (421,))
must_pass("absolute-form is the identity", get(b"GET http://other.test/x HTTP/1.1"), host="other.test")
must_pass("absolute-form with a port", get(b"GET http://other.test:8080/x HTTP/1.1"), host="other.test:8080")
case("absolute-form with two Host", get(b"GET http://site.test/ HTTP/1.1", b"Host: a\r\nHost: b\r\n"))
case("absolute-form without Host", get(b"GET http://site.test/ HTTP/1.1", b""))
case("absolute-form with a bad Host", get(b"GET http://site.test/ HTTP/1.1", b"Host: a b\r\n"))
case("OPTIONS with *x", get(b"OPTIONS *x HTTP/1.1"))
case("POST with *", post(b"Content-Length: 0").replace(b"/x", b"*"))

# --- Host ---
case("no Host", get(host=b""))
case("two Hosts", get(host=b"Host: site.test\r\nHost: evil.test\r\n"))
case("two equal Hosts", get(host=b"Host: site.test\r\nHost: site.test\r\n"))
case("Host and host", get(host=b"Host: site.test\r\nhost: evil.test\r\n"))
case("Host and an empty Host", get(host=b"Host: site.test\r\nHost:\r\n"))
case("two Hosts in HTTP/1.0", get(b"GET / HTTP/1.0", b"Host: site.test\r\nHost: evil.test\r\n"))
case("two Hosts far apart", get(host=b"Host: a\r\n" + b"X: y\r\n" * 50 + b"Host: b\r\n"))
for line in (b"Host : site.test", b" Host: site.test", b"Host\x00: site.test", b"Host\t: site.test", b"Host", b"Host:site.test\r\n evil.test", b"\xa0Host: x"):
    case(f"Host line {line!r}", get(host=line + b"\r\n"))
for value in (b"", b" ", b"a b", b"a/b", b"a?b", b"a#b", b"@", b"user@site.test", b"user:pw@site.test", b"a\tb", b"<a>", b"a:b", b"a:-1", b"a:+80", b"a:0x50", b"a:80:80", b"a:99999",
              b"a:8 0", b"[::1", b"::1", b"[::1]x", b"[zz]", b"[::1]:x", b"a\x00b", b"a\\b", b"\"a\"", b"http://site.test", b"a\xffb", b"a,b c", b"[", b"]", b"a[b]", b"{a}", b"a|b",
              b"a^b", b"a`b", b"site.test, evil.test", b"site.test;x y", b":80", b":", b"[]", b"site.test/", b"site.test:80/", b"*@x", b"a\x0bb", b"a\x7fb", b"%zz", b"[::1]:99999",
              b"[1.2.3.4]", b"[::1%25lo]/", b"a" * 5000 + b" b"):
    case(f"Host {value[:40]!r}", get(host=b"Host: " + value + b"\r\n"))
for value in (b"a:", b"a,b", b"a;b", b"a=b", b"a'b", b"a_b", b"a.", b".", b"a..b", b"-a", b"%41", b"1.2.3.4", b"[::1]", b"[::1]:80", b"SITE.TEST", b"a" * 300, b"a!b", b"a$b", b"a(b)", b"a&b", b"a*b",
              b"site.test:80", b"site.test:00080", b"0", b"127.1", b"a~b"):
    either(f"Host {value[:40]!r}", get(host=b"Host: " + value + b"\r\n"), (400, 404))
must_pass("HTTP/1.0 without Host", get(b"GET / HTTP/1.0", b""))

# --- framing fields named in Connection ---
for named in (b"Content-Length", b"content-length, close", b"close, Content-Length, x", b"Host, Content-Length", b"Transfer-Encoding", b"Content-Length,,,,", b"\"Content-Length\""):
    either(f"Connection: {named.decode()}", post(b"Content-Length: 5\r\nConnection: " + named, HELLO), (400,), body=HELLO, host="site.test")
for named in (b"Transfer-Encoding", b"transfer-encoding, close", b"Content-Length", b"Host", b"Connection", b"X-Forwarded-For", b"Via"):
    must_pass(f"chunked, Connection: {named.decode()}", post(b"Transfer-Encoding: chunked\r\nConnection: " + named, CHUNKED_HELLO), body=HELLO, host="site.test")
must_pass("Connection names a field", get(more=b"Connection: X-Gone\r\nX-Gone: 1\r\n"), absent=("X-Gone", "Connection"))
must_pass("hop-by-hop fields", get(more=b"Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nProxy-Authorization: x\r\n"), absent=("Keep-Alive", "Proxy-Connection"))
must_pass("nothing after close is served", get(more=b"Connection: close\r\n") + SMUGGLED)
must_pass("nothing after HTTP/1.0 is served", get(b"GET / HTTP/1.0") + SMUGGLED)

# --- tunnels ---
for target in (b"site.test:80", b"site.test", b"/", b"http://site.test/", b"127.0.0.1:22", b"*", b":80", b"site.test:"):
    case(f"CONNECT {target.decode()}", b"CONNECT " + target + b" HTTP/1.1\r\nHost: site.test\r\n\r\n" + SMUGGLED, (400, 405, 501))
must_pass("Upgrade: h2c", get(more=b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
          absent=("Upgrade", "HTTP2-Settings"))
must_pass("Upgrade: H2C", get(more=b"Connection: Upgrade\r\nUpgrade: H2C\r\n"), absent=("Upgrade",))
either("Upgrade: h2c, websocket", get(more=b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n"))
must_pass("Upgrade without Connection", get(more=b"Upgrade: websocket\r\n"), absent=("Upgrade",))
either("Upgrade with a body", post(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5", HELLO))
must_pass("Upgrade in HTTP/1.0", get(b"GET / HTTP/1.0", more=b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), absent=("Upgrade",))

# --- Expect, TRACE, trailers announced ---
for value in (b"200-ok", b"x", b"100-continue-not", b"0", b"100", b"100-continue;x", b"\"100-continue\"", b"continue"):
    case(f"Expect {value.decode()}", post(b"Content-Length: 5\r\nExpect: " + value, HELLO), (400, 417))
for value in (b"100-continue", b"100-Continue", b"100-CONTINUE", b" 100-continue "):
    must_pass(f"Expect {value.decode()!r}", post(b"Content-Length: 5\r\nExpect: " + value, HELLO), body=HELLO)
either("Expect 100-continue, 100-continue", post(b"Content-Length: 5\r\nExpect: 100-continue, 100-continue", HELLO), body=HELLO)
either("Expect, two lines", post(b"Content-Length: 5\r\nExpect: 100-continue\r\nExpect: x", HELLO))
either("Expect, empty", post(b"Content-Length: 5\r\nExpect:", HELLO), body=HELLO)
either("Expect in HTTP/1.0", post(b"Content-Length: 5\r\nExpect: 100-continue", HELLO, b"1.0"), body=HELLO)
either("TRACE", get(b"TRACE / HTTP/1.1"))
either("TRACE with a body", post(b"Content-Length: 5", HELLO).replace(b"POST", b"TRACE"))
must_pass("Trailer names a framing field", post(b"Trailer: Content-Length, Host\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil\r\n\r\n"), body=HELLO)
must_pass("GET with a body", get(more=b"Content-Length: 5\r\n") + HELLO, body=HELLO)
must_pass("GET with a chunked body", get(more=b"Transfer-Encoding: chunked\r\n") + CHUNKED_HELLO, body=HELLO)
must_pass("unknown method", get(b"FROBNICATE / HTTP/1.1"))
must_pass("lower-case method", get(b"get / HTTP/1.1"))

# --- sizes ---
must_pass("90 fields", get(more=b"".join(b"X-%d: y\r\n" % number for number in range(90))))
for count in (101, 200, 5000, 50000):
    case(f"{count} fields", get(more=b"X: y\r\n" * count), (431,))
case("field value of 40 KB", get(more=b"X: " + b"y" * 40000 + b"\r\n"), (431,))
case("field name of 40 KB", get(more=b"X" * 40000 + b": y\r\n"), (431,))
case("field without an end", b"GET / HTTP/1.1\r\nHost: site.test\r\nX: " + b"y" * 200000, (431,))
case("head of many middling fields", get(more=b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(60))), (431,))
for size in (9000, 40000, 200000):
    case(f"target of {size} bytes", get(b"GET /" + b"a" * size + b" HTTP/1.1"), (414,))
either("method of 10 KB", get(b"A" * 10000 + b" / HTTP/1.1"))
case("a line without an end", b"A" * 200000, (400, 414, 431))
case("body announced too large", post(b"Content-Length: 1099511627776", HELLO), (413,))
