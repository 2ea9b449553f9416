// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_slowness.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace ladle::shm {

namespace {

constexpr unsigned kSquareBits = 25;
constexpr unsigned kSumBits = 16;
constexpr unsigned kTimesBits = 7;
constexpr unsigned kSumAt = kSquareBits;
constexpr unsigned kTimesAt = kSumAt + kSumBits;
constexpr unsigned kStepAt = kTimesAt + kTimesBits;
constexpr std::uint64_t kStepsOfWindow = 64;
constexpr std::uint64_t kStepMask = (std::uint64_t{1} << (64 - kStepAt)) - 1;

constexpr std::uint64_t kTopLevel = 511;
constexpr unsigned kLeastDoubling = 13; // of ns: 8 µs
constexpr double kStandardErrors = 5;

constexpr std::uint64_t kMostCounted = kStepsOfWindow + (kStepsOfWindow * 2 - 1) / 2;
static_assert(kMostCounted < 1u << kTimesBits && kMostTimes <= kStepsOfWindow);
static_assert(kMostCounted * kTopLevel < 1u << kSumBits && kMostCounted * kTopLevel * kTopLevel < 1u << kSquareBits);

constexpr std::uint64_t slowness_level_of(std::chrono::nanoseconds time) noexcept
{
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 1 << kLeastDoubling));
    const unsigned whole = static_cast<unsigned>(std::bit_width(ns)) - 1;
    return std::min<std::uint64_t>((whole - kLeastDoubling) * 16 + (ns >> (whole - 4) & 15), kTopLevel);
}

struct Sums {
    std::uint64_t step = 0;
    std::uint64_t count = 0;
    std::uint64_t sum = 0;
    std::uint64_t squares = 0;

    std::uint64_t window() const noexcept { return step / kStepsOfWindow; }
    std::uint64_t packed() const noexcept { return step << kStepAt | count << kTimesAt | sum << kSumAt | squares; }
};

Sums unpack_sums(std::uint64_t word) noexcept
{
    return {word >> kStepAt, word >> kTimesAt & ((1u << kTimesBits) - 1), word >> kSumAt & ((1u << kSumBits) - 1),
            word & ((1u << kSquareBits) - 1)};
}

std::uint64_t step_at(std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept
{
    const std::uint64_t length = std::max<std::uint64_t>(static_cast<std::uint64_t>(within.count()) / kStepsOfWindow, 1);
    return now_ns / length & kStepMask;
}

/// Windows that have begun since; they are counted around.
std::uint64_t windows_since(const Sums& then, std::uint64_t step) noexcept
{
    return (step / kStepsOfWindow - then.window()) & (kStepMask / kStepsOfWindow);
}

Times times_of(const Sums& sums) noexcept
{
    const auto count = static_cast<double>(sums.count);
    const auto sum = static_cast<double>(sums.sum);
    const double spread = std::max(static_cast<double>(sums.squares) - sum * sum / count, 0.0) / std::max(count - 1, 1.0);
    return {static_cast<std::uint32_t>(sums.count), sum / count, spread / count};
}

} // namespace

std::chrono::nanoseconds Times::typical() const noexcept
{
    const double doublings = std::floor(level / 16);
    const double ns = std::ldexp(1 + (level / 16 - doublings), static_cast<int>(doublings) + static_cast<int>(kLeastDoubling));
    return std::chrono::nanoseconds(static_cast<std::int64_t>(ns));
}

std::optional<Times> add_time(std::atomic<std::uint64_t>& word, std::chrono::nanoseconds time, std::chrono::nanoseconds within,
                              std::uint64_t now_ns) noexcept
{
    const std::uint64_t step = step_at(within, now_ns);
    const std::uint64_t level = slowness_level_of(time);
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    for (;;) {
        Sums sums = unpack_sums(seen);
        const std::uint64_t ahead = (step - sums.step) & kStepMask;
        if (sums.count != 0 && (ahead == 0 || ahead > kStepMask / 2)) {
            return std::nullopt; // the half behind is another worker's clock that was read a moment later
        }
        const std::uint64_t passed = windows_since(sums, step);
        if (passed > 1) {
            sums.count = 0;
        }
        if (passed != 0) {
            const std::uint64_t half = sums.count / 2; // and sums of as many
            sums.sum = half != 0 ? sums.sum * half / sums.count : 0;
            sums.squares = half != 0 ? sums.squares * half / sums.count : 0;
            sums.count = half;
        }
        sums = {step, sums.count + 1, sums.sum + level, sums.squares + level * level};
        if (word.compare_exchange_weak(seen, sums.packed(), std::memory_order_relaxed)) {
            return times_of(sums);
        }
    }
}

Times read_times(const std::atomic<std::uint64_t>& word, std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept
{
    const Sums sums = unpack_sums(word.load(std::memory_order_relaxed));
    const std::uint64_t step = step_at(within, now_ns);
    const std::uint64_t passed = windows_since(sums, step);
    const bool is_ahead = ((sums.step - step) & kStepMask) <= kStepsOfWindow; // by another worker's clock
    return sums.count != 0 && (passed <= 1 || is_ahead) ? times_of(sums) : Times{};
}

bool is_slower(const Times& one, const Times& other, std::uint32_t factor) noexcept
{
    const double apart = one.level - other.level;
    return one.count != 0 && other.count != 0 && one.typical() >= other.typical() * factor &&
           apart * apart >= kStandardErrors * kStandardErrors * (one.error + other.error);
}

std::uint64_t pack(Slowness slowness) noexcept
{
    const auto word_of = [](std::chrono::microseconds time) {
        return static_cast<std::uint64_t>(std::clamp<std::int64_t>(time.count(), 0, UINT32_MAX));
    };
    return word_of(slowness.own) << 32 | word_of(slowness.others);
}

std::string describe_slowness(std::uint64_t word)
{
    const auto text_of = [](std::uint64_t us) {
        return us < 10'000 ? fmt::format("{:.1f} ms", static_cast<double>(us) / 1000) : fmt::format("{} ms", us / 1000);
    };
    return fmt::format("slow: {} against {}", text_of(word >> 32), text_of(word & UINT32_MAX));
}

} // namespace ladle::shm
