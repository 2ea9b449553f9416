// SPDX-License-Identifier: Apache-2.0
#include "common/http/freshness.h"

#include <doctest/doctest.h>

#include <string>

using namespace ladle::http;

namespace {

constexpr std::int64_t kBorn = 1'700'000'000'000;

StoredFreshness stored(std::uint32_t lifetime_s, std::uint16_t flags = 0)
{
    StoredFreshness freshness;
    freshness.born_ms = kBorn;
    freshness.lifetime_s = lifetime_s;
    freshness.flags = flags;
    freshness.status = 200;
    return freshness;
}

std::string judged(const StoredFreshness& freshness, std::int64_t age_ms, std::string_view request = "", Purged purged = Purged::no)
{
    RequestDirectives directives;
    read_cache_control(request, directives);
    const Judgement judgement = judge(freshness, directives, kBorn + age_ms, purged);
    switch (judgement.reuse) {
    case Reuse::fresh:
        return "fresh";
    case Reuse::stale_allowed:
        return "stale allowed";
    case Reuse::stale_revalidating:
        return "stale revalidating";
    case Reuse::validate:
        break;
    }
    switch (judgement.reason) {
    case ValidateReason::none:
        return "validate";
    case ValidateReason::stale:
        return "validate: stale";
    case ValidateReason::request:
        return "validate: request";
    case ValidateReason::no_cache:
        return "validate: no-cache";
    }
    return {};
}

bool serves(const StoredFreshness& freshness, std::int64_t age_ms, ServerFailure failure, std::uint32_t disconnected_s = 0,
            std::string_view request = "")
{
    RequestDirectives directives;
    read_cache_control(request, directives);
    return may_serve_on_error(freshness, directives, kBorn + age_ms, failure, disconnected_s);
}

} // namespace

