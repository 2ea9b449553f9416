// SPDX-License-Identifier: Apache-2.0
//
// RecentTimes: how long the servers of an upstream took to answer lately, as all workers have met it; part of its first server's
// entry. A histogram that forgets: once a second each bucket loses a sixteenth, while it holds more than kKeptTimes answers in all.
// So a busy upstream is judged by some 16 seconds, a quiet one by its last answers however old those are.
//
//   │ aged_ns │ counts[80], in kTimeUnit for an answer │
//
// Any worker adds; who moves `aged_ns` on by compare-and-swap takes the sixteenth off. If it dies in the middle, some buckets keep
// theirs for a second more.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ladle::shm {

inline constexpr std::size_t kLatencyBuckets = 80;

/// Where an answer that took so long is counted: four buckets for each doubling, from 100 µs on; the last one begins at 79 s.
std::size_t latency_bucket(std::chrono::nanoseconds time) noexcept;
/// The end of a bucket: nothing in it took longer (but for the last one).
std::chrono::microseconds end_of_bucket(std::size_t bucket) noexcept;

struct alignas(64) RecentTimes {
    std::atomic<std::uint64_t> aged_ns;
    std::atomic<std::uint32_t> counts[kLatencyBuckets];
};

inline constexpr std::uint32_t kTimeUnit = 16;   ///< so that one answer fades in steps
inline constexpr std::uint64_t kKeptTimes = 256;  ///< answers that do not fade
inline constexpr std::uint64_t kLeastTimes = 100; ///< answers before anything can be said

void clear_times(RecentTimes& times) noexcept;
void add_time(RecentTimes& times, std::chrono::nanoseconds time) noexcept;
/// To be called every second or so, by all workers.
void age_times(RecentTimes& times, std::uint64_t now_ns) noexcept;
/// The time within which `percent` of the answers came, rounded up by a fifth at the most; 0 = there were too few.
std::chrono::microseconds time_within(const RecentTimes& times, unsigned percent) noexcept;

/// After how long a request is hedged at that quantile, and never before `soonest`; 0 = not yet.
std::chrono::milliseconds time_to_hedge(const RecentTimes& times, unsigned percent, std::chrono::milliseconds soonest) noexcept;

} // namespace ladle::shm
