// SPDX-License-Identifier: Apache-2.0
//
// What `ladle purge` and `ladle cache` ask of the master: keys of URLs, purges, listings, and questions in a wrong form.
#include "common/http/stored_meta.h"
#include "master/cache_keys.h"
#include "master/cache_orders.h"
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

#include <chrono>

using namespace ladle;
using nlohmann::json;

namespace {

const std::string kSites = R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
cache = true
[[site."a.test".route]]
path = "/all"
cache = { key = ["host", "path", "query:!utm_*", "header:Accept"] }
[[site."a.test".route]]
path = "/off"
cache = false
)~";

std::int64_t now_ms()
{
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// A cache of its own, with the configuration above.
struct Kept {
    Kept()
        : arena(*shm::CacheArena::make({8u << 20, 0, 0})), store(arena, 0), config(test::load_good(kSites)),
          loop(*loop::Loop::make())
    {
    }

    void put(const std::string& key, std::string_view variant = {}, http::StoredFreshness freshness = fresh(),
             std::vector<std::uint64_t> tags = {})
    {
        http::StoredMeta meta;
        meta.freshness = freshness;
        meta.source = http::LifetimeSource::max_age;
        shm::CacheObject object;
        object.name = store.name(key, variant);
        const http::PackedMeta packed = meta.pack();
        object.meta = packed.bytes();
        object.head = "content-type: text/plain\r\n";
        object.tags = tags;
        object.epoch = store.purges().epoch();
        object.body_bytes = 4;
        REQUIRE(store.store(object, "body"));
    }

    static http::StoredFreshness fresh()
    {
        http::StoredFreshness freshness;
        freshness.born_ms = now_ms() - 10'500;
        freshness.lifetime_s = 60;
        freshness.status = 200;
        freshness.flags = http::StoredFreshness::kHasValidator;
        return freshness;
    }

    bool has(const std::string& key, std::string_view variant = {})
    {
        return static_cast<bool>(store.find(store.name(key, variant), std::string_view(key).substr(0, key.find('\n'))).view);
    }

    json purge(const json& request) { return master::purge(*config, &store, request); }

    json list(const json& request)
    {
        json answer;
        master::CacheListing listing(*loop, *config, store, disk, request, [&](master::CacheListing&, json got) {
            answer = std::move(got);
            loop->stop();
        });
        CHECK(answer.is_null()); // only from the loop
        loop->run();
        return answer;
    }

    shm::CacheArena arena;
    shm::CacheStore store;
    shm::CacheStore* disk = nullptr;
    std::shared_ptr<const config::Config> config;
    std::unique_ptr<loop::Loop> loop;
};

} // namespace

TEST_CASE("the keys of a URL are those of every way in which routes make them")
{
    const auto config = test::load_good(kSites);
    CHECK(*master::keys_of(*config, "HTTP://A.test:80/x%41?b=1&utm_source=x#there") ==
          std::set<std::string>{"http://a.test/xA?b=1&utm_source=x", "//a.test/xA?b=1"});
    CHECK(*master::key_prefixes_of(*config, "http://a.test/x?b") == std::set<std::string>{"http://a.test/x?b", "//a.test/x"});
    CHECK(*master::key_prefixes_of(*config, "http://a.test") == std::set<std::string>{"http://a.test/", "//a.test/"});
    for (const char* const wrong : {"", "/x", "a.test/x", "ftp://a.test/", "http://", "http://a b/"}) {
        CHECK_FALSE(master::keys_of(*config, wrong));
        CHECK_FALSE(master::key_prefixes_of(*config, wrong));
    }
    CHECK(master::keys_of(*config, "x").error().detail == "expected a URL such as \"http://example.com/path\", got \"x\"");
}

TEST_CASE("a purge takes what it names and nothing else")
{
    Kept kept;
    kept.put("http://a.test/one");
    kept.put("http://a.test/one", "accept-encoding:br\n");
    kept.put("//a.test/one\naccept:text/html");
    kept.put("http://a.test/one/more");
    kept.put("http://b.test/one", {}, Kept::fresh(),
             {kept.store.purges().tag_subject("red"), kept.store.purges().tag_subject("blue")});
    kept.put("http://b.test/two");

    json answer = kept.purge({{"urls", {"http://a.test/one"}}});
    CHECK(answer["ok"] == true);
    CHECK(answer["message"] == "purged 1 URL");
    CHECK_FALSE(kept.has("http://a.test/one"));
    CHECK_FALSE(kept.has("http://a.test/one", "accept-encoding:br\n"));
    CHECK_FALSE(kept.has("//a.test/one\naccept:text/html"));
    CHECK(kept.has("http://a.test/one/more"));

    CHECK(kept.purge({{"prefixes", {"http://a.test/o", "http://c.test"}}})["message"] == "purged 2 prefixes");
    CHECK_FALSE(kept.has("http://a.test/one/more"));
    CHECK(kept.has("http://b.test/one"));
    CHECK(kept.purge({{"tags", {"red"}}, {"urls", {"http://x.test/", "http://y.test/"}}})["message"] == "purged 2 URLs, 1 tag");
    CHECK_FALSE(kept.has("http://b.test/one"));
    CHECK(kept.has("http://b.test/two"));

    CHECK(kept.purge({{"all", true}, {"soft", true}})["message"] == "softly purged everything");
    CHECK(kept.store.find(kept.store.name("http://b.test/two")).soft_purged);
    CHECK(kept.purge({{"all", true}})["message"] == "purged everything");
    CHECK_FALSE(kept.has("http://b.test/two"));
}

