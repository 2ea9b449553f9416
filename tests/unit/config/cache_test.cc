// SPDX-License-Identifier: Apache-2.0
//
// [cache] and the `cache` of sites and routes: every key, inheritance, and every mistake with the text that `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

#include <fstream>

#include <stdlib.h>
#include <unistd.h>

using namespace ladle;
using namespace std::chrono_literals;
using test::check_says;
using test::complaints;
using test::load_good;

namespace {

const std::string kCachedSite = "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\n";

/// The site's own route, with this `cache`.
std::shared_ptr<const config::RouteCache> site_cache(const std::string& value, const std::string& more = {})
{
    return load_good(kCachedSite + "cache = " + value + "\n" + more)->sites.at(0).routes.at(0).cache;
}

/// The cache of the route before it, where the site's is `site` and the route's `route`.
std::shared_ptr<const config::RouteCache> route_cache(const std::string& site, const std::string& route)
{
    std::string text = kCachedSite + (site.empty() ? "" : "cache = " + site + "\n") + "[[site.\"a.test\".route]]\npath = \"/x\"\n";
    text += route.empty() ? "" : "cache = " + route + "\n";
    return load_good(text)->sites.at(0).routes.at(0).cache;
}

/// The line of a mistake in `cache = VALUE` of the site, without place and source line.
std::string mistake(const std::string& value)
{
    const config::LoadResult result = test::load_text(kCachedSite + "cache = " + value + "\n");
    CHECK(result.config == nullptr);
    REQUIRE(result.diagnostics.size() == 1);
    const config::Diagnostic& one = result.diagnostics[0];
    CHECK(one.line == 3);
    return one.message + (one.hint.empty() ? "" : " | " + one.hint);
}

} // namespace

TEST_CASE("config: the cache's defaults are those of the structs")
{
    const auto config = load_good(kCachedSite);
    const config::Cache bare;
    CHECK(config->cache.memory_bytes == bare.memory_bytes);
    CHECK(config->cache.files == bare.files);
    CHECK(config->cache.object_bytes == bare.object_bytes);
    CHECK(config->cache.inline_bytes == bare.inline_bytes);
    CHECK(config->cache.finish_bytes == bare.finish_bytes);
    CHECK(config->cache.uncacheable_for == bare.uncacheable_for);
    CHECK(config->cache.wait == bare.wait);
    CHECK(config->sites.at(0).routes.at(0).cache == nullptr);

    const auto cache = site_cache("true");
    REQUIRE(cache != nullptr);
    const config::RouteCache plain;
    CHECK_FALSE(cache->rules.ttl.is_given());
    CHECK_FALSE(cache->rules.default_ttl.is_given());
    CHECK_FALSE(cache->rules.stale_while_revalidate.is_given());
    CHECK_FALSE(cache->rules.stale_if_error.is_given());
    CHECK(cache->rules.heuristic_percent == plain.rules.heuristic_percent);
    CHECK(cache->rules.heuristic_most_s == plain.rules.heuristic_most_s);
    CHECK(cache->rules.cookies == plain.rules.cookies);
    CHECK(cache->rules.stores_post == plain.rules.stores_post);
    CHECK(cache->rules.stores_parts == plain.rules.stores_parts);
    CHECK(cache->rules.is_lax_with_s_maxage == plain.rules.is_lax_with_s_maxage);
    REQUIRE(cache->rules.negative.size() == 2);
    CHECK(cache->rules.negative.data() == cache->negative.data());
    CHECK(cache->negative[0].first == 404);
    CHECK(cache->negative[1].last == 410);
    CHECK(cache->negative[1].seconds == 10);
    CHECK(cache->key.scheme);
    CHECK(cache->key.query == http::QueryPart::all);
    CHECK(cache->bypass.empty());
    CHECK(cache->min_uses == plain.min_uses);
    CHECK(cache->answers_head == plain.answers_head);
    CHECK(cache->tag_fields == plain.tag_fields);
    CHECK(cache->vary == plain.vary);
    CHECK(cache->obeys_request == plain.obeys_request);
    CHECK(cache->object_bytes == plain.object_bytes);
    CHECK(cache->stale_on_error == plain.stale_on_error);
    CHECK(cache->disconnected_s == plain.disconnected_s);
    CHECK(cache->shows_status == plain.shows_status);
    REQUIRE(cache->purge_from.size() == 2);
    CHECK(cache->purge_from[0].prefix_bits == 96 + 8);
    CHECK(cache->purge_from[1].prefix_bits == 128);
}

