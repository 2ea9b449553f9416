// SPDX-License-Identifier: Apache-2.0
#include "common/shm/breaker.h"

#include <algorithm>

namespace ladle::shm {

namespace {

constexpr auto kOrder = std::memory_order_acq_rel;
constexpr auto kAnyOrder = std::memory_order_relaxed;

constexpr unsigned kPhaseShift = 62;
constexpr unsigned kRoundShift = 48;
constexpr std::uint64_t kRoundMask = (1u << 12) - 1;
constexpr unsigned kGoodShift = 40;
constexpr std::uint64_t kGoodMask = (1u << 8) - 1;
constexpr unsigned kStepShift = 34;
constexpr std::uint64_t kStepMask = (1u << 6) - 1;
constexpr std::uint64_t kSinceMask = (std::uint64_t{1} << 34) - 1;
constexpr unsigned kSinceTick = 20; // of ns
constexpr std::uint64_t kMostSteps = 24;

constexpr unsigned kTrialRoundShift = 20;
constexpr unsigned kTakenShift = 8;
constexpr unsigned kTakenTick = 28; // of ns
constexpr std::uint32_t kTakenMask = (1u << 12) - 1;
constexpr std::uint32_t kWhoMask = (1u << 8) - 1;
constexpr std::uint32_t kEndedWell = 255;
constexpr std::uint64_t kLeastPatience = 5'000'000'000; // with a trial
constexpr std::uint64_t kMostPatience = 300'000'000'000; // that the 12 bits of its time can tell
constexpr std::uint64_t kMostBehind = (std::uint64_t{1} << 42) >> kSinceTick; // more than an hour: how far clocks read may differ

constexpr unsigned kIndexShift = 40;
constexpr std::uint64_t kIndexMask = (1u << 24) - 1;
constexpr unsigned kRequestsShift = 20;
constexpr std::uint64_t kCountMask20 = (1u << 20) - 1;

constexpr unsigned kWhyRequestsShift = 32;
constexpr unsigned kWhyFailuresShift = 8;
constexpr std::uint64_t kWhyCountMask = (1u << 24) - 1;

/// The word, unpacked.
struct Breaking {
    BreakerPhase phase;
    std::uint16_t round;
    std::uint32_t good;
    std::uint32_t level; ///< openings in a row
    std::uint64_t since;

