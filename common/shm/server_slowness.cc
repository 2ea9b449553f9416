// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_slowness.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace ladle::shm {

namespace {

constexpr unsigned kSquareBits = 20;
constexpr unsigned kSumBits = 11;
constexpr unsigned kTimesBits = 3;
constexpr unsigned kSumAt = kSquareBits;
constexpr unsigned kTimesAt = kSumAt + kSumBits;
constexpr unsigned kStepAt = kTimesAt + kTimesBits;
constexpr std::uint64_t kStepsOfSlice = 4;
constexpr std::uint64_t kStepsOfWindow = kStepsOfSlice * kSlices;
constexpr std::uint64_t kStepMask = (std::uint64_t{1} << (64 - kStepAt)) - 1;
constexpr std::uint64_t kSliceMask = kStepMask / kStepsOfSlice;

constexpr std::uint64_t kTopLevel = 511;
constexpr unsigned kLeastDoubling = 13; // of ns: 8 µs
constexpr double kStandardErrors = 5;
constexpr double kDeviations = 2;
constexpr double kLeastVariance = 1; // levels are whole numbers

static_assert(kStepsOfSlice < 1u << kTimesBits && kMostTimes <= kStepsOfWindow - kStepsOfSlice);
static_assert(kStepsOfSlice * kTopLevel < 1u << kSumBits && kStepsOfSlice * kTopLevel * kTopLevel < 1u << kSquareBits);

constexpr std::uint64_t slowness_level_of(std::chrono::nanoseconds time) noexcept
{
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 1 << kLeastDoubling));
    const unsigned whole = static_cast<unsigned>(std::bit_width(ns)) - 1;
    return std::min<std::uint64_t>((whole - kLeastDoubling) * 16 + (ns >> (whole - 4) & 15), kTopLevel);
}

std::chrono::nanoseconds time_of_slowness_level(double level) noexcept
{
    const double doublings = std::floor(level / 16);
    const double ns = std::ldexp(1 + (level / 16 - doublings), static_cast<int>(doublings) + static_cast<int>(kLeastDoubling));
    return std::chrono::nanoseconds(static_cast<std::int64_t>(ns));
}

struct Sums {
    std::uint64_t step = 0;
    std::uint64_t count = 0;
    std::uint64_t sum = 0;
    std::uint64_t squares = 0;

    std::uint64_t slice() const noexcept { return step / kStepsOfSlice; }
    std::uint64_t packed() const noexcept { return step << kStepAt | count << kTimesAt | sum << kSumAt | squares; }
};

Sums unpack_sums(std::uint64_t word) noexcept
{
    return {word >> kStepAt, word >> kTimesAt & ((1u << kTimesBits) - 1), word >> kSumAt & ((1u << kSumBits) - 1),
            word & ((1u << kSquareBits) - 1)};
}

std::uint64_t length_of_step(std::chrono::nanoseconds within) noexcept
{
    return std::max<std::uint64_t>(static_cast<std::uint64_t>(within.count()) / kStepsOfWindow, 1);
}

/// Steps and slices are counted around.
std::uint64_t step_at(std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept
{
    return now_ns / length_of_step(within) & kStepMask;
}

} // namespace