TEST_CASE("config: [cache] says how much and how long")
{
    const auto config = load_good("[cache]\nmemory = \"1GiB\"\nfiles = \"shm\"\nuncacheable_for = \"5m\"\nwait = \"250ms\"\n"
                                  "object = { max = \"32MiB\", inline = \"16KiB\", finish = \"0B\" }\n" +
                                  kCachedSite + "cache = true\n");
    CHECK(config->cache.memory_bytes == 1ull << 30);
    CHECK(config->cache.files == "shm");
    CHECK(config->cache.uncacheable_for == 5min);
    CHECK(config->cache.wait == 250ms);
    CHECK(config->cache.object_bytes == 32u << 20);
    CHECK(config->cache.inline_bytes == 16u << 10);
    CHECK(config->cache.finish_bytes == 0);
    CHECK(config->sites.at(0).routes.at(0).cache->object_bytes == 32u << 20);
    CHECK(load_good("[cache]\nobject = \"2MiB\"\n" + kCachedSite)->cache.object_bytes == 2u << 20);
    CHECK(load_good("[cache]\nmemory = \"0B\"\n" + kCachedSite)->cache.memory_bytes == 0);
    CHECK(load_good("[cache]\nmemory = \"8MiB\"\n" + kCachedSite)->cache.memory_bytes == 8u << 20);
}

TEST_CASE("config: every key of a site's cache")
{
    const auto cache =
        site_cache("{ ttl = \"1h\", default_ttl = \"2m\", stale_while_revalidate = \"10m\", stale_if_error = \"1d\", "
                   "stale_if_unreachable = \"0s\", "
                   "stale_on_error = false, lax_s_maxage = true, heuristic = \"25%\", heuristic_max = \"2h\", "
                   "negative = { 4xx = \"1s\", 404 = \"3s\", \"500-503\" = \"2s\" }, key = [\"host\", \"path\", \"query:!utm_*\"], "
                   "bypass = [\"cookie:session\", \"header:X-No-Cache=1*\", \"query:a=b=c\"], min_uses = 3, methods = [\"GET\"], "
                   "tags = \"X-Tags\", vary = false, max = \"1MiB\", cookies = \"ignore\", client_directives = false, "
                   "purge = [\"10.0.0.0/8\"], status_header = false }");
    REQUIRE(cache != nullptr);
    CHECK(cache->rules.ttl.value_or(0) == 3600);
    CHECK(cache->rules.default_ttl.value_or(0) == 120);
    CHECK(cache->rules.stale_while_revalidate.value_or(0) == 600);
    CHECK(cache->rules.stale_if_error.value_or(0) == 86400);
    CHECK(cache->disconnected_s == 0);
    CHECK_FALSE(cache->stale_on_error);
    CHECK(cache->rules.is_lax_with_s_maxage);
    CHECK(cache->rules.heuristic_percent == 25);
    CHECK(cache->rules.heuristic_most_s == 7200);
    REQUIRE(cache->rules.negative.size() == 3); // the narrowest first
    CHECK(cache->rules.negative[0].first == 404);
    CHECK(cache->rules.negative[0].seconds == 3);
    CHECK(cache->rules.negative[1].first == 500);
    CHECK(cache->rules.negative[1].last == 503);
    CHECK(cache->rules.negative[2].first == 400);
    CHECK(cache->rules.negative[2].last == 499);
    CHECK_FALSE(cache->key.scheme);
    CHECK(cache->key.query == http::QueryPart::except);
    REQUIRE(cache->bypass.size() == 3);
    CHECK(cache->bypass[0].kind == config::Bypass::Kind::cookie);
    CHECK(cache->bypass[0].name == "session");
    CHECK(cache->bypass[0].pattern == "*");
    CHECK(cache->bypass[1].kind == config::Bypass::Kind::header);
    CHECK(cache->bypass[1].name == "x-no-cache");
    CHECK(cache->bypass[1].pattern == "1*");
    CHECK(cache->bypass[2].kind == config::Bypass::Kind::query);
    CHECK(cache->bypass[2].name == "a");
    CHECK(cache->bypass[2].pattern == "b=c");
    CHECK(cache->min_uses == 3);
    CHECK_FALSE(cache->answers_head);
    CHECK_FALSE(cache->rules.stores_post);
    CHECK(cache->tag_fields == std::vector<std::string>{"x-tags"});
    CHECK_FALSE(cache->vary);
    CHECK(cache->object_bytes == 1u << 20);
    CHECK(cache->rules.cookies == http::CookieRule::ignore);
    CHECK_FALSE(cache->obeys_request);
    REQUIRE(cache->purge_from.size() == 1);
    CHECK_FALSE(cache->shows_status);

    const auto none = site_cache("{ negative = {}, tags = [], purge = [], key = [], methods = [\"GET\", \"HEAD\"] }");
    CHECK(none->rules.negative.empty());
    CHECK(none->tag_fields.empty());
    CHECK(none->purge_from.empty());
    CHECK(none->key.scheme);
    CHECK(none->answers_head);
    CHECK_FALSE(none->rules.stores_post);
}

