// SPDX-License-Identifier: Apache-2.0
#include "worker/request/hop_by_hop.h"

#include "common/http/head.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>

using namespace ladle;
using namespace ladle::worker;

namespace {

/// The names that remain, joined.
std::string left_of(const std::string& lines)
{
    const std::string bytes = "GET / HTTP/1.1\r\n" + lines + "\r\n";
    http::RequestHead head(20'000);
    REQUIRE(head.parse(bytes, {1 << 20, 1 << 10}) == http::Progress::complete);
    mark_hop_by_hop(head.fields);
    std::string names;
    for (const http::Field& field : head.fields) {
        if (!field.is_dropped) {
            names += std::string(head.fields.name(field)) + " ";
        }
    }
    return names;
}

} // namespace

TEST_CASE("fields for one hop are always dropped")
{
    CHECK(
        left_of(
            "Host: a\r\nConnection: close\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n"
            "Upgrade: websocket\r\nContent-Length: 3\r\nX-Other: 1\r\n") == "Host X-Other ");
}

TEST_CASE("what Connection lists is dropped, in any case and place")
{
    CHECK(
        left_of("x-one: 1\r\nConnection: X-One , etag\r\nETag: 2\r\nConnection: x-TWO\r\nX-Two: 3\r\nx-two: 4\r\nX-Three: 5\r\n") ==
        "X-Three ");
}

TEST_CASE("what the next server decides by cannot be listed away")
{
    CHECK(
        left_of(
            "Connection: host, authorization, cookie, x-forwarded-for, content-type, range, via, proxy-authorization\r\nHost: a\r\n"
            "Authorization: b\r\nCookie: c\r\nX-Forwarded-For: d\r\nContent-Type: e\r\nRange: f\r\nVia: g\r\n"
            "Proxy-Authorization: h\r\n") ==
        "Host Authorization Cookie X-Forwarded-For Content-Type Range Via Proxy-Authorization ");
}

TEST_CASE("thousands of options and fields cost linear time")
{
    std::string options = "Connection: ";
    std::string fields;
    for (int i = 0; i < 9000; ++i) {
        options += "etag,x-" + std::to_string(i) + ",";
        fields += (i % 2 == 0 ? "ETag: a\r\n" : "X-" + std::to_string(i) + ": b\r\n");
    }
    const auto begun = std::chrono::steady_clock::now();
    CHECK(left_of(options + "\r\n" + fields).empty());
    CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(1));
}

TEST_CASE("trailers that change the meaning of a message are forbidden")
{
    for (const char* name :
         {"Content-Length", "Transfer-Encoding", "Host", "Trailer", "Authorization", "Set-Cookie", "Cache-Control", "Vary"}) {
        CHECK(is_forbidden_trailer(http::find_field_name(name), name));
    }
    for (const char* name : {"ETag", "X-Checksum", "Server-Timing"}) {
        CHECK_FALSE(is_forbidden_trailer(http::find_field_name(name), name));
    }
}