bool add_time(TimesRing& ring, std::chrono::nanoseconds time, std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept
{
    const std::uint64_t step = step_at(within, now_ns);
    const std::uint64_t level = slowness_level_of(time);
    std::atomic<std::uint64_t>& word = ring.slices[step / kStepsOfSlice % kSlices];
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    for (;;) {
        Sums sums = unpack_sums(seen);
        const std::uint64_t behind = (sums.step - step) & kStepMask;
        if (sums.count != 0 && behind <= kStepsOfWindow) {
            return false; // it has been counted, or is of another worker's clock that was read a moment later
        }
        if (sums.slice() != step / kStepsOfSlice) {
            sums = {}; // a window ago, or whenever: also by another `within`
        }
        sums = {step, sums.count + 1, sums.sum + level, sums.squares + level * level};
        if (word.compare_exchange_weak(seen, sums.packed(), std::memory_order_relaxed)) {
            return true;
        }
    }
}

Times read_times(const TimesRing& ring, std::chrono::nanoseconds within, std::uint64_t now_ns, std::uint64_t from_ns) noexcept
{
    Times times;
    if (from_ns > now_ns) {
        return times;
    }
    const std::uint64_t now = step_at(within, now_ns) / kStepsOfSlice;
    const std::uint64_t oldest = std::min<std::uint64_t>((now_ns - from_ns) / length_of_step(within), kStepsOfWindow);
    for (std::uint32_t at = 0; at < kSlices; ++at) {
        const Sums sums = unpack_sums(ring.slices[at].load(std::memory_order_relaxed));
        const std::uint64_t age = (now - sums.slice()) & kSliceMask;
        const bool is_ahead = age == kSliceMask; // by another worker's clock
        const std::uint64_t begun = is_ahead ? 0 : age * kStepsOfSlice + step_at(within, now_ns) % kStepsOfSlice;
        if (sums.count != 0 && (age < kSlices || is_ahead) && begun <= oldest) {
            times.slices[at] = {static_cast<std::uint32_t>(sums.slice()), static_cast<std::uint32_t>(sums.count),
                                static_cast<std::uint32_t>(sums.sum), static_cast<std::uint32_t>(sums.squares)};
        }
    }
    return times;
}

void forget_times(TimesRing& ring) noexcept
{
    for (std::atomic<std::uint64_t>& slice : ring.slices) {
        slice.store(0, std::memory_order_relaxed);
    }
}

std::chrono::nanoseconds Pooled::typical() const noexcept
{
    return time_of_slowness_level(level);
}

std::chrono::nanoseconds Difference::own() const noexcept
{
    return time_of_slowness_level(level);
}

std::chrono::nanoseconds Difference::others() const noexcept
{
    return time_of_slowness_level(std::max(level - apart, 0.0));
}

Pooled pool(const Times& times) noexcept
{
    double count = 0;
    double sum = 0;
    double squares = 0;
    for (const Times::Slice& slice : times.slices) {
        count += slice.count;
        sum += slice.sum;
        squares += slice.squares;
    }
    if (count == 0) {
        return {};
    }
    const double variance = std::max(squares - sum * sum / count, 0.0) / std::max(count - 1, 1.0);
    return {static_cast<std::uint32_t>(count), sum / count, std::max(variance, kLeastVariance)};
}

Difference compare(const Times& one, const Times& other) noexcept
{
    Times own;
    Times both;
    std::uint32_t others = 0;
    double weights = 0;
    double apart = 0;
    for (std::size_t at = 0; at < kSlices; ++at) {
        const Times::Slice& a = one.slices[at];
        const Times::Slice& b = other.slices[at];
        if (a.count == 0 || b.count == 0 || a.number != b.number) {
            continue;
        }
        own.slices[at] = a;
        both.slices[at] = {a.number, a.count + b.count, a.sum + b.sum, a.squares + b.squares};
        others += b.count;
        const double weight = static_cast<double>(a.count) * b.count / (a.count + b.count); // how much it tells of the difference
        weights += weight;
        apart += weight * (static_cast<double>(a.sum) / a.count - static_cast<double>(b.sum) / b.count);
    }
    if (weights == 0) {
        return {};
    }
    const Pooled mean = pool(own);
    return {std::min(mean.count, others), mean.level, apart / weights, pool(both).variance / weights};
}

bool is_slower(const Difference& difference, std::uint32_t factor) noexcept
{
    return difference.count != 0 && difference.apart > 0 && difference.own() >= difference.others() * factor &&
           difference.apart * difference.apart >= kStandardErrors * kStandardErrors * difference.error;
}

bool is_too_slow(std::chrono::nanoseconds time, const Pooled& others, std::uint32_t factor) noexcept
{
    const double above = static_cast<double>(slowness_level_of(time)) - others.level;
    return time >= others.typical() * factor && above >= kDeviations * std::sqrt(others.variance);
}

std::uint64_t pack(Slowness slowness) noexcept
{
    const auto word_of = [](std::chrono::microseconds time) {
        return static_cast<std::uint64_t>(std::clamp<std::int64_t>(time.count(), 0, UINT32_MAX));
    };
    return word_of(slowness.own) << 32 | word_of(slowness.others);
}

Slowness unpack_slowness(std::uint64_t word) noexcept
{
    return {std::chrono::microseconds(word >> 32), std::chrono::microseconds(word & UINT32_MAX)};
}

std::string describe_slowness(std::uint64_t word)
{
    const auto text_of = [](std::int64_t us) {
        return us < 10'000 ? fmt::format("{:.1f} ms", static_cast<double>(us) / 1000) : fmt::format("{} ms", us / 1000);
    };
    const Slowness slowness = unpack_slowness(word);
    return fmt::format("slow: {} against {}", text_of(slowness.own.count()), text_of(slowness.others.count()));
}

} // namespace ladle::shm
