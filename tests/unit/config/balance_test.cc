// SPDX-License-Identifier: Apache-2.0
//
// `balance` and `sticky` of an upstream.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle;
using namespace ladle::test;

namespace {

std::string group(const std::string& lines)
{
    return "[upstream.app]\nservers = [\"127.0.0.1:3000\"]\n" + lines + "\n[site.\"a.test\"]\nupstream = \"app\"\n";
}

config::Upstream load_group(const std::string& lines)
{
    return load_good(group(lines))->upstreams.at(0);
}

} // namespace

TEST_CASE("config: balance is a method's name, or a table with the key of hash")
{
    CHECK(load_group("").balance == config::Balance::least_busy);
    CHECK(load_group("balance = \"random\"").balance == config::Balance::random);
    CHECK(load_group("balance = \"latency\"").balance == config::Balance::latency);
    CHECK(load_group("balance = { method = \"round_robin\" }").balance == config::Balance::round_robin);
    CHECK(load_group("max_conn = 5\nbalance = \"first\"").balance == config::Balance::first);
    CHECK(load_group("balance = \"hash\"").hash_key.kind == config::HashKey::Kind::client);
    const auto key = [](const std::string& text) {
        return load_group("balance = { method = \"hash\", key = \"" + text + "\" }").hash_key;
    };
    using Kind = config::HashKey::Kind;
    CHECK(key("client").kind == Kind::client);
    CHECK(key("path").kind == Kind::path);
    CHECK(key("url").kind == Kind::url);
    CHECK(key("header:X-User").kind == Kind::header);
    CHECK(key("header:X-User").name == "X-User");
    CHECK(key("cookie:sid").kind == Kind::cookie);
    CHECK(key("query:user[id]").kind == Kind::query);
    CHECK(key("query:user[id]").name == "user[id]");
}

TEST_CASE("config: a key that is none, one without hash, and first without a limit are told of")
{
    check_says("\n" + group("balance = { method = \"hash\", key = \"header\" }"), R"~(
x.toml:3:36: error: expected "client", "header:NAME", "cookie:NAME", "query:NAME", "path" or "url", got "header"
    3 | balance = { method = "hash", key = "header" }
      |                                    ^^^^^^^^
)~");
    for (const char* const text : {"", "client:x", "url:", "cookie:", "query:a&b", "header:a b", "ip"}) {
        CHECK_FALSE(load_text(group("balance = { method = \"hash\", key = \"" + std::string(text) + "\" }")).config);
    }
    check_says("\n" + group("balance = { key = \"path\" }"), R"~(
x.toml:3:13: error: only the method "hash" goes by a key
    3 | balance = { key = "path" }
      |             ^^^ write balance = { method = "hash", key = "path" }
)~");
    check_says("\n" + group("balance = \"first\""), R"~(
x.toml:3:11: warning: the first server gets everything: none has a max_conn at which the next one would be used
    3 | balance = "first"
      |           ^^^^^^^
)~");
}

TEST_CASE("config: sticky is the name of a cookie")
{
    CHECK(load_group("").sticky_cookie.empty());
    CHECK(load_group("sticky = \"srv\"").sticky_cookie == "srv");
    CHECK(load_group("sticky = { cookie = \"__Host-srv\" }").sticky_cookie == "__Host-srv");
    for (const std::string& text : {std::string(), std::string("a b"), std::string("a=b"), std::string(65, 'a')}) {
        CHECK_FALSE(load_text(group("sticky = \"" + text + "\"")).config);
        CHECK_FALSE(load_text(group("sticky = { cookie = \"" + text + "\" }")).config);
    }
    CHECK_FALSE(load_text(group("sticky = {}")).config);
    CHECK_FALSE(load_text(group("sticky = true")).config);
    const std::string by_cookie = "balance = { method = \"hash\", key = \"cookie:sid\" }\n";
    CHECK_FALSE(load_text(group(by_cookie + "sticky = \"sid\"")).config); // it is made here: no server would ever set it
    CHECK(load_text(group(by_cookie + "sticky = \"srv\"")).config);
}

TEST_CASE("config: adaptive is true, or a table; max_conn stays the most")
{
    CHECK_FALSE(load_group("").adaptive);
    CHECK_FALSE(load_group("adaptive = false").adaptive);
    CHECK_FALSE(load_group("adaptive = { on = false, min = 9 }").adaptive);
    for (const char* const text : {"adaptive = true", "adaptive = {}"}) {
        const config::Upstream upstream = load_group(text);
        REQUIRE(upstream.adaptive);
        CHECK(upstream.adaptive->least == 4);
        CHECK(upstream.adaptive->tolerance == 25);
    }
    const config::Upstream upstream = load_group("max_conn = 50\nadaptive = { min = 7, tolerance = \"50%\" }");
    CHECK(upstream.adaptive->least == 7);
    CHECK(upstream.adaptive->tolerance == 50);
    CHECK(upstream.servers.at(0).max_conn == 50);
    CHECK(load_group("max_conn = 2\nadaptive = true").adaptive); // the least is none of the file's
    CHECK(complaints(group("adaptive = true\nbalance = \"first\"")).empty()); // it has a limit
}

TEST_CASE("config: values of adaptive that cannot be are told of")
{
    check_says("\n" + group("max_conn = 10\nadaptive = { min = 11 }"), R"~(
x.toml:4:20: error: min is 11, but the max_conn of 127.0.0.1:3000 is 10
    4 | adaptive = { min = 11 }
      |                    ^^ max_conn is the most: make it larger, or min smaller
)~");
    check_says("\n" + group("adaptive = { min = 0 }"), R"~(
x.toml:3:20: error: upstream.app.adaptive.min must be from 1 to 1000000, got 0
    3 | adaptive = { min = 0 }
      |                    ^ with none nothing would ever be learnt
)~");
    for (const char* const text : {"\"on\"", "4", "{ min = \"4\" }", "{ tolerance = 25 }",
                                   "{ tolerance = \"101%\" }", "{ most = 5 }"}) {
        CHECK_FALSE(load_text(group("adaptive = " + std::string(text))).config);
    }
}
