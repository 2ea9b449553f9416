// SPDX-License-Identifier: Apache-2.0
#include "common/shm/recent_times.h"

#include <algorithm>
#include <bit>

namespace ladle::shm {

namespace {

constexpr auto kUnsynchronised = std::memory_order_relaxed;
constexpr std::uint64_t kLeastLatency = 100'000; // the end of the first bucket, in ns
constexpr std::uint64_t kAgeEvery = 1'000'000'000;
constexpr std::uint32_t kFading = 16;

std::uint64_t sum_of(const RecentTimes& times) noexcept
{
    std::uint64_t total = 0;
    for (const auto& count : times.counts) {
        total += count.load(kUnsynchronised);
    }
    return total;
}

} // namespace

std::size_t latency_bucket(std::chrono::nanoseconds time) noexcept
{
    const std::uint64_t steps = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 0)) * 4 / kLeastLatency;
    if (steps < 4) {
        return 0;
    }
    const auto doublings = static_cast<unsigned>(std::bit_width(steps)) - 3; // the top three bits are 4 … 7
    return std::min<std::size_t>(doublings * 4 + (steps >> doublings) - 3, kLatencyBuckets - 1);
}

std::chrono::microseconds end_of_bucket(std::size_t bucket) noexcept
{
    const std::uint64_t next = bucket + 4; // in quarters of kLeastLatency
    return std::chrono::microseconds(((next % 4 + 4) << (next / 4 - 1)) * kLeastLatency / 4 / 1000);
}

void clear_times(RecentTimes& times) noexcept
{
    times.aged_ns.store(0, kUnsynchronised);
    for (auto& count : times.counts) {
        count.store(0, kUnsynchronised);
    }
}

void add_time(RecentTimes& times, std::chrono::nanoseconds time) noexcept
{
    times.counts[latency_bucket(time)].fetch_add(kTimeUnit, kUnsynchronised);
}

void age_times(RecentTimes& times, std::uint64_t now_ns) noexcept
{
    std::uint64_t aged = times.aged_ns.load(kUnsynchronised);
    if (now_ns < aged + kAgeEvery || !times.aged_ns.compare_exchange_strong(aged, now_ns, kUnsynchronised) ||
        sum_of(times) <= kKeptTimes * kTimeUnit) {
        return;
    }
    for (auto& count : times.counts) {
        std::uint32_t seen = count.load(kUnsynchronised);
        while (!count.compare_exchange_weak(seen, seen - (seen + kFading - 1) / kFading, kUnsynchronised)) {
        }
    }
}

std::chrono::microseconds time_within(const RecentTimes& times, unsigned percent) noexcept
{
    const std::uint64_t total = sum_of(times);
    if (total < kLeastTimes * kTimeUnit) {
        return {};
    }
    std::uint64_t left = (total * percent + 99) / 100;
    for (std::size_t bucket = 0; bucket < kLatencyBuckets; ++bucket) {
        const std::uint64_t count = times.counts[bucket].load(kUnsynchronised);
        if (count >= left) {
            return end_of_bucket(bucket);
        }
        left -= count;
    }
    return end_of_bucket(kLatencyBuckets - 1);
}

std::chrono::milliseconds time_to_hedge(const RecentTimes& times, unsigned percent, std::chrono::milliseconds soonest) noexcept
{
    const std::chrono::microseconds within = time_within(times, percent);
    return within.count() == 0 ? std::chrono::milliseconds(0)
                               : std::max(std::chrono::ceil<std::chrono::milliseconds>(within), soonest);
}

} // namespace ladle::shm
