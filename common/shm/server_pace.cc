// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_pace.h"

#include <algorithm>
#include <bit>

namespace ladle::shm {

namespace {

constexpr auto kUnordered = std::memory_order_relaxed;

constexpr unsigned kTickShift = 20;  // of ns
constexpr unsigned kLevelBits = 24;
constexpr unsigned kCountBits = 6;
constexpr unsigned kPointBits = 18;
constexpr std::int64_t kDoubling = std::int64_t{1} << kPointBits;
constexpr std::uint64_t kLevelMask = (std::uint64_t{1} << kLevelBits) - 1;
constexpr std::uint64_t kCountMask = (std::uint64_t{1} << kCountBits) - 1;
constexpr unsigned kTickAt = kLevelBits + kCountBits;
constexpr std::uint64_t kTickMask = (std::uint64_t{1} << (64 - kTickAt)) - 1;
constexpr std::uint64_t kLongest = std::uint64_t{1} << 36; // 69 s

constexpr std::int64_t kTicksPer5s = 5'000'000'000 >> kTickShift;
constexpr std::int64_t kMemory = 2 * kTicksPer5s;
constexpr std::int64_t kWhole = 1 << 16;             // 1, of the weights below
constexpr std::uint64_t kLeastAnswers = 8;           // before anything is typical
constexpr std::int64_t kMostOfFailure = kWhole / 8;  // one failure alone makes nobody slow
constexpr std::int64_t kFailureLevels = 6;           // doublings
constexpr std::uint64_t kFailed = 1'000'000'000;      // what failures come to at most, or it would be long until they are forgotten

constexpr std::int64_t to_level(std::uint64_t ns) noexcept
{
    const std::uint64_t time = std::clamp<std::uint64_t>(ns, 1, kLongest);
    const unsigned whole = static_cast<unsigned>(std::bit_width(time)) - 1;
    const std::uint64_t part = whole >= kPointBits ? time >> (whole - kPointBits) : time << (kPointBits - whole);
    return static_cast<std::int64_t>(std::uint64_t{whole} << kPointBits | (part & (kDoubling - 1)));
}

constexpr std::uint64_t to_time(std::int64_t level) noexcept
{
    const auto whole = static_cast<unsigned>(level >> kPointBits);
    const auto part = static_cast<std::uint64_t>(level & (kDoubling - 1)) | kDoubling;
    return whole >= kPointBits ? part << (whole - kPointBits) : part >> (kPointBits - whole);
}

constexpr std::int64_t kMostFailed = to_level(kFailed);
constexpr std::int64_t kBegun = to_level(1'000'000);

static_assert(to_time(to_level(kLongest)) == kLongest && to_level(kLongest) <= static_cast<std::int64_t>(kLevelMask));
static_assert(to_time(to_level(1'000'000)) / 1000 == 999 || to_time(to_level(1'000'000)) == 1'000'000);

/// What a word says at a moment.
struct Reading {
    std::int64_t ticks;  ///< since it was written
    std::uint64_t count; ///< of answers; 0 = nothing is known
    std::int64_t level;
};

/// A level after so many ticks without an answer.
std::int64_t forgive(std::int64_t level, std::int64_t idle) noexcept
{
    const std::int64_t beyond = std::clamp<std::int64_t>(idle - kTicksPer5s, 0, kTicksPer5s * 64);
    return std::max<std::int64_t>(level - beyond * kDoubling / kTicksPer5s, 0);
}

Reading read(std::uint64_t word, std::uint64_t now_ns) noexcept
{
    if (word == 0) {
        return {0, 0, kBegun};
    }
    const std::uint64_t passed = ((now_ns >> kTickShift) - (word >> kTickAt)) & kTickMask;
    // A worker whose clock was read a moment earlier: no time has passed.
    const auto ticks = passed > kTickMask / 2 ? std::int64_t{0} : static_cast<std::int64_t>(passed);
    return {ticks, word >> kLevelBits & kCountMask, static_cast<std::int64_t>(word & kLevelMask)};
}

/// The part that what comes now has in a mean over kMemory.
std::int64_t weight_after(std::int64_t ticks) noexcept
{
    return kWhole * ticks / (ticks + kMemory);
}

/// The same in a mean over the last 64, where that is more.
std::int64_t weight_in_mean(Reading now) noexcept
{
    return std::max(weight_after(now.ticks), kWhole / static_cast<std::int64_t>(now.count + 1));
}

/// `step(reading)` is the new level.
template <typename Step>
void change(std::atomic<std::uint64_t>& word, std::uint64_t now_ns, Step step) noexcept
{
    std::uint64_t seen = word.load(kUnordered);
    for (;;) {
        Reading reading = read(seen, now_ns);
        reading.level = forgive(reading.level, reading.ticks);
        const auto level = static_cast<std::uint64_t>(std::clamp<std::int64_t>(step(reading), 0, to_level(kLongest)));
        const std::uint64_t count = std::min(reading.count + 1, kCountMask);
        // Never backwards, where another worker's clock was read later: what passed between the two would count twice.
        const std::uint64_t tick = reading.ticks == 0 && seen != 0 ? seen >> kTickAt : (now_ns >> kTickShift) & kTickMask;
        const std::uint64_t packed = tick << kTickAt | count << kLevelBits | level;
        if (word.compare_exchange_weak(seen, packed, kUnordered)) {
            return;
        }
    }
}

Pace pace_of(Reading now, std::uint64_t least_count) noexcept
{
    return now.count < least_count ? Pace{} : Pace{now.ticks, now.level};
}

} // namespace

void add_pace(ServerHealth& health, std::chrono::nanoseconds time, std::uint64_t now_ns) noexcept
{
    const std::int64_t sample = to_level(static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 1)));
    change(health.typical, now_ns, [sample](Reading now) {
        return now.level + (sample - now.level) * weight_in_mean(now) / kWhole;
    });
    change(health.peak, now_ns, [sample](Reading now) {
        const bool is_peak = now.count == 0 || sample >= now.level;
        return is_peak ? sample : now.level + (sample - now.level) * weight_after(now.ticks) / kWhole;
    });
}

