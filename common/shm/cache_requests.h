// SPDX-License-Identifier: Apache-2.0
//
// How often each key was asked for lately, in the cache's arena, over all processes: for `min_uses`, and for what is too large for
// memory (worker/cache/large.h). Approximate, in constant memory
// (a count-min sketch of two rows over one table): a request may be counted for another key too, and all counts are halved now and
// then. No lock: what is lost in a race, or with a process that dies in the middle of a halving, is a request more to be waited for.
//
//   │ counted │ count[65 536], one byte each │
#pragma once

#include "common/shm/cache_arena.h"
#include "common/shm/cache_fills.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ladle::shm {

inline constexpr std::uint32_t kRequestCounters = 1u << 16;
inline constexpr std::uint32_t kRequestsUntilHalved = 8 * kRequestCounters;

struct RequestRegion {
    std::atomic<std::uint32_t> counted; ///< in all, modulo 2^32
    alignas(64) std::atomic<std::uint8_t> counts[kRequestCounters];
};

/// Counts a request for a key, and says which one it is, up to 255.
inline std::uint32_t count_request(CacheArena& arena, const CacheHash& hash) noexcept
{
    RequestRegion& region = *reinterpret_cast<RequestRegion*>(arena.base() + arena.header().requests_offset);
    if ((region.counted.fetch_add(1, std::memory_order_relaxed) + 1) % kRequestsUntilHalved == 0) {
        for (auto& count : region.counts) {
            count.store(count.load(std::memory_order_relaxed) / 2, std::memory_order_relaxed);
        }
    }
    auto& a = region.counts[hash.low % kRequestCounters];
    auto& b = region.counts[hash.high % kRequestCounters];
    const std::uint8_t least = std::min(a.load(std::memory_order_relaxed), b.load(std::memory_order_relaxed));
    const auto count = static_cast<std::uint8_t>(std::min(least + 1, 255));
    for (auto* counter : {&a, &b}) {
        if (counter->load(std::memory_order_relaxed) < count) {
            counter->store(count, std::memory_order_relaxed);
        }
    }
    return count;
}

} // namespace ladle::shm
