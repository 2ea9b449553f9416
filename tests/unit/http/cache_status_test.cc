// SPDX-License-Identifier: Apache-2.0
#include "common/http/cache_status.h"

#include <doctest/doctest.h>

using namespace ladle::http;

namespace {

std::string written(const CacheStatus& status, std::string_view name = "ladle")
{
    std::string out;
    append_cache_status(status, name, out);
    return out;
}

} // namespace

TEST_CASE("Cache-Status of hits and misses (RFC 9211 §2)")
{
    CHECK(written({}) == "ladle; hit");
    CHECK(written({.ttl_s = 30}) == "ladle; hit; ttl=30");
    CHECK(written({.ttl_s = -5}) == "ladle; hit; ttl=-5");
    CHECK(written({.forwarded = Forwarded::uri_miss, .is_stored = true}) == "ladle; fwd=uri-miss; stored");
    CHECK(written({.forwarded = Forwarded::stale,
                   .server_status = 304,
                   .ttl_s = 60,
                   .is_stored = true,
                   .is_collapsed = true,
                   .detail = "no-store"}) == "ladle; fwd=stale; fwd-status=304; stored; collapsed; ttl=60; detail=no-store");
    struct Case {
        Forwarded forwarded;
        const char* name;
    };
    for (const Case& c :
         {Case{Forwarded::bypass, "bypass"}, Case{Forwarded::method, "method"}, Case{Forwarded::vary_miss, "vary-miss"},
          Case{Forwarded::miss, "miss"}, Case{Forwarded::request, "request"}, Case{Forwarded::partial, "partial"}}) {
        CHECK(written({.forwarded = c.forwarded}) == std::string("ladle; fwd=") + c.name);
    }
}

TEST_CASE("what is no token is a string, escaped (RFC 8941 §3.3.3)")
{
    CHECK(written({.key = "http://a/\"b\\c\n\xff"}) == "ladle; hit; key=\"http://a/\\\"b\\\\c??\"");
    CHECK(written({.detail = "two words"}) == "ladle; hit; detail=\"two words\"");
    CHECK(written({.detail = "1st"}) == "ladle; hit; detail=\"1st\"");
    CHECK(written({}, "edge one") == "\"edge one\"; hit");
    CHECK(written({}, "edge.example.com") == "edge.example.com; hit");
}
