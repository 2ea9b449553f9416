// SPDX-License-Identifier: Apache-2.0
#include "common/http/range.h"

#include "tests/unit/http/field_text.h"

using namespace ladle::http;

namespace {

std::string resolved(std::string_view value, std::uint64_t length)
{
    RangeSet set;
    switch (resolve_ranges(value, length, set)) {
    case RangeAnswer::whole:
        return "whole";
    case RangeAnswer::unsatisfiable:
        return "unsatisfiable";
    case RangeAnswer::parts:
        break;
    }
    std::string out;
    for (const ByteRange& range : set) {
        out += (out.empty() ? "" : " ") + std::to_string(range.first) + "-" + std::to_string(range.last);
    }
    return out;
}

} // namespace

TEST_CASE("ranges against a length (RFC 9110 §14.1.2)")
{
    struct Case {
        const char* value;
        std::uint64_t length;
        const char* expected;
    };
    for (const Case& c : {Case{"bytes=0-1", 11, "0-1"},
                          Case{"bytes=1-", 11, "1-10"},
                          Case{"bytes=-1", 11, "10-10"},
                          Case{"Bytes=0-0", 11, "0-0"},
                          Case{"bytes=-20", 11, "0-10"},
                          Case{"bytes=5-100", 11, "5-10"},
                          Case{"bytes=0-99999999999999999999999999", 11, "0-10"},
                          Case{"bytes=-99999999999999999999999999", 11, "0-10"},
                          Case{"bytes=11-", 11, "unsatisfiable"},
                          Case{"bytes=99999999999999999999999999-", 11, "unsatisfiable"},
                          Case{"bytes=-0", 11, "unsatisfiable"},
                          Case{"bytes=0-", 0, "unsatisfiable"},
                          Case{"bytes=-1", 0, "unsatisfiable"},
                          Case{"bytes=0-0,20-", 11, "0-0"},
                          Case{"bytes= 0-0 , 4-5 ,", 11, "0-0 4-5"},
                          Case{"bytes=8-9,0-1", 11, "8-9 0-1"},
                          Case{"bytes=0-1,2-3", 11, "0-3"},
                          Case{"bytes=0-5,3-7", 11, "0-7"},
                          Case{"bytes=0-1,4-5,2-3", 11, "0-5"},
                          Case{"bytes=9-9,0-1,4-5,1-4", 11, "9-9 0-5"},
                          Case{"bytes=0-,-1", 11, "0-10"}}) {
        CAPTURE(c.value);
        CHECK(resolved(c.value, c.length) == c.expected);
    }
}

TEST_CASE("a Range that is malformed or abusive is ignored (RFC 9110 §14.2, §17.15)")
{
    for (const char* value : {"", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=1", "bytes=5-1", "bytes=1-2-3",
                              "bytes=+1-2", "bytes = 0-1", "items=0-1", "bytes=0 -1", "bytes=0-1;x", "bytes=0-1,x", "bytes=--1",
                              "bytes=0-5,1-6,2-7,3-8", "bytes=0-,0-,0-,0-"}) {
        CAPTURE(value);
        CHECK(resolved(value, 1000) == "whole");
    }
    std::string many = "bytes=0-0";
    for (int i = 1; i < 32; ++i) {
        many += "," + std::to_string(i * 2) + "-" + std::to_string(i * 2);
    }
    CHECK(resolved(many, 1'000'000) != "whole"); // 32
    CHECK(resolved(many, 1000) == "whole");      // their heads alone are larger
    CHECK(resolved(many + ",900-900", 1'000'000) == "whole");
    const FieldText twice("Range: bytes=0-1\nRange: bytes=0-1");
    RangeSet set;
    CHECK(resolve_ranges(twice.fields, 10, set) == RangeAnswer::whole);
}

TEST_CASE("one wanted range, before the length is known")
{
    CHECK(single_range(FieldText("Range: bytes=5-9").fields)->last == 9);
    CHECK(single_range(FieldText("Range: bytes=5-").fields)->last == UINT64_MAX);
    CHECK(single_range(FieldText("Range: bytes=-3").fields)->is_suffix);
    CHECK_FALSE(single_range(FieldText("Range: bytes=1-2,4-5").fields).has_value());
    CHECK_FALSE(single_range(FieldText("Range: lines=1-2").fields).has_value());
}

TEST_CASE("Content-Range (RFC 9110 §14.4)")
{
    const auto whole = parse_content_range("bytes 4-9/10");
    REQUIRE(whole.has_value());
    CHECK(whole->range == ByteRange{4, 9});
    CHECK(whole->length == 10);
    CHECK_FALSE(parse_content_range("bytes 4-9/*")->length.has_value());
    CHECK(parse_content_range("bytes */10")->is_unsatisfied);
    for (const char* text : {"", "bytes", "bytes ", "bytes 4-9", "bytes 4-10/10", "bytes 9-4/10", "bytes */*", "bytes 4-/10",
                             "bytes -4/10", "lines 4-9/10", "4-9/10", "bytes=4-9/10", "bytes 4-9/x", "bytes 4-9/10/10",
                             "bytes 4 - 9/10", "bytes 0-18446744073709551615/*"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_content_range(text).has_value());
    }
    std::string out;
    append_content_range({0, 4}, 10, out);
    append_unsatisfied_range(10, out += '|');
    CHECK(out == "bytes 0-4/10|bytes */10");
}

TEST_CASE("multipart/byteranges, and its length (RFC 9110 §14.6)")
{
    const std::string content = "0123456789A";
    const Multipart multipart{"XyZ", "text/plain", content.size()};
    RangeSet set;
    REQUIRE(resolve_ranges("bytes=0-1,-2", content.size(), set) == RangeAnswer::parts);
    std::string body;
    for (const ByteRange& range : set) {
        append_part_head(multipart, range, &range == set.begin(), body);
        body.append(content, range.first, range.length());
    }
    append_multipart_end(multipart, body);
    CHECK(body == "--XyZ\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/11\r\n\r\n01"
                  "\r\n--XyZ\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-10/11\r\n\r\n9A\r\n--XyZ--\r\n");
    CHECK(multipart_length(multipart, set) == body.size());
    std::string untyped;
    append_part_head({"b", "", 5}, {1, 2}, true, untyped);
    CHECK(untyped == "--b\r\nContent-Range: bytes 1-2/5\r\n\r\n");
}
