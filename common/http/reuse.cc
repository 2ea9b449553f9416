// SPDX-License-Identifier: Apache-2.0
//
// The hit path of freshness.h: numbers only.
#include "common/http/freshness.h"

#include <algorithm>

namespace ladle::http {

namespace {

using StoredFlag = StoredFreshness::Flag;

constexpr std::int64_t kClockStepMs = 2'000; ///< backwards, that a clock may take to be corrected (a leap second is one)

std::int64_t lifetime_ms(const StoredFreshness& stored) noexcept
{
    return std::int64_t{stored.lifetime_s} * 1000;
}

/// How long it has been stale, not negative: a softly purged one may not have been stale by its age.
std::int64_t staleness_ms(const StoredFreshness& stored, std::int64_t age_ms) noexcept
{
    return std::max(age_ms - lifetime_ms(stored), std::int64_t{0});
}

bool may_use_stale(const StoredFreshness& stored) noexcept
{
    return !stored.has(StoredFlag::kMustRevalidate) && !stored.has(StoredFlag::kAlwaysValidate);
}

/// RFC 9111 §5.2.1.1: too old for this client. max-age=0 demands a validation even in the first millisecond.
bool is_too_old(const RequestDirectives& request, std::int64_t age_ms) noexcept
{
    const std::int64_t most_s = request.max_age.value_or(0);
    return request.max_age.is_given() && (most_s == 0 || age_ms > most_s * 1000);
}

Judgement judge_stale(const StoredFreshness& stored, const RequestDirectives& request, std::int64_t age_ms) noexcept
{
    constexpr Judgement kAsk{Reuse::validate, ValidateReason::stale};
    if (!may_use_stale(stored) || request.min_fresh.is_given()) {
        return kAsk;
    }
    const std::int64_t stale_ms = staleness_ms(stored, age_ms);
    const bool client_allows =
        request.any_stale || (request.max_stale.is_valid() && stale_ms <= request.max_stale.value_or(0) * 1000);
    if (request.max_age.is_given() && (!client_allows || is_too_old(request, age_ms))) {
        return kAsk; // §5.2.1.1: with max-age, nothing stale unless max-stale is there too
    }
    if (stale_ms < std::int64_t{stored.stale_while_revalidate_s} * 1000) {
        return {Reuse::stale_revalidating, ValidateReason::stale};
    }
    return client_allows ? Judgement{Reuse::stale_allowed, ValidateReason::stale} : kAsk;
}

} // namespace

std::int64_t age_at(const StoredFreshness& stored, std::int64_t now_ms) noexcept
{
    const std::int64_t age_ms = now_ms - stored.born_ms;
    if (age_ms < -kClockStepMs) {
        return Seconds::kMost * 1000; // the clock was set back: nobody knows how old it is
    }
    return std::max(age_ms, std::int64_t{0});
}

std::uint32_t age_field(const StoredFreshness& stored, std::int64_t now_ms) noexcept
{
    return static_cast<std::uint32_t>(std::min(age_at(stored, now_ms) / 1000, Seconds::kMost));
}

bool is_fresh(const StoredFreshness& stored, std::int64_t now_ms) noexcept
{
    return lifetime_ms(stored) > age_at(stored, now_ms);
}

std::int64_t remaining_s(const StoredFreshness& stored, std::int64_t now_ms) noexcept
{
    const std::int64_t left_ms = lifetime_ms(stored) - age_at(stored, now_ms);
    return left_ms >= 0 ? left_ms / 1000 : (left_ms - 999) / 1000;
}

bool ends_no_later(const StoredFreshness& older, const StoredFreshness& newer) noexcept
{
    const auto ends_earlier = [&](std::uint32_t older_s, std::uint32_t newer_s) {
        return older.born_ms + lifetime_ms(older) + std::int64_t{older_s} * 1000 <=
               newer.born_ms + lifetime_ms(newer) + std::int64_t{newer_s} * 1000;
    };
    const bool is_as_strict = may_use_stale(newer) || !may_use_stale(older);
    return is_as_strict && ends_earlier(0, 0) && ends_earlier(older.stale_while_revalidate_s, newer.stale_while_revalidate_s) &&
           ends_earlier(older.stale_if_error_s, newer.stale_if_error_s);
}

bool permits_no_more(const StoredFreshness& older, const StoredFreshness& newer, std::int64_t now_ms) noexcept
{
    return older.has(StoredFlag::kAlwaysValidate) || (!is_fresh(older, now_ms) && ends_no_later(older, newer));
}

Judgement judge(const StoredFreshness& stored, const RequestDirectives& request, std::int64_t now_ms, Purged purged) noexcept
{
    if (stored.has(StoredFlag::kAlwaysValidate)) {
        return {Reuse::validate, ValidateReason::no_cache};
    }
    if (request.no_cache) {
        return {Reuse::validate, ValidateReason::request};
    }
    const std::int64_t age_ms = age_at(stored, now_ms);
    if (purged == Purged::softly || lifetime_ms(stored) <= age_ms) {
        return judge_stale(stored, request, age_ms);
    }
    const bool is_declined = is_too_old(request, age_ms) && !stored.has(StoredFlag::kImmutable);
    if (is_declined || lifetime_ms(stored) - age_ms < request.min_fresh.value_or(0) * 1000) {
        return {Reuse::validate, ValidateReason::request};
    }
    return {Reuse::fresh, ValidateReason::none};
}

bool may_serve_on_error(const StoredFreshness& stored, const RequestDirectives& request, std::int64_t now_ms, ServerFailure failure,
                        std::uint32_t disconnected_s) noexcept
{
    if (!may_use_stale(stored) || request.no_cache) {
        return false;
    }
    std::int64_t most_s = std::max(std::int64_t{stored.stale_if_error_s}, request.stale_if_error.value_or(0));
    if (failure == ServerFailure::no_answer) {
        most_s = std::max(most_s, std::int64_t{disconnected_s});
    }
    return staleness_ms(stored, age_at(stored, now_ms)) < most_s * 1000;
}

} // namespace ladle::http
