// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_limit.h"

#include <algorithm>
#include <cmath>

namespace ladle::shm {

namespace {

constexpr auto kLoose = std::memory_order_relaxed;

constexpr std::uint32_t kFirstLimit = 20;
constexpr double kLeastGradient = 0.5;
constexpr double kMostHeadroom = 1.0 / 3; // of the limit: it sinks, whatever it is, where the gradient is the least
constexpr double kSinking = 1.0 / 8;      // of the baseline, towards a window that was quicker
constexpr double kFailureOctaves = 2;     // that a request without an answer counts as slower
constexpr std::uint64_t kLeastSamples = 16;
constexpr std::uint64_t kLeastWindow = 100'000'000;
constexpr std::uint64_t kForgotten = 60'000'000'000;     // a window that has begun before it: from before a pause
constexpr std::uint64_t kForgottenTimes = 32;            // as long as an answer takes, where that is longer
constexpr std::uint64_t kFailingPart = 8;                // more than one of so many, and nothing is measured
constexpr std::uint64_t kTick = 2'500'000'000;           // of the wall clock
constexpr std::uint64_t kMeasureEvery = 4;               // ticks; where one differed from the one before, the next comes at any
constexpr std::uint64_t kMeasureEveryTimes = 40;         // as long as an answer takes
constexpr std::uint64_t kMeasureParts = 40;              // of that, that each of both phases takes
constexpr std::uint64_t kFewSamples = 8;                 // of a measurement, which counts half then
constexpr std::uint64_t kLongestParts = 24;              // that both phases take where there are fewer
constexpr std::uint64_t kLeastMeasured = 3;              // samples; with fewer it is void
constexpr double kConfirmed = 0.25;                      // octaves that a window may be quicker, and says the same
constexpr double kLongestLevel = 38;                     // 275 s

constexpr double kLimitPoint = 1 << 8;
constexpr double kLevelPoint = 1 << 10;
constexpr unsigned kLimitAt = 36;
constexpr unsigned kBaselineAt = 20;
constexpr unsigned kPhaseAt = 18;
constexpr unsigned kStartsAt = 17;
constexpr unsigned kFirstAt = 16;
constexpr std::uint64_t kLevelBitMask = (1u << 16) - 1;
constexpr unsigned kSlowerAt = 12;
constexpr std::uint64_t kSlowerMask = (1u << 4) - 1;
constexpr double kHeldPoint = 1 << 12;
constexpr std::uint64_t kHeldMask = (1u << 12) - 1;

constexpr unsigned kBegunAt = 40;
constexpr unsigned kBegunShift = 20; // of ns
constexpr std::uint64_t kBegunMask = (1u << 24) - 1;
constexpr unsigned kSamplesAt = 28;
constexpr std::uint64_t kMostSamples = (1u << 12) - 1;
constexpr std::uint64_t kSumMask = (1u << 28) - 1;

static_assert(kForgottenTimes * (std::uint64_t{1} << static_cast<unsigned>(kLongestLevel)) < kBegunMask << kBegunShift);
static_assert(kMostSamples * static_cast<std::uint64_t>(kLongestLevel * kLevelPoint) <= kSumMask);
static_assert(std::uint64_t{kGreatestLimit} * static_cast<std::uint64_t>(kLimitPoint) < 1u << 28);

double in_bounds(double limit, const LimitRules& rules) noexcept
{
    return std::clamp<double>(limit, rules.least, std::max(rules.least, rules.greatest));
}

std::uint64_t pack_limit(const LimitState& state) noexcept
{
    const auto limit = static_cast<std::uint64_t>(std::lround(state.limit * kLimitPoint));
    const auto baseline = static_cast<std::uint64_t>(std::lround(state.baseline * kLevelPoint)) & kLevelBitMask;
    const auto held = static_cast<std::uint64_t>(std::lround(state.held * kHeldPoint)) & kHeldMask;
    return limit << kLimitAt | baseline << kBaselineAt | static_cast<std::uint64_t>(state.phase) << kPhaseAt |
           std::uint64_t{state.starts} << kStartsAt | std::uint64_t{state.is_first} << kFirstAt |
           (state.slower & kSlowerMask) << kSlowerAt | held;
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
            (word >> kFirstAt & 1u) != 0,
            static_cast<double>(word & kHeldMask) / kHeldPoint,
            static_cast<std::uint32_t>(word >> kSlowerAt & kSlowerMask)};
}

/// The moments to measure of longer times are some of those of shorter ones: who has another opinion of how long answers take has
/// some of them, or more, but no others.
std::uint32_t slower_of(double level) noexcept
{
    const auto time = static_cast<std::uint64_t>(time_of_level(level).count());
    std::uint32_t slower = 0;
    while (kMeasureEvery * kTick << slower < kMeasureEveryTimes * time) {
        ++slower;
    }
    return slower;
}

/// Whether a moment to measure has come since a window began, whose age is told in steps.
bool has_come(std::uint64_t every, std::uint64_t age, std::uint64_t wall_ns) noexcept
{
    return age > wall_ns % every + (1u << kBegunShift) && wall_ns >= every;
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

/// From before a pause.
bool is_forgotten(std::uint64_t word, std::uint64_t now_ns) noexcept
{
    const std::uint64_t age = window_age(word, now_ns);
    return age > kForgotten && age > kForgottenTimes * static_cast<std::uint64_t>(time_of_level(mean_of(word)).count());
}

/// Both phases should be over for long.
bool is_overdue(const LimitState& state, std::uint64_t wall_ns) noexcept
{
    const std::uint64_t tick = kTick << state.slower;
    return wall_ns % tick >= tick * kMeasureEvery / kMeasureParts * kLongestParts / 4;
}

/// Moments to measure, in ticks: the next one, where the last measurement differed.
std::uint64_t measured_every(LimitPhase phase) noexcept
{
    return phase == LimitPhase::unsure ? kTick : kMeasureEvery * kTick;
}

/// `failures` are counted beside the window.
bool is_at_end(std::uint64_t word, std::uint64_t failures, const LimitState& state, LimitClock clock) noexcept
{
    const std::uint64_t samples = (word >> kSamplesAt & kMostSamples) + failures;
    if (!is_steady(state.phase) && state.baseline != 0) {
        const bool drains = state.phase == LimitPhase::draining;
        const std::uint64_t tick = kTick << state.slower;
        const std::uint64_t until = tick * kMeasureEvery / kMeasureParts * (drains ? 1 : 2);
        return clock.wall_ns % tick >= until && (drains || samples >= kFewSamples || is_overdue(state, clock.wall_ns));
    }
    // The logarithms of most samples need not be undone.
    const std::uint64_t age = window_age(word, clock.now_ns);
    const std::uint64_t every = measured_every(state.phase);
    const bool may_be_due = state.baseline != 0 && has_come(every, age, clock.wall_ns);
    if (may_be_due && has_come(every << slower_of(mean_of(word)), age, clock.wall_ns)) {
        return true;
    }
    return samples >= kLeastSamples && age >= kLeastWindow &&
           age >= 2 * static_cast<std::uint64_t>(time_of_level(mean_of(word)).count());
}

LimitWindow close_window(ServerLimit& limit, std::uint64_t word, const LimitState& state, std::uint64_t now_ns) noexcept
{
    const std::uint32_t failures = limit.failures.exchange(0, kLoose);
    const std::uint32_t most = limit.most.exchange(0, kLoose);
    const std::uint64_t samples = word >> kSamplesAt & kMostSamples;
    if (is_steady(state.phase) || samples + failures < kFewSamples || failures * kFailingPart <= samples + failures) {
        return {samples == 0 ? 0 : mean_of(word), most, samples, window_age(word, now_ns)};
    }
    const double all = static_cast<double>(samples + failures);
    const double slower = static_cast<double>(failures) * (state.baseline + kFailureOctaves);
    const double level = (samples == 0 ? 0 : mean_of(word) * static_cast<double>(samples)) + slower;
    return {level / all, most, samples + failures, 0, true};
}

/// After a window of which this worker's sample was the last.
LimitChange renew(ServerLimit& limit, std::uint64_t word, const LimitRules& rules, LimitClock clock) noexcept
{
    std::uint64_t seen = limit.state.load(kLoose);
    const LimitState before = unpack_limit(seen, rules);
    const LimitWindow window = close_window(limit, word, before, clock.now_ns);
    if (window.samples == 0) {
        return LimitChange::none; // failures that another worker has taken into its window
    }
    const LimitState after = next_limit(before, window, rules, clock.wall_ns);
    if (!limit.state.compare_exchange_strong(seen, pack_limit(after), kLoose)) {
        return LimitChange::none; // another window has ended since, which knows more
    }
    if (before.phase == LimitPhase::measuring && after.limit == before.limit) {
        return LimitChange::measured;
    }
    return after.limit > before.limit   ? LimitChange::raised
           : after.limit < before.limit ? LimitChange::lowered
                                        : LimitChange::none;
}

/// One of the phases to measure that was left behind by a pause is over.
void end_measurement(ServerLimit& limit, const LimitRules& rules) noexcept
{
    std::uint64_t seen = limit.state.load(kLoose);
    LimitState state = unpack_limit(seen, rules);
    limit.failures.store(0, kLoose);
    if (!is_steady(state.phase) && state.baseline != 0) {
        state.phase = LimitPhase::steady;
        limit.state.compare_exchange_strong(seen, pack_limit(state), kLoose);
    }
}

LimitChange add_level(ServerLimit& limit, double level, const LimitRules& rules, LimitClock clock) noexcept
{
    const auto part = static_cast<std::uint64_t>(std::clamp(level, 0.0, kLongestLevel) * kLevelPoint);
    std::uint64_t seen = limit.window.load(kLoose);
    for (;;) {
        const std::uint64_t samples = seen >> kSamplesAt & kMostSamples;
        const bool is_old = samples != 0 && is_forgotten(seen, clock.now_ns);
        std::uint64_t word = seen;
        if (samples == 0 || is_old) {
            word = (clock.now_ns >> kBegunShift & kBegunMask) << kBegunAt | std::uint64_t{1} << kSamplesAt | part;
        } else if (samples < kMostSamples) {
            word = seen + (std::uint64_t{1} << kSamplesAt) + part;
        }
        const LimitState state = unpack_limit(limit.state.load(kLoose), rules);
        const bool ends = is_at_end(word, limit.failures.load(kLoose), state, clock);
        if (limit.window.compare_exchange_weak(seen, ends ? 0 : word, kLoose)) {
            if (is_old) {
                end_measurement(limit, rules);
            }
            return ends ? renew(limit, word, rules, clock) : LimitChange::none;
        }
    }
}

/// One that failed while the baseline is measured.
LimitChange add_failure_beside(ServerLimit& limit, const LimitRules& rules, LimitClock clock) noexcept
{
    const std::uint64_t failures = limit.failures.fetch_add(1, kLoose) + 1;
    std::uint64_t word = limit.window.load(kLoose);
    const LimitState state = unpack_limit(limit.state.load(kLoose), rules);
    const std::uint64_t enough = is_overdue(state, clock.wall_ns) ? kFewSamples : kLeastSamples;
    const bool ends = failures >= enough && !is_steady(state.phase) && is_at_end(word, failures, state, clock);
    return ends && limit.window.compare_exchange_strong(word, 0, kLoose) ? renew(limit, word, rules, clock) : LimitChange::none;
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

namespace {

/// What the limit is to be after a window.
void step_limit(LimitState& state, const LimitWindow& window, const LimitRules& rules) noexcept
{
    const double tolerated = 1 + rules.tolerance / 100.0;
    const double gradient = std::clamp(tolerated * std::exp2(state.baseline - window.level), kLeastGradient, 1.0);
    state.starts = state.starts && gradient >= 1;
    const double root = std::min(std::sqrt(state.limit), kMostHeadroom * state.limit);
    const double limit = state.limit * gradient + (state.starts ? state.limit / 2 : root);
    const bool is_used = 2.0 * window.most >= state.limit;
    state.limit = in_bounds(is_used ? limit : std::min(limit, state.limit), rules);
}

} // namespace

LimitState next_limit(const LimitState& before, const LimitWindow& window, const LimitRules& rules, std::uint64_t wall_ns) noexcept
{
    LimitState after = before;
    if (!is_steady(before.phase) && !window.is_failing) {
        const bool is_void = before.baseline != 0 && is_overdue(before, wall_ns) && window.samples < kLeastMeasured;
        if (is_void || before.phase == LimitPhase::draining) {
            after.phase = is_void ? LimitPhase::steady : LimitPhase::measuring;
            return after;
        }
        const bool differs = std::abs(window.level - before.baseline) > kConfirmed;
        after.phase = differs ? LimitPhase::unsure : LimitPhase::steady;
        after.is_first = before.baseline == 0;
        const double part = std::min(1.0, static_cast<double>(window.samples) / kLeastSamples);
        after.baseline = after.is_first ? window.level : before.baseline + (window.level - before.baseline) * part;
        return after;
    }
    if (window.samples >= kFewSamples) {
        step_limit(after, window, rules);
        if (is_steady(before.phase) && window.level < before.baseline) {
            after.baseline += (window.level - before.baseline) * kSinking;
        }
    }
    if (!is_steady(before.phase)) {
        after.phase = LimitPhase::steady;
        return after;
    }
    const bool is_near = window.level >= before.baseline - kConfirmed &&
                         window.level <= before.baseline + std::log2(1 + rules.tolerance / 100.0) / 2;
    const std::uint32_t slower = slower_of(window.level);
    const std::uint64_t every = measured_every(before.phase) << slower;
    const bool may_find = window.samples >= kFewSamples && (window.most > rules.least || 2.0 * window.most >= before.limit);
    if (is_near && !before.is_first) {
        after.phase = LimitPhase::steady; // nobody waits there: this was a measurement as good as any
    } else if (may_find && has_come(every, window.lasted_ns, wall_ns)) {
        after.phase = LimitPhase::draining;
        after.slower = slower;
        const double used = window.most == 0 ? after.limit : std::min<double>(after.limit, std::max(window.most, rules.least));
        after.held = used / after.limit / 2;
    }
    return after;
}

LimitChange add_limit_sample(ServerLimit& limit, std::chrono::nanoseconds time, const LimitRules& rules, LimitClock clock) noexcept
{
    return add_level(limit, level_of(time), rules, clock);
}

LimitChange add_limit_failure(ServerLimit& limit, const LimitRules& rules, LimitClock clock) noexcept
{
    const LimitState state = unpack_limit(limit.state.load(kLoose), rules);
    if (state.baseline == 0) {
        return LimitChange::none; // before the first measurement nobody knows what is long
    }
    return is_steady(state.phase) ? add_level(limit, state.baseline + kFailureOctaves, rules, clock)
                                  : add_failure_beside(limit, rules, clock);
}

LimitChange add_limit_abandoned(ServerLimit& limit, std::chrono::nanoseconds time, const LimitRules& rules,
                                LimitClock clock) noexcept
{
    const LimitState state = unpack_limit(limit.state.load(kLoose), rules);
    const double late = state.baseline + std::log2(1 + rules.tolerance / 100.0);
    if (state.baseline == 0 || level_of(time) <= late) {
        return LimitChange::none;
    }
    return is_steady(state.phase) ? add_level(limit, level_of(time), rules, clock) : add_failure_beside(limit, rules, clock);
}

void note_unanswered(ServerLimit& limit, std::uint32_t count) noexcept
{
    if (limit.most.load(kLoose) < count) {
        limit.most.store(count, kLoose); // whoever calls holds the server's gate
    }
}

std::uint32_t current_limit(const ServerLimit& limit, const LimitRules& rules) noexcept
{
    const LimitState state = unpack_limit(limit.state.load(kLoose), rules);
    // What is held is a whole number, and must not come out as one less.
    const double holds = is_steady(state.phase) ? state.limit : state.limit * state.held + 1 / kLimitPoint;
    return std::max(static_cast<std::uint32_t>(holds), 1u);
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
    limit.failures.store(0, kLoose);
}

} // namespace ladle::shm