TEST_CASE("config: a route's cache adds to its site's, key by key")
{
    CHECK(site_cache("false") == nullptr);
    CHECK(site_cache("{ on = false, ttl = \"1h\" }") == nullptr);
    CHECK(route_cache("", "") == nullptr);
    CHECK(route_cache("true", "") != nullptr);
    CHECK(route_cache("true", "false") == nullptr);
    CHECK(route_cache("true", "\"unset\"") == nullptr);
    CHECK(route_cache("", "true") != nullptr);
    CHECK(route_cache("false", "") == nullptr);
    CHECK(route_cache("{ on = false, min_uses = 4 }", "true")->min_uses == 4);
    CHECK(route_cache("{ on = false, min_uses = 4 }", "{ ttl = \"1h\" }")->rules.ttl.value_or(0) == 3600);

    const auto merged = route_cache(
        "{ ttl = \"1h\", vary = false, tags = [\"A\", \"B\"], negative = { 404 = \"1s\", 410 = \"2s\", 5xx = \"3s\" } }",
        "{ ttl = \"unset\", min_uses = 2, tags = \"C\", negative = { 404 = \"9s\", 5xx = \"unset\" } }");
    REQUIRE(merged != nullptr);
    CHECK_FALSE(merged->rules.ttl.is_given());
    CHECK_FALSE(merged->vary);
    CHECK(merged->min_uses == 2);
    CHECK(merged->tag_fields == std::vector<std::string>{"c"});
    REQUIRE(merged->negative.size() == 2);
    CHECK(merged->negative[0].seconds == 9);
    CHECK(merged->negative[1].first == 410);
    CHECK(merged->negative[1].seconds == 2);

    // A fixed answer has none, whatever the site says.
    const auto fixed = load_good(kCachedSite + "cache = true\n[[site.\"a.test\".route]]\npath = \"/x\"\nrespond = 204\n");
    CHECK(fixed->sites.at(0).routes.at(0).cache == nullptr);
    CHECK(fixed->sites.at(0).routes.at(1).cache != nullptr);
}

TEST_CASE("config: mistakes in a cache's values")
{
    CHECK(mistake("\"yes\"") == "expected true or false, got the string \"yes\"");
    CHECK(mistake("\"true\"") == "expected true or false, got the string \"true\" | write true without quotes");
    CHECK(mistake("\"unset\"") == "expected true or false, got the string \"unset\"");
    CHECK(mistake("{ vary = 1 }") == "expected true or false, got the integer 1");
    CHECK(mistake("{ tll = \"1h\" }") == "unknown key \"tll\" in [site.\"a.test\".cache] | did you mean \"ttl\"?");
    CHECK(mistake("{ ttl = 600 }") == "expected a duration such as \"10m\", got the integer 600 | write \"600s\" or \"10m\"");
    CHECK(mistake("{ ttl = \"1500ms\" }") == "lifetimes are counted in seconds, got \"1500ms\" | write \"2s\"");
    CHECK(mistake("{ heuristic_max = \"1ms\" }") == "lifetimes are counted in seconds, got \"1ms\" | write \"1s\"");
    CHECK(mistake("{ ttl = \"4000d\" }") == "site.\"a.test\".cache.ttl must be from 0s to 3650d, got 4000d");
    CHECK(mistake("{ heuristic = 10 }") == "expected a share such as \"10%\", got the integer 10 | write \"10%\"");
    CHECK(mistake("{ heuristic = \"10\" }") ==
          "expected a share such as \"10%\", from 0% to 100%, got the string \"10\" | write \"10%\"");
    CHECK(mistake("{ heuristic = \"101%\" }") == "expected a share such as \"10%\", from 0% to 100%, got the string \"101%\"");
    CHECK(mistake("{ negative = { 200 = \"1s\" } }") ==
          "expected the status of an error, got \"200\" | write 404, \"4xx\" or \"400-403\", from 400 to 599");
    CHECK(mistake("{ negative = { \"410-404\" = \"1s\" } }").starts_with("expected the status of an error, got \"410-404\""));
    CHECK(mistake("{ negative = { 4040 = \"1s\" } }").starts_with("expected the status of an error, got \"4040\""));
    CHECK(mistake("{ negative = { 404 = \"soon\" } }") == "expected a duration such as \"10s\", got the string \"soon\"");
    CHECK(mistake("{ negative = { 404 = \"10ms\" } }") == "a lifetime is a number of seconds up to 3650d, got \"10ms\"");
    CHECK(mistake("{ key = [\"host\", \"uri\"] }").starts_with("\"uri\": expected scheme, host, path, query"));
    CHECK(mistake("{ key = [\"query:a\", \"query:b\"] }").starts_with("\"query:b\": one list of parameters"));
    CHECK(
        mistake("{ bypass = \"cookies:session\" }") ==
        "expected header:NAME, cookie:NAME or query:NAME, perhaps with =PATTERN behind it, got \"cookies:session\" | did you mean "
        "\"cookie:session\"?");
    for (const char* const wrong : {"cookie", "header:", "header:a b", "cookie:=x", "query:x=", ""}) {
        CHECK(
            mistake(std::string("{ bypass = \"") + wrong + "\" }").starts_with("expected header:NAME, cookie:NAME or query:NAME"));
    }
    CHECK(mistake("{ min_uses = 256 }") ==
          "site.\"a.test\".cache.min_uses must be from 1 to 255, got 256 | counts are kept in one byte");
    CHECK(mistake("{ methods = [\"GET\", \"PUT\"] }") ==
          "expected \"GET\", \"HEAD\" or \"POST\", got \"PUT\" | responses to no other method can be kept");
    CHECK(mistake("{ methods = [\"HEAD\"] }") == "the methods include \"GET\": what is kept are the answers to it");
    CHECK(mistake("{ tags = [\"Cache Tag\"] }") == "\"Cache Tag\" is not the name of a header");
    CHECK(mistake("{ purge = [\"localhost\"] }") == "expected an address range such as \"10.0.0.0/8\", got \"localhost\"");
    CHECK(mistake("{ cookies = \"no\" }") == "expected \"if_explicit\", \"never\" or \"ignore\", got the string \"no\"");
}

