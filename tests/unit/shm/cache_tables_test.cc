// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_requests.h"
#include "tests/unit/shm/cache_testing.h"

#include <doctest/doctest.h>

using namespace cache_testing;
using shm::ClaimOutcome;
using shm::PurgeKind;
using shm::PurgeState;

namespace {

shm::CacheView put_object(shm::CacheStore& store, std::string_view url, std::span<const std::uint64_t> tags = {},
                   std::string_view variant = {})
{
    shm::CacheObject object;
    object.name = store.name(url, variant);
    object.tags = tags;
    object.epoch = store.purges().epoch();
    return std::move(*store.store(object, "body"));
}

} // namespace

TEST_CASE("purge: of a URL, its tag, its prefix or all; what came later stays")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    const std::uint64_t tags[] = {store.purges().tag_subject("red"), store.purges().tag_subject("blue")};
    const auto is_hit = [&store](std::string_view url, std::string_view variant = {}) {
        return bool(store.find(store.name(url, variant)).view);
    };
    const auto put_all = [&] {
        put_object(store, "http://a/x/1", tags);
        put_object(store, "http://a/x/1", tags, "gzip");
        put_object(store, "http://a/x/2");
        put_object(store, "http://b/");
    };
    put_all();
    CHECK(store.purges().purge_url("http://a/x/1", PurgeKind::hard));
    CHECK_FALSE(is_hit("http://a/x/1"));
    CHECK_FALSE(is_hit("http://a/x/1", "gzip")); // every variant
    CHECK(is_hit("http://a/x/2"));
    put_all();
    CHECK(is_hit("http://a/x/1"));
    CHECK(store.purges().purge_tag("blue", PurgeKind::hard));
    CHECK_FALSE(is_hit("http://a/x/1"));
    CHECK(is_hit("http://a/x/2"));
    put_all();
    CHECK(store.purges().purge_prefix("http://a/x/", PurgeKind::hard));
    CHECK_FALSE(is_hit("http://a/x/1"));
    CHECK_FALSE(is_hit("http://a/x/2"));
    CHECK(is_hit("http://b/"));
    put_all();
    CHECK(store.purges().purge_all(PurgeKind::hard));
    CHECK_FALSE(is_hit("http://b/"));
    put_all();
    CHECK(is_hit("http://b/"));
    CHECK(is_hit("http://a/x/1", "gzip"));
}

TEST_CASE("purge: a response that was under way is not served")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    shm::CacheStore other(arena, 1);
    shm::CacheObject object;
    object.name = store.name("http://a/");
    object.epoch = store.purges().epoch(); // the request goes out
    CHECK(other.purges().purge_url("http://a/", PurgeKind::hard));
    REQUIRE(store.store(object, "old"));
    CHECK_FALSE(store.find(store.name("http://a/")).view);
    CHECK(store.peek(store.name("http://a/")));
}

TEST_CASE("purge: a soft one makes stale, in every process, again and again")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    shm::CacheStore other(arena, 1);
    put_object(store, "http://a/");
    CHECK_FALSE(store.find(store.name("http://a/")).soft_purged);
    CHECK(other.purges().purge_url("http://a/", PurgeKind::soft));
    for (int i = 0; i < 3; ++i) {
        CHECK(store.find(store.name("http://a/")).soft_purged);
        CHECK(other.find(other.name("http://a/")).soft_purged);
    }
    CHECK(store.purges().purge_tag("unrelated", PurgeKind::hard));
    CHECK(store.find(store.name("http://a/")).soft_purged);
    put_object(store, "http://a/");
    CHECK_FALSE(store.find(store.name("http://a/")).soft_purged);
}

