// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/large.h"

#include "common/http/range.h"
#include "common/shm/cache_requests.h"
#include "worker/cache/background.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"

#include <optional>

namespace ladle::worker {

namespace {

constexpr std::uint64_t kLargeMark = 0x6c61726765206f62;
constexpr unsigned kSecondSight = 2;
constexpr std::uint64_t kLeastTaken = shm::kDiskBlockBytes; ///< players ask for a byte or two, to see whether ranges are to be had

/// Whether the disk takes a body of this length, and the response is worth it.
bool is_for_disk(Request& request, std::uint64_t bytes, const http::StoredFreshness& freshness)
{
    CacheVisit& visit = *request.cache;
    DiskTier* const disk = visit.cache.disk();
    const bool has_use = freshness.has(http::StoredFreshness::kHasValidator) || http::remaining_s(freshness, wall_clock_ms()) > 0;
    return disk != nullptr && disk->folder() && has_use && request.head.method == http::Method::get &&
           bytes <= visit.rules.object_bytes && bytes < disk->index().largest_body(visit.name.hash, true);
}

/// Counts the request; whether it is to be fetched by now.
bool is_seen_enough(const Request& request, const shm::CacheHash& hash)
{
    const CacheVisit& visit = *request.cache;
    const unsigned seen = shm::count_request(visit.cache.store().arena(), hash);
    return seen >= kSecondSight || visit.rules.min_uses >= kSecondSight || !request.live->config->cache.disk.second_sight;
}

/// Whether a fetch that has ended while this request was under way has brought it. It may have begun before this request did; then
/// it counts where this request would not have been made if it had ended earlier.
bool is_stored_by_now(const CacheVisit& visit, const shm::CacheName& name)
{
    shm::CacheStore& store = visit.cache.store();
    const shm::CacheView stored = store.peek(name);
    if (!stored || !stored.is_on_disk()) {
        return false;
    }
    const http::StoredMeta meta = http::StoredMeta::read(stored.meta());
    const bool is_good = store.purges().state(visit.url_of_key, stored.tags(), stored.epoch()) == shm::PurgeState::none;
    return meta.request_ms >= visit.request_ms || (!visit.view && is_good && http::is_fresh(meta.freshness, wall_clock_ms()));
}

void fetch_if_seen(Request& request)
{
    CacheVisit& visit = *request.cache;
    const shm::CacheName name = visit.cache.store().name(visit.key, visit.variant);
    const shm::CacheHash hash = hash_of_large(name.hash);
    const bool is_private = visit.directives.no_store || request.head.fields.has(http::FieldName::authorization);
    if (!is_private && is_seen_enough(request, hash) && !is_stored_by_now(visit, name)) {
        fetch_to_disk_in_background(request, hash);
    }
}

} // namespace

void leave_large(Request& request) noexcept
{
    if (request.reason != Reason::ok || request.body_sent < kLeastTaken) {
        request.cache->want_large_no_more();
    }
}

shm::CacheHash hash_of_large(const shm::CacheHash& hash) noexcept
{
    return {hash.low ^ kLargeMark, hash.high ^ kLargeMark};
}

bool see_large(Request& request, std::uint64_t bytes, const http::StoredFreshness& freshness)
{
    CacheVisit& visit = *request.cache;
    if (freshness.status != 200 || !is_for_disk(request, bytes, freshness)) {
        return false;
    }
    visit.is_large = true;
    visit.detail = "large";
    if (!visit.is_in_background) {
        fetch_if_seen(request);
        return false;
    }
    if (visit.large_claim.outcome != shm::ClaimOutcome::mine && visit.cache.disk()->may_fetch()) { // begun to validate something
        const shm::FillClaim claim = visit.cache.store().fills().claim(hash_of_large(visit.name.hash), loop::clock_now());
        if (claim.outcome == shm::ClaimOutcome::mine) {
            visit.take_large_claim(claim);
            visit.cache.store().fills().want(claim); // the client who was shown the old one has left with that
        }
    }
    return visit.large_claim.outcome == shm::ClaimOutcome::mine;
}

void see_large_unannounced(Request& request, std::uint64_t so_far)
{
    CacheVisit& visit = *request.cache;
    const bool fits_memory = so_far <= visit.cache.store().largest_body(visit.name.hash, false);
    if (!visit.is_in_background && !fits_memory && visit.meta.freshness.status == 200 &&
        is_for_disk(request, so_far, visit.meta.freshness)) {
        visit.is_large = true;
        fetch_if_seen(request);
    }
}

void see_part_of_large(Request& request, const http::StoredFreshness& freshness)
{
    CacheVisit& visit = *request.cache;
    const http::Fields& fields = request.response.fields;
    const auto range = fields.count(http::FieldName::content_range) == 1
                           ? http::parse_content_range(fields.value_of(http::FieldName::content_range))
                           : std::nullopt;
    if (visit.is_in_background || !range || range->is_unsatisfied || !range->length) {
        return;
    }
    const std::uint64_t whole = *range->length;
    const bool fits_memory = whole <= visit.cache.store().largest_body(visit.name.hash, visit.cache.has_files());
    if (fits_memory || !is_for_disk(request, whole, freshness)) {
        return;
    }
    visit.is_large = true;
    if (!visit.is_stored) {
        visit.detail = "large";
    }
    fetch_if_seen(request);
}

} // namespace ladle::worker