TEST_CASE("config: a mistake in a site's cache is said once, however many routes inherit it")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
cache = { key = "uri", ttl = "1ms" }
[[site."a.test".route]]
path = "/x"
cache = { min_uses = 2 }
[[site."a.test".route]]
path = "/y"
)~",
               R"~(
x.toml:3:17: error: "uri": expected scheme, host, path, query, query:NAMES, query:!NAMES, query:sorted, header:NAME or cookie:NAME
    3 | cache = { key = "uri", ttl = "1ms" }
      |                 ^^^^^
x.toml:3:30: error: lifetimes are counted in seconds, got "1ms"
    3 | cache = { key = "uri", ttl = "1ms" }
      |                              ^^^^^ write "1s"
)~");
}

TEST_CASE("config: a cache where there is none, and where it makes no sense")
{
    check_says(R"~(
[cache]
memory = "0B"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
cache = true
)~",
               R"~(
x.toml:5:9: error: there is no cache: [cache] memory is 0B
    5 | cache = true
      |         ^^^^ it is set at x.toml:2:10
)~");
    check_says(R"~(
[cache]
memory = "4MiB"
ssds = "1GiB"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
path = "/x"
respond = 204
cache = true
)~",
               R"~(
x.toml:2:10: error: cache.memory must be "0B" (no cache) or from 8MiB to 256GiB, got 4MiB
    2 | memory = "4MiB"
      |          ^^^^^^ less cannot hold the index
x.toml:3:1: error: unknown key "ssds" in [cache]
    3 | ssds = "1GiB"
      | ^^^^ known here: memory, files, object, uncacheable_for, wait, disk
x.toml:9:1: error: a fixed answer is not cached: it comes from memory as it is
    9 | cache = true
      | ^^^^^ respond is at x.toml:8:1
)~");
}

TEST_CASE("config: the folder for the cache's larger bodies is looked at, and nothing is made in it")
{
    char folder[] = "/tmp/ladle-config-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    const std::string path = std::string(folder) + "/x.toml";
    const auto said = [&](const std::string& files) {
        std::ofstream(path) << "[cache]\nfiles = \"" << files << "\"\n" << kCachedSite;
        config::DiskFiles disk;
        return config::to_text(config::load(disk, path).diagnostics);
    };
    CHECK(said("/dev/shm").empty());
    CHECK(said("absent").find("error: there is no folder \"" + std::string(folder) + "/absent\"") != std::string::npos);
    CHECK(said("x.toml").find("error: \"" + path + "\" is not a folder") != std::string::npos);
    CHECK(said("/proc").find("warning: \"/proc\" is not on tmpfs") != std::string::npos);
    ::unlink(path.c_str());
    ::rmdir(folder);
}