TEST_CASE("purge: a full table forgets no purge, and purges what is older than what it gave up")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    put_object(store, "http://old/");
    CHECK(store.purges().purge_url("http://first/", PurgeKind::hard));
    const std::uint64_t after_first = store.purges().epoch();
    put_object(store, "http://new/");
    const std::uint64_t count = 2 * shm::kPurgeSets * shm::kPurgeWays;
    for (std::uint64_t i = 0; i < count; ++i) {
        REQUIRE(store.purges().purge_url("http://u/" + std::to_string(i), PurgeKind::hard));
    }
    std::uint64_t forgotten = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
        forgotten += store.purges().state("http://u/" + std::to_string(i), {}, after_first + i) != PurgeState::hard;
    }
    CHECK(forgotten == 0);
    CHECK(store.purges().state("http://first/", {}, after_first - 1) == PurgeState::hard);
    CHECK_FALSE(store.find(store.name("http://old/")).view); // the safe side
    CHECK(store.purges().state("http://new/", {}, store.purges().epoch()) == PurgeState::none);
    put_object(store, "http://new/");
    CHECK(store.find(store.name("http://new/")).view);
}

TEST_CASE("purge: more lengths of prefixes than there are places")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    const std::string url = "http://a/" + std::string(300, 'x');
    std::uint64_t forgotten = 0;
    for (std::size_t length = 10; length < 250; ++length) {
        const std::uint64_t before = store.purges().epoch();
        REQUIRE(store.purges().purge_prefix(url.substr(0, length), PurgeKind::hard));
        forgotten += store.purges().state(url, {}, before) != PurgeState::hard;
    }
    CHECK(forgotten == 0);
    CHECK(store.purges().state(url, {}, 1) == PurgeState::hard);
    CHECK(store.purges().state(url, {}, store.purges().epoch()) == PurgeState::none);
    CHECK(store.purges().state("http://b/", {}, store.purges().epoch() - 10) == PurgeState::none);
}

TEST_CASE("purge: the table goes over a restart, and a damaged one does not")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 0);
    CHECK(store.purges().purge_url("http://a/", PurgeKind::hard));
    CHECK(store.purges().purge_prefix("http://p/", PurgeKind::soft));
    CHECK(store.purges().purge_tag("t", PurgeKind::hard));
    const std::string bytes = store.purges().export_bytes();
    auto next = make_arena(8);
    shm::CacheStore restarted(next, 0);
    for (std::size_t at = 0; at < bytes.size(); at += 97) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 4);
        REQUIRE_FALSE(restarted.purges().import_bytes(damaged));
        REQUIRE_FALSE(restarted.purges().import_bytes(bytes.substr(0, at)));
    }
    CHECK(restarted.purges().epoch() == 1);
    REQUIRE(restarted.purges().import_bytes(bytes));
    CHECK(restarted.purges().epoch() == 4);
    CHECK(restarted.purges().state("http://a/", {}, 1) == PurgeState::hard);
    CHECK(restarted.purges().state("http://a/", {}, 2) == PurgeState::none);
    CHECK(restarted.purges().state("http://p/1", {}, 2) == PurgeState::soft);
    const std::uint64_t tags[] = {restarted.purges().tag_subject("t")};
    CHECK(restarted.purges().state("http://q/", tags, 3) == PurgeState::hard);
    CHECK(restarted.purges().state("http://q/", tags, 4) == PurgeState::none);
    auto foreign = make_arena(8, 0, 43);
    shm::CacheStore stranger(foreign, 0);
    CHECK_FALSE(stranger.purges().import_bytes(bytes));
}

TEST_CASE("fills: one claims, the others wait and are woken")
{
    auto arena = make_arena(8);
    shm::CacheStore first(arena, 1);
    shm::CacheStore second(arena, 2);
    shm::CacheStore third(arena, 3);
    const auto hash = first.name("http://a/").hash;
    const auto claim = first.fills().claim(hash, 1);
    CHECK(claim.outcome == ClaimOutcome::mine);
    CHECK(second.fills().claim(hash, 1).outcome == ClaimOutcome::others);
    CHECK(third.fills().claim(hash, 1).outcome == ClaimOutcome::others);
    CHECK(third.fills().claim(hash, 1).outcome == ClaimOutcome::others);
    CHECK(second.fills().claim(first.name("http://b/").hash, 1).outcome == ClaimOutcome::mine);
    CHECK(first.fills().claimed() == 2);
    CHECK(first.fills().finish(claim, shm::FillEnd::over) == (1u << 2 | 1u << 3));
    CHECK(first.fills().finish(claim, shm::FillEnd::over) == 0);
    CHECK(second.fills().claim(hash, 1).outcome == ClaimOutcome::mine);
}