    std::uint64_t packed() const noexcept
    {
        return static_cast<std::uint64_t>(phase) << kPhaseShift | (round & kRoundMask) << kRoundShift |
               (good & kGoodMask) << kGoodShift | (level & kStepMask) << kStepShift | (since & kSinceMask);
    }
};

Breaking unpack_breaker(std::uint64_t word) noexcept
{
    return {static_cast<BreakerPhase>(word >> kPhaseShift), static_cast<std::uint16_t>(word >> kRoundShift & kRoundMask),
            static_cast<std::uint32_t>(word >> kGoodShift & kGoodMask), static_cast<std::uint32_t>(word >> kStepShift & kStepMask),
            word & kSinceMask};
}

std::uint64_t since_tick(std::uint64_t now_ns) noexcept
{
    return now_ns >> kSinceTick & kSinceMask;
}

std::uint16_t next_round(std::uint16_t round) noexcept
{
    return static_cast<std::uint16_t>((round + 1u) & kRoundMask);
}

/// Of the phase; of a worker whose clock was read a moment earlier: none.
std::uint64_t phase_age(const Breaking& state, std::uint64_t now_ns) noexcept
{
    const std::uint64_t ticks = (since_tick(now_ns) - state.since) & kSinceMask;
    return ticks > kSinceMask - kMostBehind ? 0 : ticks << kSinceTick;
}

/// How long it is open at this level, in whole ticks.
std::uint64_t time_open(std::uint32_t level, const BreakerRules& rules) noexcept
{
    const auto longest = static_cast<std::uint64_t>(std::max(rules.time, rules.longest).count());
    const std::uint64_t time = static_cast<std::uint64_t>(rules.time.count()) << (std::max(level, 1u) - 1);
    return std::min(time, longest) >> kSinceTick << kSinceTick;
}

std::uint32_t trial_word(std::uint16_t round, std::uint32_t who, std::uint64_t now_ns) noexcept
{
    const auto taken = static_cast<std::uint32_t>(now_ns >> kTakenTick) & kTakenMask;
    return std::uint32_t{round} << kTrialRoundShift | taken << kTakenShift | who;
}

/// Whether the place may be taken: by nobody's trial, one of another round, or one that does not end.
bool is_free(std::uint32_t word, std::uint16_t round, const BreakerRules& rules, std::uint64_t now_ns) noexcept
{
    if (word == 0 || word >> kTrialRoundShift != round) {
        return true;
    }
    const std::uint64_t patience = std::clamp(static_cast<std::uint64_t>(rules.time.count()), kLeastPatience, kMostPatience);
    const std::uint32_t ticks = (static_cast<std::uint32_t>(now_ns >> kTakenTick) - (word >> kTakenShift)) & kTakenMask;
    return (word & kWhoMask) != kEndedWell && ticks < kTakenMask / 2 && std::uint64_t{ticks} << kTakenTick > patience;
}

std::optional<Admission> take_trial(Breaker& breaker, std::uint16_t round, const BreakerRules& rules, std::uint32_t row,
                                    std::uint64_t now_ns) noexcept
{
    const std::uint32_t word = trial_word(round, row + 1, now_ns);
    for (std::uint8_t at = 0; at < std::min(rules.trials, kMostTrials); ++at) {
        std::uint32_t seen = breaker.trials[at].load(kAnyOrder);
        if (is_free(seen, round, rules, now_ns) && breaker.trials[at].compare_exchange_strong(seen, word, kOrder)) {
            return Admission{Admission::Kind::trial, at, round, word};
        }
    }
    return std::nullopt;
}

struct Counted {
    std::uint64_t requests;
    std::uint64_t failures;
};

/// Adds one request to the window; what it has then.
Counted count_request(Breaker& breaker, bool has_failed, const BreakerRules& rules, std::uint64_t now_ns) noexcept
{
    const std::uint64_t part = std::max<std::uint64_t>(static_cast<std::uint64_t>(rules.within.count()) / kBreakerParts, 1);
    const std::uint64_t index = now_ns / part & kIndexMask;
    std::atomic<std::uint64_t>& own = breaker.counts[index % kBreakerParts];
    std::uint64_t seen = own.load(kAnyOrder);
    std::uint64_t word = 0;
    do {
        word = seen >> kIndexShift == index ? seen : index << kIndexShift;
        if ((word >> kRequestsShift & kCountMask20) != kCountMask20) {
            word += (std::uint64_t{1} << kRequestsShift) + (has_failed ? 1 : 0);
        }
    } while (!own.compare_exchange_weak(seen, word, kAnyOrder));
    Counted sum{0, 0};
    for (const auto& one : breaker.counts) {
        const std::uint64_t counts = one.load(kAnyOrder);
        if (((index - (counts >> kIndexShift)) & kIndexMask) < kBreakerParts) {
            sum.requests += counts >> kRequestsShift & kCountMask20;
            sum.failures += counts & kCountMask20;
        }
    }
    return sum;
}

void clear_counts(Breaker& breaker) noexcept
{
    for (auto& one : breaker.counts) {
        one.store(0, kAnyOrder);
    }
}

void note_why(Breaker& breaker, Counted counted, ServerFailure last) noexcept
{
    const std::uint64_t requests = std::min(counted.requests, kWhyCountMask);
    const std::uint64_t failures = std::min(counted.failures, kWhyCountMask);
    breaker.why.store(requests << kWhyRequestsShift | failures << kWhyFailuresShift | static_cast<std::uint64_t>(last), kAnyOrder);
}

BreakerChange settle_trial(Breaker& breaker, const Admission& admission, std::optional<ServerFailure> failure,
                           const BreakerRules& rules, std::uint64_t now_ns) noexcept
{
    std::uint64_t seen = breaker.state.load(std::memory_order_acquire);
    for (;;) {
        Breaking state = unpack_breaker(seen);
        if (state.phase != BreakerPhase::half_open || state.round != admission.round) {
            give_back(breaker, admission); // another one has decided
            return BreakerChange::none;
        }
        BreakerChange change = BreakerChange::none;
        if (failure) {
            state = {BreakerPhase::open, next_round(state.round), 0,
                     static_cast<std::uint32_t>(std::min<std::uint64_t>(state.level + 1, kMostSteps)), since_tick(now_ns)};
            change = BreakerChange::opened;
        } else if (++state.good >= std::min(rules.trials, kMostTrials)) {
            clear_counts(breaker); // first: what had failed is over when it closes
            state = {BreakerPhase::closed, next_round(state.round), 0, state.level, since_tick(now_ns)};
            change = BreakerChange::closed;
        }
        if (!breaker.state.compare_exchange_weak(seen, state.packed(), kOrder, std::memory_order_acquire)) {
            continue;
        }
        if (change == BreakerChange::opened) {
            note_why(breaker, {0, 0}, *failure);
        }
        std::uint32_t own = admission.word;
        breaker.trials[admission.trial].compare_exchange_strong(own, failure ? 0 : own | kEndedWell, kOrder);
        return change;
    }
}

} // namespace

Admission admit(Breaker& breaker, const BreakerRules& rules, std::uint32_t row, std::uint64_t now_ns) noexcept
{
    std::uint64_t seen = breaker.state.load(std::memory_order_acquire);
    for (;;) {
        const Breaking state = unpack_breaker(seen);
        if (state.phase == BreakerPhase::closed) {
            return {Admission::Kind::passes, 0, state.round, 0};
        }
        if (state.phase == BreakerPhase::open) {
            if (phase_age(state, now_ns) < time_open(state.level, rules)) {
                return {Admission::Kind::refused, 0, state.round, 0};
            }
            const Breaking next{BreakerPhase::half_open, state.round, 0, state.level, since_tick(now_ns)};
            if (breaker.state.compare_exchange_strong(seen, next.packed(), kOrder, std::memory_order_acquire)) {
                seen = next.packed();
            }
            continue;
        }
        if (state.good >= std::min(rules.trials, kMostTrials)) { // more were asked for when those ended
            clear_counts(breaker);
            const Breaking closed{BreakerPhase::closed, next_round(state.round), 0, state.level, since_tick(now_ns)};
            if (breaker.state.compare_exchange_strong(seen, closed.packed(), kOrder, std::memory_order_acquire)) {
                return {Admission::Kind::passes, 0, closed.round, 0, true};
            }
            continue;
        }
        const auto trial = take_trial(breaker, state.round, rules, row, now_ns);
        if (!trial) {
            return {Admission::Kind::refused, 0, state.round, 0};
        }
        seen = breaker.state.load(std::memory_order_acquire);
        const Breaking now_is = unpack_breaker(seen);
        if (now_is.phase == BreakerPhase::half_open && now_is.round == state.round) {
            return *trial;
        }
        give_back(breaker, *trial); // it has been decided without this one
    }
}

BreakerChange settle_admission(Breaker& breaker, const Admission& admission, std::optional<ServerFailure> failure,
                               const BreakerRules& rules, std::uint64_t now_ns) noexcept
{
    if (admission.kind == Admission::Kind::trial) {
        return settle_trial(breaker, admission, failure, rules, now_ns);
    }
    std::uint64_t seen = breaker.state.load(std::memory_order_acquire);
    const Breaking state = unpack_breaker(seen);
    if (admission.kind == Admission::Kind::refused || state.phase != BreakerPhase::closed || state.round != admission.round) {
        return BreakerChange::none; // of another time
    }
    const Counted counted = count_request(breaker, failure.has_value(), rules, now_ns);
    if (!failure || counted.requests < rules.requests || counted.failures * 100 < counted.requests * rules.rate) {
        return BreakerChange::none;
    }
    // Open again soon after it closed: for longer.
    const bool is_relapse = state.level != 0 && phase_age(state, now_ns) < time_open(state.level, rules);
    const Breaking opened{BreakerPhase::open, next_round(state.round), 0,
                          is_relapse ? static_cast<std::uint32_t>(std::min<std::uint64_t>(state.level + 1, kMostSteps)) : 1,
                          since_tick(now_ns)};
    if (!breaker.state.compare_exchange_strong(seen, opened.packed(), kOrder, kAnyOrder)) {
        return BreakerChange::none; // another worker was quicker
    }
    note_why(breaker, counted, *failure);
    return BreakerChange::opened;
}

void give_back(Breaker& breaker, const Admission& admission) noexcept
{
    if (admission.kind == Admission::Kind::trial) {
        std::uint32_t own = admission.word;
        breaker.trials[admission.trial].compare_exchange_strong(own, 0, kOrder);
    }
}

void give_back_trials(Breaker& breaker, std::uint32_t row) noexcept
{
    for (auto& trial : breaker.trials) {
        std::uint32_t seen = trial.load(kAnyOrder);
        if ((seen & kWhoMask) == row + 1) {
            trial.compare_exchange_strong(seen, 0, kOrder);
        }
    }
}

bool close_breaker(Breaker& breaker, std::uint64_t now_ns) noexcept
{
    std::uint64_t seen = breaker.state.load(std::memory_order_acquire);
    for (;;) {
        const Breaking state = unpack_breaker(seen);
        if (state.phase == BreakerPhase::closed) {
            return false;
        }
        clear_counts(breaker);
        const Breaking closed{BreakerPhase::closed, next_round(state.round), 0, 0, since_tick(now_ns)};
        if (breaker.state.compare_exchange_weak(seen, closed.packed(), kOrder, std::memory_order_acquire)) {
            return true;
        }
    }
}

std::chrono::nanoseconds time_shut(const Breaker& breaker, const BreakerRules& rules, std::uint64_t now_ns) noexcept
{
    const Breaking state = unpack_breaker(breaker.state.load(std::memory_order_acquire));
    const std::uint64_t whole = time_open(state.level, rules);
    const std::uint64_t age = phase_age(state, now_ns);
    return std::chrono::nanoseconds(state.phase == BreakerPhase::open && age < whole ? whole - age : 0);
}

BreakerReading read_breaker(const Breaker& breaker, std::uint64_t now_ns) noexcept
{
    const Breaking state = unpack_breaker(breaker.state.load(std::memory_order_acquire));
    const std::uint64_t why = breaker.why.load(kAnyOrder);
    const auto requests = static_cast<std::uint32_t>(why >> kWhyRequestsShift & kWhyCountMask);
    return {state.phase,
            phase_age(state, now_ns),
            state.good,
            state.level,
            requests == 0,
            requests,
            static_cast<std::uint32_t>(why >> kWhyFailuresShift & kWhyCountMask),
            static_cast<ServerFailure>(why & 0xff)};
}

void clear_breaker(Breaker& breaker) noexcept
{
    breaker.state.store(0, kAnyOrder);
    breaker.why.store(0, kAnyOrder);
    for (auto& trial : breaker.trials) {
        trial.store(0, kAnyOrder);
    }
    clear_counts(breaker);
}

} // namespace ladle::shm
