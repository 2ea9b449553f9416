# SPDX-License-Identifier: Apache-2.0
"""Odd spellings of framing fields and chunk lines, shared by the tables of requests and responses.

Each is (text, may_pass): may_pass marks what the grammar allows, or what can be re-serialised without doubt."""

CONTENT_LENGTHS = [
    (b"+5", False), (b"-5", False), (b"5,5", False), (b"5, 5", False), (b"5,6", False), (b"5,", False), (b",5", False), (b"5;", False),
    (b"0x5", False), (b"5 5", False), (b"5_0", False), (b"5e0", False), (b"5.0", False), (b'"5"', False), (b"'5'", False), (b"five", False),
    (b"", False), (b"NaN", False), (b"Infinity", False), (b"-0", False), (b"+0", False), (b"5h", False), (b"h5", False), (b"%35", False),
    (b"18446744073709551615", False), (b"18446744073709551616", False), (b"18446744073709551621", False), (b"9223372036854775807", False),
    (b"9223372036854775808", False), (b"99999999999999999999999999", False), (b"5" * 400, False),
    (b"\x0b5", False), (b"5\x0b", False), (b"\x0c5", False), (b"5\x0c", False), (b"5\x00", False), (b"\x005", False), (b"\xa05", False),
    (b"5\xa0", False), (b"\xd9\xa5", False), (b"\xef\xbc\x95", False), (b"5\r", False), (b"\r5", False), (b"5 ;q=1", False), (b"(5)", False),
    (b"5/5", False), (b"5\r\n 5", False), (b"\r\n 5", False), (b"5\r\n\t", False),
    (b" 5", True), (b"\t5", True), (b"5 ", True), (b"5\t", True), (b"00005", True), (b"0" * 30 + b"5", True),
]

TRANSFER_ENCODINGS = [
    (b"xchunked", False), (b"chunkedx", False), (b"chunke", False), (b"ch unked", False), (b"chunked, chunked", False),
    (b"chunked,chunked", False), (b"Chunked, chunked", False), (b"chunked, identity", False), (b"identity, chunked", False), (b"identity", False),
    (b"gzip", False), (b"gzip, chunked", False), (b"chunked, gzip", False), (b"deflate", False), (b"compress, chunked", False), (b"br", False),
    (b"cow", False), (b"cow, chunked", False), (b"chunked, cow", False), (b"chunked cow", False), (b"chunked;q=1", False), (b"chunked;", False),
    (b"chunked; a=b", False), (b'"chunked"', False), (b"'chunked'", False), (b"chunked\x0b", False), (b"\x0bchunked", False),
    (b"\x0b chunked", False), (b"chunked\x0c", False), (b"\x0cchunked", False), (b"chunked\x00", False), (b"\x00chunked", False),
    (b"chunked\x01", False), (b"chunked\x1f", False), (b"chunked\x7f", False), (b"chunked\xa0", False), (b"\xa0chunked", False), (b"chunked\x85", False),
    (b"chunked\r", False), (b"\rchunked", False), (b"chunked\r\n cow", False), (b"\r\n chunked", False), (b"\r\n\tchunked", False),
    (b"chunked\r\n ", False), (b"x-chunked", False), (b"chunked/1.1", False), (b"[chunked]", False), (b"chunked=chunked", False), (b"", False),
    (b"trailers", False), (b"chunked, trailers", False), (b"null", False), (b"0", False), (b"chun\xc4\xb7ed", False), (b"chun\\ked", False),
    (b"c\xd2\xbbunked", False), (b"chunked:", False), (b"{chunked}", False), (b"chunked, chunked, chunked", False), (b"chunked\tcow", False),
    (b"chunked,", True), (b",chunked", True), (b", chunked", True), (b"chunked, ,", True),
    (b"Chunked", True), (b"CHUNKED", True), (b"cHuNkEd", True), (b" chunked", True), (b"\tchunked", True), (b"chunked ", True), (b"chunked\t", True),
]

# Whole lines that try to be the framing field, or to hide it: (line, may_pass)
DISGUISED_LINES = [
    (b"Transfer-Encoding : chunked", False), (b"Transfer-Encoding\t: chunked", False), (b" Transfer-Encoding: chunked", False),
    (b"\tTransfer-Encoding: chunked", False), (b"Transfer-Encoding\x00: chunked", False), (b"\x00Transfer-Encoding: chunked", False),
    (b"Transfer-Encoding", False), (b"Transfer-Encoding chunked", False), (b":Transfer-Encoding: chunked", False),
    (b"Transfer-Encoding\xa0: chunked", False), (b"Transfer\xadEncoding: chunked", False), (b"Transfer Encoding: chunked", False),
    (b"X: y\rTransfer-Encoding: chunked", False), (b"X: y\nTransfer-Encoding: chunked", False), (b"X: y\n\rTransfer-Encoding: chunked", False),
    (b"X: y\r\r\nTransfer-Encoding: chunked", False), (b"X\r\n\tTransfer-Encoding: chunked", False), (b"X: y\x00\r\nTransfer-Encoding: chunked", False),
    (b"Transfer-Encoding\x0b: chunked", False), (b"\x0bTransfer-Encoding: chunked", False), (b"Transfer-Encoding;: chunked", False),
    (b"(Transfer-Encoding): chunked", False), (b"Content-Length : 5", False), (b"Content-Length\t: 5", False), (b" Content-Length: 5", False),
    (b"Content Length: 5", False), (b"Content-Length\x00: 5", False), (b"Content-Length", False), (b"X: y\nContent-Length: 5", False),
    (b"X: y\rContent-Length: 5", False), (b"Content-Length=5", False), (b": 5", False), (b"Content\xe2\x80\x90Length: 5", False),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", False), (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", False),
    (b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", False), (b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked", False),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow", False), (b"Transfer-Encoding:\r\nTransfer-Encoding: chunked", False),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding:", False), (b"Transfer-Encoding: chunked\r\ntransfer-encoding: gzip", False),
    (b"Content-Length: 5\r\nContent-Length: 6", False), (b"Content-Length: 6\r\nContent-Length: 5", False), (b"Content-Length: 5\r\ncontent-length: 0", False),
    (b"Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6", False), (b"Content-Length: 5\r\nContent-Length:", False),
    (b"Content-Length:\r\nContent-Length: 5", False), (b"Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 50", False),
    (b"Content-Length: 5\r\nContent-Length: +5", False), (b"Content-Length: 5\r\nContent-Length: 05", False),
    (b"Content-Length: 5\r\nContent-Length: 5", False),
]