TEST_CASE("fresh while the lifetime is greater than the age (RFC 9111 §4.2)")
{
    CHECK(judged(stored(10), 0) == "fresh");
    CHECK(judged(stored(10), 9'999) == "fresh");
    CHECK(judged(stored(10), 10'000) == "validate: stale");
    CHECK(judged(stored(0), 0) == "validate: stale");
    CHECK(judged(stored(10), -2'000) == "fresh");
    CHECK(judged(stored(10), -2'001) == "validate: stale"); // the clock was set back: its age is unknown
    CHECK(judged(stored(1u << 31), -60'000) == "validate: stale");
    CHECK_FALSE(serves(stored(10), -60'000, ServerFailure::no_answer, 86'400));
    CHECK(age_field(stored(10), kBorn - 60'000) == 1u << 31);
    CHECK(judged(stored(1u << 31), std::int64_t{1} << 40) == "fresh");
    CHECK(age_field(stored(10), kBorn + 2'999) == 2);
    CHECK(age_field(stored(10), kBorn - 5) == 0);
    CHECK(age_field(stored(10), INT64_MAX) == 1u << 31);
    CHECK(remaining_s(stored(10), kBorn + 2'500) == 7);
    CHECK(remaining_s(stored(10), kBorn + 10'001) == -1);
    CHECK(remaining_s(stored(10), kBorn + 12'000) == -2);
}

TEST_CASE("no-cache is never used without validation (RFC 9111 §5.2.2.4)")
{
    CHECK(judged(stored(10, StoredFreshness::kAlwaysValidate), 0) == "validate: no-cache");
    CHECK(judged(stored(10, StoredFreshness::kAlwaysValidate), 20'000, "max-stale") == "validate: no-cache");
}

TEST_CASE("what the request wants of a fresh response (RFC 9111 §5.2.1)")
{
    CHECK(judged(stored(10), 1'000, "no-cache") == "validate: request");
    CHECK(judged(stored(10), 0, "max-age=0") == "validate: request");
    CHECK(judged(stored(10), 1'000, "max-age=1") == "fresh");
    CHECK(judged(stored(10), 1'001, "max-age=1") == "validate: request");
    CHECK(judged(stored(10), 1'000, "max-age=x") == "validate: request");
    CHECK(judged(stored(10), 1'000, "min-fresh=9") == "fresh");
    CHECK(judged(stored(10), 1'001, "min-fresh=9") == "validate: request");
    CHECK(judged(stored(10), 1'000, "max-stale=5") == "fresh");
    CHECK(judged(stored(10), 1'000, "no-store, only-if-cached") == "fresh");
}

TEST_CASE("an immutable response is validated only for no-cache while it is fresh (RFC 8246 §2)")
{
    CHECK(judged(stored(10, StoredFreshness::kImmutable), 5'000, "max-age=0") == "fresh");
    CHECK(judged(stored(10, StoredFreshness::kImmutable), 5'000, "no-cache") == "validate: request");
    CHECK(judged(stored(10, StoredFreshness::kImmutable), 10'000, "max-age=0") == "validate: stale");
}

TEST_CASE("max-stale (RFC 9111 §5.2.1.2)")
{
    CHECK(judged(stored(10), 15'000, "max-stale=5") == "stale allowed");
    CHECK(judged(stored(10), 15'001, "max-stale=5") == "validate: stale");
    CHECK(judged(stored(10), 1'000'000, "max-stale") == "stale allowed");
    CHECK(judged(stored(10), 15'000, "max-stale=5, max-age=15") == "stale allowed");
    CHECK(judged(stored(10), 15'000, "max-stale=5, max-age=14") == "validate: stale");
    CHECK(judged(stored(10), 15'000, "max-stale=5, min-fresh=1") == "validate: stale");
    CHECK(judged(stored(10, StoredFreshness::kMustRevalidate), 15'000, "max-stale") == "validate: stale");
}

TEST_CASE("stale-while-revalidate (RFC 5861 §3)")
{
    StoredFreshness freshness = stored(10);
    freshness.stale_while_revalidate_s = 5;
    CHECK(judged(freshness, 9'999) == "fresh");
    CHECK(judged(freshness, 10'000) == "stale revalidating");
    CHECK(judged(freshness, 14'999) == "stale revalidating");
    CHECK(judged(freshness, 15'000) == "validate: stale");
    CHECK(judged(freshness, 12'000, "max-age=60") == "validate: stale"); // §5.2.1.1: not willing to take stale ones
    CHECK(judged(freshness, 12'000, "min-fresh=0") == "validate: stale");
    CHECK(judged(freshness, 12'000, "no-cache") == "validate: request");
    CHECK(judged(freshness, 12'000, "max-stale") == "stale revalidating");
    freshness.flags = StoredFreshness::kMustRevalidate;
    CHECK(judged(freshness, 12'000) == "validate: stale");
}

TEST_CASE("a softly purged response is stale at once")
{
    StoredFreshness freshness = stored(10);
    CHECK(judged(freshness, 1'000, "", Purged::softly) == "validate: stale");
    freshness.stale_while_revalidate_s = 1;
    CHECK(judged(freshness, 1'000, "", Purged::softly) == "stale revalidating");
    CHECK(judged(freshness, 12'000, "", Purged::softly) == "validate: stale");
}

TEST_CASE("stale instead of an error (RFC 5861 §4, RFC 9111 §4.2.4)")
{
    StoredFreshness freshness = stored(10);
    CHECK_FALSE(serves(freshness, 12'000, ServerFailure::no_answer));
    CHECK(serves(freshness, 12'000, ServerFailure::no_answer, 3));
    CHECK_FALSE(serves(freshness, 13'000, ServerFailure::no_answer, 3));
    CHECK_FALSE(serves(freshness, 12'000, ServerFailure::error_status, 3));
    CHECK(serves(freshness, 12'000, ServerFailure::error_status, 0, "stale-if-error=3"));
    CHECK_FALSE(serves(freshness, 12'000, ServerFailure::no_answer, 3, "no-cache"));
    CHECK(serves(freshness, 12'000, ServerFailure::no_answer, 3, "max-age=0")); // a reload while the server is down
    freshness.stale_if_error_s = 3;
    CHECK(serves(freshness, 12'999, ServerFailure::error_status));
    CHECK(serves(freshness, 12'999, ServerFailure::no_answer));
    CHECK_FALSE(serves(freshness, 13'000, ServerFailure::error_status));
    for (const std::uint16_t flag : {StoredFreshness::kMustRevalidate, StoredFreshness::kAlwaysValidate}) {
        freshness.flags = flag;
        CHECK_FALSE(serves(freshness, 12'000, ServerFailure::no_answer, 60));
        CHECK_FALSE(serves(freshness, 12'000, ServerFailure::error_status, 60, "stale-if-error=60"));
    }
    CHECK((is_server_error(500) && is_server_error(502) && is_server_error(503) && is_server_error(504)));
    CHECK_FALSE((is_server_error(501) || is_server_error(505) || is_server_error(404)));
}

TEST_CASE("an older copy may stay in the place of a newer one only where nothing more may be done with it")
{
    const StoredFreshness newer = [] {
        StoredFreshness freshness = stored(100);
        freshness.born_ms += 60'000;
        freshness.stale_while_revalidate_s = 10;
        freshness.stale_if_error_s = 20;
        return freshness;
    }();
    StoredFreshness older = stored(60);
    CHECK(permits_no_more(older, newer, kBorn + 60'000));
    CHECK_FALSE(permits_no_more(older, newer, kBorn + 59'999)); // still fresh
    older.stale_while_revalidate_s = 110;
    CHECK(permits_no_more(older, newer, kBorn + 60'000));
    older.stale_while_revalidate_s = 111; // until a second after the newer's
    CHECK_FALSE(permits_no_more(older, newer, kBorn + 60'000));
    older.stale_while_revalidate_s = 0;
    older.stale_if_error_s = 1000;
    CHECK_FALSE(permits_no_more(older, newer, kBorn + 60'000));
    older.flags = StoredFreshness::kAlwaysValidate;
    CHECK(permits_no_more(older, newer, kBorn));
    older = stored(60);
    StoredFreshness strict = newer;
    strict.flags = StoredFreshness::kMustRevalidate;
    CHECK_FALSE(permits_no_more(older, strict, kBorn + 60'000));
    older.flags = StoredFreshness::kMustRevalidate;
    CHECK(permits_no_more(older, strict, kBorn + 60'000));
    StoredFreshness shorter = stored(0);
    CHECK_FALSE(permits_no_more(stored(60), shorter, kBorn + 60'000)); // the 304 came with an Age
}