void add_unanswered_pace(ServerHealth& health, std::chrono::nanoseconds time, std::uint64_t now_ns) noexcept
{
    const std::int64_t sample = to_level(static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 1)));
    if (sample > read(health.typical.load(kUnordered), now_ns).level) {
        add_pace(health, time, now_ns);
    }
}

void add_failed_pace(ServerHealth& health, std::uint64_t now_ns) noexcept
{
    change(health.typical, now_ns, [](Reading now) {
        const std::int64_t step = kFailureLevels * kDoubling * std::min(weight_in_mean(now), kMostOfFailure) / kWhole;
        return std::max(now.level, std::min(now.level + step, kMostFailed));
    });
    change(health.peak, now_ns, [](Reading now) {
        return now.count == 0 ? kMostFailed : std::max(now.level, std::min(now.level + kDoubling, kMostFailed));
    });
}

Pace typical_pace(const ServerHealth& health, std::uint64_t now_ns) noexcept
{
    return pace_of(read(health.typical.load(kUnordered), now_ns), kLeastAnswers);
}

Pace peak_pace(const ServerHealth& health, std::uint64_t now_ns) noexcept
{
    return pace_of(read(health.peak.load(kUnordered), now_ns), 1);
}

bool is_forgiven(const Pace& pace, std::int64_t least_idle) noexcept
{
    return pace.idle - least_idle > kTicksPer5s;
}

std::uint64_t time_of(const Pace& pace, std::int64_t least_idle) noexcept
{
    return pace.is_known() ? std::max<std::uint64_t>(to_time(forgive(pace.level, pace.idle - least_idle)), 1) : 0;
}

} // namespace ladle::shm