HELLO = b"hello"
LAST = b"0\r\n\r\n"

# Chunked bodies as a whole; the valid ones all say "hello": (body, may_pass)
CHUNKED_BODIES = [(size + b"\r\nhello\r\n" + LAST, may_pass) for size, may_pass in [
    (b"0x5", False), (b"0X5", False), (b"+5", False), (b"-5", False), (b" 5", False), (b"\t5", False), (b"", False), (b";x", False), (b"g", False),
    (b"5g", False), (b"5 5", False), (b"5,5", False), (b"5.0", False), (b"_5", False), (b"5_", False), (b"5h", False), (b"\x005", False), (b"5\x00", False),
    (b"5\xa0", False), (b"\xd9\xa5", False), (b"5\x0b", False), (b"\x0b5", False), (b"5\r", False), (b"5 x", False), (b"5:x", False), (b"5=x", False),
    (b"10000000000000005", False), (b"100000000000000000000005", False), (b"fffffffffffffffb", False), (b"ffffffffffffffff5", False),
    (b"ffffffffffffffff", False), (b"-fffffffffffffffb", False), (b"5;\x00", False), (b"5;\x01", False), (b"5;x=\x1f", False), (b"5;x\x7f", False),
    (b"5;x\x0by", False), (b"5;x=y\rz", False), (b"5;\r", False), (b"5;x\ny", False), (b'5;x="\x00"', False), (b'5;x="a\rb"', False), (b"5;x=\x08y", False),
    (b'"5"', False), (b"%35", False), (b"5\\", False), (b"#5", False), (b"5;" + b"x" * 100000, False),
    (b"5 ", True), (b"5\t", True), (b"5;", True), (b"5;x", True), (b"5;x=y", True), (b'5;x="y"', True), (b"5 ;x=y", True), (b"5; x = y", True),
    (b'5;x="a;b"', True), (b'5;x="a', True), (b"5;x=\xff", True), (b"05", True), (b"0000000000000005", True), (b"0" * 40 + b"5", True),
]] + [
    (b"5\nhello\r\n" + LAST, False), (b"5\r\nhello\n" + LAST, False), (b"5\r\nhello\r" + LAST, False), (b"5\r\nhello" + LAST, False),
    (b"5\r\nhelloX\r\n" + LAST, False), (b"5\r\nhello \r\n" + LAST, False), (b"5\r\nhello\r\r\n" + LAST, False), (b"5\r\nhello\r\n\r\n" + LAST, False),
    (b"5\r\nhello\n\r" + LAST, False), (b"4\r\nhello\r\n" + LAST, False), (b"5\r\nhello\r\n0\n\r\n", False), (b"5\r\nhello\r\n0\r\n\n", False),
    (b"5\r\nhello\r\n0\n\n", False), (b"5\r\nhello\r\n0\r\r\n\r\n", False), (b"5\r\nhello\r\n-0\r\n\r\n", False), (b"5\r\nhello\r\n+0\r\n\r\n", False),
    (b"5\r\nhello\r\n0x0\r\n\r\n", False), (b"5\r\nhello\r\n0;\x00\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", False),
    (b"5\r\nhello\r\n0\r\n X: y\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX\r\n\r\n", False),
    (b"5\r\nhello\r\n0\r\n: y\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX: y\x00\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX: y\n\r\n", False),
    (b"5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX\x00: y\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n", False),
    (b"5\r\nhello\r\n0\r\nX: \x0b\r\n\r\n", False), (b"5\r\nhello\r\n0\r\nX: \x7f\r\n\r\n", False),
    (b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n", False), (b"5\r\nhello\r\n0\r\nX: " + b"y" * 100000 + b"\r\n\r\n", False),
    (b"\r\n5\r\nhello\r\n" + LAST, False), (b"\n5\r\nhello\r\n" + LAST, False),
    (b"5\r\nhello\r\n00\r\n\r\n", True), (b"5\r\nhello\r\n0;x=y\r\n\r\n", True), (b"5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n", True),
    (b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", True), (b"5\r\nhello\r\n0\r\nHost: evil.test\r\n\r\n", True),
    (b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n", True), (b"5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n", True), (b"2\r\nhe\r\n3\r\nllo\r\n" + LAST, True),
]

# Bytes that may not stand in a field's name; and control bytes that may not stand in its value.
NOT_IN_NAMES = bytes(range(0x21)) + b'"(),/;<=>?@[\\]{}\x7f\x80\xa0\xff'
NOT_IN_VALUES = bytes(code for code in range(0x20) if code != 9) + b"\x7f"
