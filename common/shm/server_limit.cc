// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_limit.h"

#include <algorithm>
#include <cmath>

namespace ladle::shm {

namespace {

constexpr auto kLoose = std::memory_order_relaxed;

constexpr std::uint32_t kFirstLimit = 20;
constexpr double kLeastGradient = 0.5;
constexpr double kSinking = 1.0 / 8;      // of the baseline, towards a window that was quicker
constexpr double kFailureOctaves = 2;     // that a request without an answer counts as slower
constexpr std::uint32_t kHalved = 2;      // in the unit of marks
constexpr std::uint64_t kLeastSamples = 16;
constexpr std::uint64_t kLeastWindow = 100'000'000;
constexpr std::uint64_t kLongestWindow = 10'000'000'000; // that slow answers make of it
constexpr std::uint64_t kForgotten = 60'000'000'000;     // a window that has begun before it: from before a pause
constexpr std::uint64_t kMeasureEvery = 10'000'000'000;
constexpr std::uint64_t kMeasureEveryTimes = 40;         // as long as an answer takes
constexpr double kConfirmed = 0.25;                      // octaves between two measurements that say the same
constexpr std::uint32_t kSooner = 8;                     // of about ten, where they do not
constexpr double kLongestLevel = 36;                     // 69 s

constexpr double kLimitPoint = 1 << 8;
constexpr double kLevelPoint = 1 << 10;
constexpr unsigned kLimitAt = 36;
constexpr unsigned kBaselineAt = 20;
constexpr unsigned kPhaseAt = 18;
constexpr unsigned kStartsAt = 17;
constexpr unsigned kMarkAt = 11;
constexpr std::uint64_t kLevelBitMask = (1u << 16) - 1;
constexpr std::uint64_t kMarkMask = (1u << 6) - 1;
constexpr std::uint64_t kMeasuredMask = (1u << 11) - 1;
constexpr unsigned kMeasuredShift = 30; // of ns

constexpr unsigned kBegunAt = 40;
constexpr unsigned kBegunShift = 20; // of ns
constexpr std::uint64_t kBegunMask = (1u << 24) - 1;
constexpr unsigned kSamplesAt = 28;
constexpr std::uint64_t kMostSamples = (1u << 12) - 1;
constexpr std::uint64_t kSumMask = (1u << 28) - 1;

static_assert(kMostSamples * static_cast<std::uint64_t>(kLongestLevel * kLevelPoint) <= kSumMask);
static_assert(std::uint64_t{kGreatestLimit} * static_cast<std::uint64_t>(kLimitPoint) < 1u << 28);

double in_bounds(double limit, const LimitRules& rules) noexcept
{
    return std::clamp<double>(limit, rules.least, std::max(rules.least, rules.greatest));
}

std::uint32_t mark_of(double limit) noexcept
{
    return static_cast<std::uint32_t>(2 * std::log2(std::max(limit, 1.0)));
}

std::uint64_t pack_limit(const LimitState& state) noexcept
{
    const auto limit = static_cast<std::uint64_t>(std::lround(state.limit * kLimitPoint));
    const auto baseline = static_cast<std::uint64_t>(std::lround(state.baseline * kLevelPoint)) & kLevelBitMask;
    return limit << kLimitAt | baseline << kBaselineAt | static_cast<std::uint64_t>(state.phase) << kPhaseAt |
           std::uint64_t{state.starts} << kStartsAt | (state.mark & kMarkMask) << kMarkAt | (state.measured & kMeasuredMask);
}

LimitState unpack_limit(std::uint64_t word, const LimitRules& rules) noexcept
{
    if (word == 0) {
        LimitState state;
        state.limit = in_bounds(kFirstLimit, rules);
        return state;
    }
    return {in_bounds(static_cast<double>(word >> kLimitAt) / kLimitPoint, rules),
            static_cast<double>(word >> kBaselineAt & kLevelBitMask) / kLevelPoint,
            static_cast<LimitPhase>(word >> kPhaseAt & 3u),
            (word >> kStartsAt & 1u) != 0,
            static_cast<std::uint32_t>(word >> kMarkAt & kMarkMask),
            static_cast<std::uint32_t>(word & kMeasuredMask)};
}

std::uint32_t measuring_tick(std::uint64_t now_ns) noexcept
{
    return static_cast<std::uint32_t>(now_ns >> kMeasuredShift & kMeasuredMask);
}

/// Whether the baseline is to be measured again.
bool is_due(const LimitState& state, double level, std::uint64_t now_ns) noexcept
{
    const std::uint64_t passed = std::uint64_t{(measuring_tick(now_ns) - state.measured) & kMeasuredMask} << kMeasuredShift;
    const auto time = static_cast<std::uint64_t>(time_of_level(level).count());
    return passed >= std::max(kMeasureEvery, kMeasureEveryTimes * time) || mark_of(state.limit) + kHalved <= state.mark;
}

/// Since the window began; of a worker whose clock was read a moment earlier: none.
std::uint64_t window_age(std::uint64_t word, std::uint64_t now_ns) noexcept
{
    const std::uint64_t ticks = ((now_ns >> kBegunShift) - (word >> kBegunAt)) & kBegunMask;
    return ticks > kBegunMask - (1u << 10) ? 0 : ticks << kBegunShift;
}

double mean_of(std::uint64_t word) noexcept
{
    return static_cast<double>(word & kSumMask) / static_cast<double>(word >> kSamplesAt & kMostSamples) / kLevelPoint;
}

bool is_at_end(std::uint64_t word, std::uint64_t now_ns) noexcept
{
    if ((word >> kSamplesAt & kMostSamples) < kLeastSamples) {
        return false;
    }
    const auto time = static_cast<std::uint64_t>(time_of_level(mean_of(word)).count());
    return window_age(word, now_ns) >= std::clamp(2 * time, kLeastWindow, kLongestWindow);
}

/// After a window of which this worker's sample was the last.
LimitChange renew(ServerLimit& limit, double level, const LimitRules& rules, std::uint64_t now_ns) noexcept
{
    std::uint64_t seen = limit.state.load(kLoose);
    const LimitState before = unpack_limit(seen, rules);
    const LimitState after = next_limit(before, {level, limit.most.exchange(0, kLoose)}, rules, now_ns);
    if (!limit.state.compare_exchange_strong(seen, pack_limit(after), kLoose)) {
        return LimitChange::none; // another window has ended since, which knows more
    }
    return before.phase == LimitPhase::measuring ? LimitChange::measured
           : after.limit > before.limit          ? LimitChange::raised
           : after.limit < before.limit          ? LimitChange::lowered
                                                 : LimitChange::none;
}

LimitChange add_level(ServerLimit& limit, double level, const LimitRules& rules, std::uint64_t now_ns) noexcept
{
    const auto part = static_cast<std::uint64_t>(std::clamp(level, 0.0, kLongestLevel) * kLevelPoint);
    std::uint64_t seen = limit.window.load(kLoose);
    for (;;) {
        const std::uint64_t samples = seen >> kSamplesAt & kMostSamples;
        std::uint64_t word = seen;
        if (samples == 0 || window_age(seen, now_ns) > kForgotten) {
            word = (now_ns >> kBegunShift & kBegunMask) << kBegunAt | std::uint64_t{1} << kSamplesAt | part;
        } else if (samples < kMostSamples) {
            word = seen + (std::uint64_t{1} << kSamplesAt) + part;
        }
        const bool ends = is_at_end(word, now_ns);
        if (limit.window.compare_exchange_weak(seen, ends ? 0 : word, kLoose)) {
            return ends ? renew(limit, mean_of(word), rules, now_ns) : LimitChange::none;
        }
    }
}

} // namespace

double level_of(std::chrono::nanoseconds time) noexcept
{
    return std::min(std::log2(static_cast<double>(std::max<std::int64_t>(time.count(), 1))), kLongestLevel);
}

std::chrono::nanoseconds time_of_level(double level) noexcept
{
    return std::chrono::nanoseconds(std::llround(std::exp2(level)));
}

LimitState next_limit(const LimitState& before, const LimitWindow& window, const LimitRules& rules, std::uint64_t now_ns) noexcept
{
    LimitState after = before;
    if (before.phase == LimitPhase::draining) {
        after.phase = LimitPhase::measuring;
        return after;
    }
    if (before.phase == LimitPhase::measuring) {
        after.phase = LimitPhase::steady;
        after.baseline = window.level;
        const bool is_confirmed = before.baseline != 0 && std::abs(window.level - before.baseline) <= kConfirmed;
        after.measured = measuring_tick(now_ns) - (is_confirmed ? 0 : kSooner);
        after.mark = mark_of(after.limit);
        return after;
    }
    if (window.level < before.baseline) {
        after.baseline += (window.level - before.baseline) * kSinking;
    }
    const double tolerated = 1 + rules.tolerance / 100.0;
    const double gradient = std::clamp(tolerated * std::exp2(before.baseline - window.level), kLeastGradient, 1.0);
    after.starts = before.starts && gradient >= 1;
    const double headroom = after.starts ? std::max(before.limit / 2, std::sqrt(before.limit)) : std::sqrt(before.limit);
    const double limit = before.limit * gradient + headroom;
    const bool is_used = 2.0 * window.most >= before.limit;
    after.limit = in_bounds(is_used ? limit : std::min(limit, before.limit), rules);
    after.mark = std::max(before.mark, mark_of(after.limit));
    if (window.level <= before.baseline + std::log2(tolerated) / 2) {
        after.measured = measuring_tick(now_ns); // nobody waits there: this was a measurement as good as any
    } else if (is_due(after, window.level, now_ns)) {
        after.phase = LimitPhase::draining;
    }
    return after;
}

LimitChange add_limit_sample(ServerLimit& limit, std::chrono::nanoseconds time, const LimitRules& rules,
                             std::uint64_t now_ns) noexcept
{
    return add_level(limit, level_of(time), rules, now_ns);
}

LimitChange add_limit_failure(ServerLimit& limit, std::chrono::nanoseconds waited, const LimitRules& rules,
                              std::uint64_t now_ns) noexcept
{
    const double baseline = unpack_limit(limit.state.load(kLoose), rules).baseline;
    // Before the first measurement nobody knows what is long.
    return baseline == 0 ? LimitChange::none
                         : add_level(limit, std::max(level_of(waited), baseline + kFailureOctaves), rules, now_ns);
}

void note_unanswered(ServerLimit& limit, std::uint32_t count) noexcept
{
    if (limit.most.load(kLoose) < count) {
        limit.most.store(count, kLoose); // of two in the same instant the wrong one may win: it is about half of the limit
    }
}

std::uint32_t current_limit(const ServerLimit& limit, const LimitRules& rules) noexcept
{
    const LimitState state = unpack_limit(limit.state.load(kLoose), rules);
    const double part = state.phase == LimitPhase::steady ? 1 : 0.5;
    return std::max(static_cast<std::uint32_t>(state.limit * part), 1u);
}

LimitState read_limit(const ServerLimit& limit, const LimitRules& rules) noexcept
{
    return unpack_limit(limit.state.load(kLoose), rules);
}

void clear_limit(ServerLimit& limit) noexcept
{
    limit.state.store(0, kLoose);
    limit.window.store(0, kLoose);
    limit.most.store(0, kLoose);
}

} // namespace ladle::shm
