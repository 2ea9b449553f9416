// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/visit.h"

#include "common/config/config.h"
#include "common/shm/purge_log.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/fill.h"

#include <time.h>

namespace ladle::worker {

std::int64_t wall_clock_ms() noexcept
{
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void ForgottenOnDisk::purge(shm::PurgeTable& purges, const std::string& key)
{
    if (purges.purge_url(key, shm::PurgeKind::hard)) {
        lines += shm::to_line({purges.epoch(), shm::PurgeSubject::url, shm::PurgeKind::hard, key});
    }
}

CacheVisit::~CacheVisit()
{
    if (fill != nullptr) {
        fill->forsake();
    }
    end_claim(shm::FillEnd::over);
    end_large_claim(shm::FillEnd::over);
}

void CacheVisit::end_claim(shm::FillEnd end, std::uint64_t until_ns) noexcept
{
    if (claim.outcome == shm::ClaimOutcome::mine) {
        cache.ring(cache.store().fills().finish(claim, end, until_ns));
        claim = {};
    }
}

void CacheVisit::take_large_claim(const shm::FillClaim& taken) noexcept
{
    large_claim = taken;
    cache.disk()->count_fetch(1);
}

void CacheVisit::want_large(const shm::FillClaim& fetch) noexcept
{
    want_large_no_more();
    cache.store().fills().want(fetch);
    wanted_large = fetch;
}

void CacheVisit::want_large_no_more() noexcept
{
    if (wanted_large.outcome != shm::ClaimOutcome::alone) {
        cache.store().fills().want_no_more(wanted_large);
        wanted_large = {};
    }
}

void CacheVisit::end_large_claim(shm::FillEnd end, std::uint64_t until_ns) noexcept
{
    if (large_claim.outcome == shm::ClaimOutcome::mine) {
        cache.disk()->count_fetch(-1);
        cache.ring(cache.store().fills().finish(large_claim, end, until_ns));
        large_claim = {};
    }
}

void CacheVisit::append_status_line(std::string& out) const
{
    if (!rules.shows_status) {
        return;
    }
    http::CacheStatus status;
    status.forwarded = forwarded;
    if (server_status != 0) {
        status.server_status = server_status;
    }
    if (view) {
        status.ttl_s = http::remaining_s(meta.freshness, wall_clock_ms());
    }
    status.is_stored = is_stored;
    status.is_collapsed = is_collapsed;
    status.detail = detail;
    out += "Cache-Status: ";
    http::append_cache_status(status, "ladle", out);
    out += "\r\n";
}

} // namespace ladle::worker
