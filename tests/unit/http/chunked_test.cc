// SPDX-License-Identifier: Apache-2.0
#include "common/http/chunked.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

using namespace ladle::http;

namespace {

struct Decoded {
    ChunkedDecoder::Step last = ChunkedDecoder::Step::more;
    std::string body;
    std::size_t used = 0;
    std::string trailers;
};

/// Feeds `bytes` in pieces of `piece`.
Decoded decode(std::string_view bytes, std::size_t piece)
{
    Decoded decoded;
    ChunkedDecoder decoder;
    std::size_t there = std::min(piece, bytes.size());
    for (;;) {
        const auto next = decoder.next(bytes.substr(decoded.used, there - decoded.used));
        decoded.used += next.used;
        decoded.last = next.step;
        if (next.step == ChunkedDecoder::Step::data) {
            decoded.body += next.data;
        } else if (next.step != ChunkedDecoder::Step::more) {
            break;
        } else if (there == bytes.size()) {
            break;
        } else {
            there = std::min(there + piece, bytes.size());
        }
    }
    decoded.trailers = decoder.trailer_bytes();
    return decoded;
}

} // namespace

TEST_CASE("chunks decode to the same body in pieces of any size")
{
    const std::string bytes =
        "5\r\nhello\r\n1;name=value;q=\"a\\\"b\"\r\n,\r\n00A\r\n 123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nNEXT";
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        CAPTURE(piece);
        const Decoded decoded = decode(bytes, piece);
        CHECK(decoded.last == ChunkedDecoder::Step::end);
        CHECK(decoded.body == "hello, 123456789");
        CHECK(decoded.used == bytes.size() - 4);
        CHECK(decoded.trailers == "X-Sum: 1\r\nY: 2\r\n\r\n");
    }
}

TEST_CASE("what is not the chunked coding is refused, in pieces of any size")
{
    for (const char* bad : {"5\nhello\r\n",
                            "5\r\nhelloX\r\n",
                            "5\r\nhello\n",
                            "+5\r\nhello\r\n",
                            "-1\r\n",
                            "0x5\r\nhello\r\n",
                            " 5\r\nhello\r\n",
                            "5 \r\nhello\r\n",
                            "5\t\r\n",
                            "\r\n",
                            "g\r\n",
                            "11111111111111111\r\n",
                            "ffffffffffffffff\r\n",
                            "5;\r\n",
                            "5; a=b\r\n",
                            "5;a=\r\n",
                            "5;a=\"b\r\n",
                            "5;a\x01\r\n",
                            "5,a\r\n",
                            "0\r\nX: 1\n\r\n",
                            "5\r\r\n",
                            "5;a\rb\r\n"}) {
        for (std::size_t piece : {1u, 2u, 3u, 100u}) {
            CAPTURE(bad);
            CAPTURE(piece);
            CHECK(decode(bad, piece).last == ChunkedDecoder::Step::refused);
        }
    }
}

TEST_CASE("size lines and trailers have limits")
{
    CHECK(decode("5;a=" + std::string(ChunkedDecoder::kMaxLine, 'b'), 1000).last == ChunkedDecoder::Step::refused);
    CHECK(decode("0\r\nA: " + std::string(ChunkedDecoder::kMaxTrailers, 'b'), 1000).last == ChunkedDecoder::Step::refused);
    std::string many;
    for (int i = 0; i < 100; ++i) {
        many += "1;a=" + std::string(1000, 'b') + "\r\nx\r\n";
    }
    CHECK(decode(many, 100000).last == ChunkedDecoder::Step::refused);
}

TEST_CASE("trailers are parsed as strictly as fields")
{
    ChunkedDecoder good;
    const std::string bytes = "0\r\nX-Sum: 1\r\n\r\n";
    REQUIRE(good.next(bytes).step == ChunkedDecoder::Step::end);
    Fields fields;
    REQUIRE(good.parse_trailers(fields));
    CHECK(fields.value(*fields.find("x-sum")) == "1");

    ChunkedDecoder bad;
    const std::string folded = "0\r\nX-Sum: 1\r\n more\r\n\r\n";
    REQUIRE(bad.next(folded).step == ChunkedDecoder::Step::end);
    CHECK_FALSE(bad.parse_trailers(fields));
}
