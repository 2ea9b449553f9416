// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_load.h"

#include <algorithm>
#include <cmath>

namespace ladle::shm {

namespace {

constexpr auto kLoadOrder = std::memory_order_relaxed;
constexpr unsigned kLoadTickShift = 20; // of ns
constexpr unsigned kLoadLevelBits = 30;
constexpr std::uint64_t kLoadLevelMask = (std::uint64_t{1} << kLoadLevelBits) - 1;
constexpr std::uint64_t kLoadTickMask = (std::uint64_t{1} << (64 - kLoadLevelBits)) - 1;
constexpr double kLoadPoint = 1 << 24;
constexpr double kLeastDoublings = -31; // 2^-31 … 2^31: what a server may say without being cut
constexpr double kMostDoublings = 31;
constexpr double kLoadOffset = 32;

/// Since the word was written; of a worker whose clock was read a moment earlier: none.
std::uint64_t age_of(std::uint64_t word, std::uint64_t now_ns) noexcept
{
    const std::uint64_t ticks = ((now_ns >> kLoadTickShift) - (word >> kLoadLevelBits)) & kLoadTickMask;
    return ticks > kLoadTickMask - (1u << 16) ? 0 : ticks << kLoadTickShift; // a clock that was read a moment earlier
}

} // namespace

std::optional<double> capacity_of(const LoadWord& load, std::uint32_t penalty_percent) noexcept
{
    if (!(load.rps > 0)) {
        return std::nullopt;
    }
    const double utilization = load.utilization + load.eps / load.rps * penalty_percent / 100;
    const double capacity = load.rps / utilization;
    return utilization > 0 && std::isfinite(capacity) && capacity > 0 ? std::optional(capacity) : std::nullopt;
}

void add_load(ServerHealth& health, double capacity, LoadTimes times, std::uint64_t now_ns) noexcept
{
    const double doublings = std::clamp(std::log2(capacity), kLeastDoublings, kMostDoublings);
    const auto level = static_cast<std::uint64_t>((doublings + kLoadOffset) * kLoadPoint) & kLoadLevelMask;
    const std::uint64_t before = health.load.load(kLoadOrder);
    if (before == 0 || age_of(before, now_ns) > times.expire) {
        health.load_since_ns.store(now_ns, kLoadOrder);
    }
    health.load.store((now_ns >> kLoadTickShift & kLoadTickMask) << kLoadLevelBits | level, kLoadOrder);
}

std::optional<LastLoad> last_load(const ServerHealth& health, std::uint64_t now_ns) noexcept
{
    const std::uint64_t word = health.load.load(kLoadOrder);
    if (word == 0) {
        return std::nullopt;
    }
    return LastLoad{std::exp2(static_cast<double>(word & kLoadLevelMask) / kLoadPoint - kLoadOffset), age_of(word, now_ns)};
}

std::optional<double> read_load(const ServerHealth& health, LoadTimes times, std::uint64_t now_ns) noexcept
{
    const auto last = last_load(health, now_ns);
    if (!last || last->age_ns > times.expire) {
        return std::nullopt;
    }
    // An ejection's end is a coming back, too.
    const std::uint64_t since =
        std::max({health.load_since_ns.load(kLoadOrder), health.back_ns.load(kLoadOrder), health.out_until_ns.load(kLoadOrder)});
    return now_ns < since || now_ns - since < times.blackout ? std::nullopt : std::optional(last->capacity);
}

} // namespace ladle::shm