TEST_CASE("a purge in a wrong form does nothing and says why")
{
    Kept kept;
    kept.put("http://a.test/one");
    const json bad = kept.purge({{"urls", {"http://a.test/one", "/two"}}});
    CHECK(bad["ok"] == false);
    CHECK(bad["message"] == "expected a URL such as \"http://example.com/path\", got \"/two\"");
    for (const json& wrong : {json{{"urls", "http://a.test/one"}}, json{{"tags", {1}}}, json{{"prefixes", {{"a", "b"}}}}}) {
        CHECK(kept.purge(wrong)["message"] == "the request is not understood");
    }
    CHECK(kept.purge({{"all", "yes"}})["message"] == "purged nothing");
    CHECK(kept.has("http://a.test/one"));
    CHECK(master::purge(*kept.config, nullptr, {{"all", true}})["ok"] == false);
}

TEST_CASE("a listing shows each object, and of one URL all variants")
{
    Kept kept;
    kept.put("http://a.test/one", {}, Kept::fresh(), {7, 8});
    kept.put("http://a.test/two", "accept-encoding:br\n");
    kept.put("http://a.test/two", "accept-encoding:gzip\n");
    kept.put("//a.test/two\naccept:text/html");
    http::StoredFreshness stale = Kept::fresh();
    stale.lifetime_s = 5;
    kept.put("http://b.test/stale", {}, stale);

    json answer = kept.list({});
    CHECK(answer["ok"] == true);
    CHECK(answer["objects"].size() == 5);
    CHECK(answer["is_complete"] == true);
    CHECK(answer["objects_in_all"] == 5);
    CHECK_FALSE(answer.contains("is_known_uncacheable"));

    answer = kept.list({{"limit", 2u}});
    CHECK(answer["objects"].size() == 2);
    CHECK(answer["is_complete"] == false);
    CHECK(kept.list({{"limit", 5u}})["is_complete"] == true);
    CHECK(kept.list({{"limit", "many"}})["objects"].size() == 5);

    CHECK(kept.list({{"prefix", "http://b.test"}})["objects"].size() == 1);
    CHECK(kept.list({{"prefix", "b.test"}})["ok"] == false);
    answer = kept.list({{"url", "http://a.test/two"}});
    CHECK(answer["objects"].size() == 3);
    CHECK(answer["is_known_uncacheable"] == false);
    CHECK(kept.list({{"url", "http://a.test/none"}})["objects"].empty());

    answer = kept.list({{"url", "http://a.test/one"}});
    REQUIRE(answer["objects"].size() == 1);
    const json one = answer["objects"][0];
    CHECK(one["url"] == "http://a.test/one");
    CHECK(one["kind"] == "response");
    CHECK(one["status"] == 200);
    CHECK(one["state"] == "complete");
    CHECK(one["age_s"] == 10);
    CHECK(one["lifetime_s"] == 60);
    CHECK(one["left_s"] == 49);
    CHECK(one["lifetime_from"] == "max-age");
    CHECK(one["flags"] == json{"validator"});
    CHECK(one["body_bytes"] == 4);
    CHECK(one["tags"] == 2);
    CHECK(one["in_file"] == false);
    CHECK(one["purged"] == "no");
    CHECK(one["verdict"] == "served");
    CHECK(one["hits"] == 0); // looking is no use
}

TEST_CASE("a listing says what would become of a request")
{
    Kept kept;
    http::StoredFreshness freshness = Kept::fresh();
    const auto verdict = [&](const char* url) { return kept.list({{"url", url}})["objects"][0]["verdict"].get<std::string>(); };
    kept.put("http://a.test/fresh", {}, freshness);
    freshness.lifetime_s = 5;
    kept.put("http://a.test/stale", {}, freshness);
    freshness.stale_while_revalidate_s = 100;
    kept.put("http://a.test/swr", {}, freshness);
    freshness.flags = 0;
    freshness.stale_while_revalidate_s = 0;
    kept.put("http://a.test/no-validator", {}, freshness);
    freshness = Kept::fresh();
    freshness.flags |= http::StoredFreshness::kAlwaysValidate;
    kept.put("http://a.test/no-cache", {}, freshness);
    CHECK(verdict("http://a.test/fresh") == "served");
    CHECK(verdict("http://a.test/stale") == "validated first: stale");
    CHECK(verdict("http://a.test/swr") == "served, stale, while it is validated (stale-while-revalidate)");
    CHECK(verdict("http://a.test/no-validator") == "fetched anew: stale");
    CHECK(verdict("http://a.test/no-cache") == "validated first: no-cache");
    kept.purge({{"urls", {"http://a.test/fresh"}}, {"soft", true}});
    CHECK(verdict("http://a.test/fresh") == "validated first: softly purged");
    kept.purge({{"urls", {"http://a.test/fresh"}}});
    CHECK(verdict("http://a.test/fresh") == "not served: purged");

    const shm::CacheName name = kept.store.name("http://a.test/never");
    const shm::FillClaim claim = kept.store.fills().claim(name.hash, loop::clock_now());
    kept.store.fills().finish(claim, shm::FillEnd::uncacheable, loop::clock_now() + 60'000'000'000);
    CHECK(kept.list({{"url", "http://a.test/never"}})["is_known_uncacheable"] == true);
}