TEST_CASE("fills: what is not cacheable is remembered for its time")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 1);
    const auto hash = store.name("http://a/").hash;
    auto claim = store.fills().claim(hash, 1000);
    CHECK(store.fills().finish(claim, shm::FillEnd::uncacheable, 5000) == 0);
    CHECK(store.fills().claim(hash, 4999).outcome == ClaimOutcome::uncacheable);
    CHECK(store.fills().is_uncacheable(hash, 4999));
    CHECK_FALSE(store.fills().is_uncacheable(hash, 5000));
    claim = store.fills().claim(hash, 5000);
    CHECK(claim.outcome == ClaimOutcome::mine);
    store.fills().finish(claim, shm::FillEnd::uncacheable, 9000);
    store.fills().forget(hash);
    CHECK(store.fills().claim(hash, 6000).outcome == ClaimOutcome::mine);
}

TEST_CASE("fills: what is fetched is wanted by those who said so, under this claim alone")
{
    auto arena = make_arena(8);
    shm::CacheStore first(arena, 1);
    shm::CacheStore second(arena, 2);
    const auto hash = first.name("http://a/").hash;
    const auto mine = first.fills().claim(hash, 1);
    const auto others = second.fills().claim(hash, 1);
    REQUIRE(others.outcome == ClaimOutcome::others);
    CHECK_FALSE(first.fills().is_wanted(mine));
    first.fills().want(mine);
    second.fills().want(others);
    first.fills().want_no_more(mine);
    CHECK(first.fills().is_wanted(mine));
    second.fills().want_no_more(others);
    CHECK_FALSE(first.fills().is_wanted(mine));
    first.fills().want_no_more(mine); // one too many
    CHECK_FALSE(first.fills().is_wanted(mine));
    second.fills().want(others);
    first.fills().finish(mine, shm::FillEnd::over);
    const auto next = first.fills().claim(hash, 2);
    REQUIRE(next.place == mine.place);
    CHECK_FALSE(first.fills().is_wanted(next));
    first.fills().want(next);
    second.fills().want_no_more(others); // of the claim before
    second.fills().want(others);
    CHECK(first.fills().is_wanted(next));
    first.fills().want_no_more(next);
    CHECK_FALSE(first.fills().is_wanted(next));
    first.fills().want({}); // no claim at all
    CHECK_FALSE(first.fills().is_wanted({}));
}

TEST_CASE("fills: a full table lets go alone, and thousands find a place")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 1);
    int mine = 0;
    int alone = 0;
    for (int i = 0; i < 20000; ++i) {
        const auto outcome = store.fills().claim(store.name("http://a/" + std::to_string(i)).hash, 1).outcome;
        mine += outcome == ClaimOutcome::mine;
        alone += outcome == ClaimOutcome::alone;
    }
    CHECK(mine == 4096);
    CHECK(mine + alone == 20000);
    CHECK(store.repair(1) == 0);
    CHECK(store.fills().claimed() == 0);
}

TEST_CASE("requests: are counted by key, up to 255, and forgotten by and by")
{
    auto arena = make_arena(8);
    shm::CacheStore store(arena, 1);
    const auto hash = store.name("http://a/").hash;
    const auto other = store.name("http://b/").hash;
    for (std::uint32_t i = 1; i <= 300; ++i) {
        CHECK(shm::count_request(arena, hash) == std::min(i, 255u));
    }
    CHECK(shm::count_request(arena, other) == 1);
    for (std::uint32_t i = 301; i < shm::kRequestsUntilHalved; ++i) { // one of them was the other's
        shm::count_request(arena, other);
    }
    CHECK(shm::count_request(arena, hash) == 128);
}
