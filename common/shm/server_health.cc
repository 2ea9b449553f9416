// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_health.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ladle::shm {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// evidence: │ time, 24 bits of 2^28 ns │ requests, 24 bits │ failures, 16 bits │; all wrap around but the last.
constexpr unsigned kTimeShift = 28;
constexpr std::uint64_t kBits24 = (1u << 24) - 1;

// retries: │ period, 16 bits of 10 s │ requests, 28 bits │ spent, 20 bits │
constexpr std::uint64_t kPeriod = 10'000'000'000;
constexpr std::uint64_t kBits28 = (1u << 28) - 1;
constexpr std::uint64_t kBits20 = (1u << 20) - 1;
constexpr std::uint64_t kLeastRetries = 10;

} // namespace

std::string_view name_of(CheckEnd end) noexcept
{
    switch (end) {
    case CheckEnd::none:
        return "none";
    case CheckEnd::good:
        return "good";
    case CheckEnd::unresolved:
        return "unresolved";
    case CheckEnd::refused:
        return "refused";
    case CheckEnd::silent:
        return "silent";
    case CheckEnd::malformed:
        return "malformed";
    case CheckEnd::wrong_status:
        return "wrong status";
    case CheckEnd::wrong_body:
        return "wrong body";
    case CheckEnd::not_serving:
        return "not serving";
    }
    return "?";
}

std::string_view name_of(ServerFailure failure) noexcept
{
    switch (failure) {
    case ServerFailure::connect:
        return "connect";
    case ServerFailure::reset:
        return "reset";
    case ServerFailure::timeout:
        return "timeout";
    case ServerFailure::bad_response:
        return "bad response";
    case ServerFailure::bad_status:
        return "bad status";
    }
    return "?";
}

void clear_health(ServerHealth& health) noexcept
{
    for (auto* word :
         {&health.out_until_ns, &health.back_ns, &health.typical, &health.peak, &health.known_ns, &health.slowness, &health.check,
          &health.verdict_since_ns,
          &health.checked_ns, &health.next_check_ns, &health.recent, &health.evidence, &health.out_since_ns, &health.ejected,
          &health.retries, &health.asked, &health.hedges, &health.agent, &health.load, &health.load_since_ns, &health.agent_check,
          &health.agent_since_ns, &health.agent_asked_ns, &health.next_agent_ns, &health.agent_recent}) {
        word->store(0, kRelaxed);
    }
    for (auto* word :
         {&health.weight, &health.failures_in_row, &health.connect_failures, &health.ejections, &health.in_row, &health.out_for,
          &health.slow_trials}) {
        word->store(0, kRelaxed);
    }
    health.verdict.store(Verdict::unknown, kRelaxed);
    health.order.store(ServerOrder::none, kRelaxed);
    for (auto& count : health.failures) {
        count.store(0, kRelaxed);
    }
    for (auto& count : health.latency) {
        count.store(0, kRelaxed);
    }
    forget_times(health.times);
    clear_times(health.recent_times);
    for (Note* note : {&health.note, &health.agent_note, &health.agent_failure}) {
        write_note(*note, {});
    }
}

void begin_check(ServerHealth& health, std::uint64_t fingerprint) noexcept
{
    if (health.check.load(kRelaxed) == fingerprint) {
        return;
    }
    health.verdict.store(Verdict::unknown, kRelaxed);
    for (auto* word : {&health.verdict_since_ns, &health.checked_ns, &health.next_check_ns, &health.recent}) {
        word->store(0, kRelaxed);
    }
    health.in_row.store(0, kRelaxed);
    write_note(health.note, {});
    health.check.store(fingerprint, kRelaxed); // last: a caretaker that dies before it leaves the next one to begin again
}

bool add_check(ServerHealth& health, CheckEnd end, CheckCounts counts, std::uint64_t now_ns) noexcept
{
    const Verdict before = health.verdict.load(kRelaxed);
    const bool is_good = end == CheckEnd::good;
    health.recent.store(health.recent.load(kRelaxed) << 8 | static_cast<std::uint8_t>(end), kRelaxed);
    health.checked_ns.store(now_ns, kRelaxed);
    if ((before == Verdict::up && is_good) || (before == Verdict::down && !is_good)) {
        health.in_row.store(0, kRelaxed);
        return false;
    }
    const std::uint32_t in_row = is_good && before == Verdict::unknown ? 1 : health.in_row.load(kRelaxed) + 1;
    const std::uint32_t needed = before == Verdict::down ? counts.rise : is_good ? 1 : counts.fall;
    if (in_row < needed) {
        health.in_row.store(in_row, kRelaxed);
        return false;
    }
    if (before == Verdict::down) {
        // What requests had met is over as well.
        health.out_until_ns.store(0, kRelaxed);
        health.failures_in_row.store(0, kRelaxed);
        health.slow_trials.store(0, kRelaxed);
        health.connect_failures.store(0, kRelaxed);
        health.back_ns.store(now_ns, kRelaxed);
    }
    health.in_row.store(0, kRelaxed);
    health.verdict_since_ns.store(now_ns, kRelaxed);
    health.verdict.store(is_good ? Verdict::up : Verdict::down, kRelaxed);
    return before == Verdict::down || !is_good;
}

void write_note(Note& note, std::string_view text) noexcept
{
    char bytes[kNoteWords * sizeof(std::uint64_t)] = {};
    text.copy(bytes, sizeof bytes);
    for (std::size_t i = 0; i < kNoteWords; ++i) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + i * sizeof word, sizeof word);
        note[i].store(word, kRelaxed);
    }
}

std::string read_note(const Note& note)
{
    char bytes[kNoteWords * sizeof(std::uint64_t)];
    for (std::size_t i = 0; i < kNoteWords; ++i) {
        const std::uint64_t word = note[i].load(kRelaxed);
        std::memcpy(bytes + i * sizeof word, &word, sizeof word);
    }
    return {bytes, strnlen(bytes, sizeof bytes)};
}

Evidence add_failure(ServerHealth& health, std::uint64_t requests, std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept
{
    const std::uint64_t now = now_ns >> kTimeShift & kBits24;
    const std::uint64_t span = static_cast<std::uint64_t>(within.count()) >> kTimeShift;
    std::uint64_t seen = health.evidence.load(kRelaxed);
    for (;;) {
        std::uint64_t begun = seen >> 40;
        std::uint64_t base = seen >> 16 & kBits24;
        std::uint64_t failures = seen & 0xffff;
        if (failures == 0 || ((now - begun) & kBits24) > span) {
            begun = now;
            base = (requests - 1) & kBits24; // this one is among them
            failures = 0;
        }
        failures = std::min<std::uint64_t>(failures + 1, 0xffff);
        if (health.evidence.compare_exchange_weak(seen, begun << 40 | base << 16 | failures, kRelaxed)) {
            return {static_cast<std::uint32_t>(failures), static_cast<std::uint32_t>((requests - base) & kBits24)};
        }
    }
}

namespace {

struct RetryCount {
    std::uint64_t period;
    std::uint64_t base;   ///< requests before those that count
    std::uint64_t recent; ///< that count
    std::uint64_t spent;

    std::uint64_t packed() const noexcept { return period << 48 | base << 20 | spent; }
};

/// How the two kinds count what they spend.
struct ShareRules {
    std::uint64_t least;     ///< that may be spent in any case
    std::uint64_t unit;      ///< of `spent`, for each
    std::uint64_t rounds_up; ///< 1 = what is left of earlier periods is rather too much than too little
};
constexpr ShareRules kOfRetries{kLeastRetries, 1, 0};
constexpr ShareRules kOfHedges{0, 8, 1}; // they never come to more than their share

/// What the word says, brought up to now.
RetryCount unpack_retries(const ShareRules& rules, std::uint64_t word, std::uint64_t requests, std::uint64_t now_ns) noexcept
{
    const std::uint64_t base = word >> 20 & kBits28;
    RetryCount count{now_ns / kPeriod & 0xffff, base, (requests - base) & kBits28, word & kBits20};
    const std::uint64_t passed = (count.period - (word >> 48)) & 0xffff;
    if (word == 0) {
        count.recent = 0; // nobody knows when those were
    } else if (passed > 0) {
        count.recent /= passed + 1; // as many as one period has had on average
        const std::uint64_t rest = rules.rounds_up * ((std::uint64_t{1} << std::min<std::uint64_t>(passed, 20)) - 1);
        count.spent = passed < 20 ? (count.spent + rest) >> passed : 0;
    }
    count.base = (requests - count.recent) & kBits28;
    return count;
}

} // namespace

namespace {

void settle_share(const ShareRules& rules, std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint64_t now_ns) noexcept
{
    std::uint64_t seen = word.load(kRelaxed);
    if (seen == 0 || seen >> 48 != (now_ns / kPeriod & 0xffff)) {
        const std::uint64_t settled = unpack_retries(rules, seen, requests, now_ns).packed();
        word.compare_exchange_strong(seen, settled, kRelaxed); // else another has done it
    }
}

bool take_share(const ShareRules& rules, std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint32_t percent,
                std::uint64_t now_ns) noexcept
{
    std::uint64_t seen = word.load(kRelaxed);
    for (;;) {
        RetryCount count = unpack_retries(rules, seen, requests, now_ns);
        count.spent += rules.unit;
        if (count.spent > rules.least * rules.unit + count.recent * percent * rules.unit / 100 || count.spent > kBits20) {
            return false;
        }
        if (word.compare_exchange_weak(seen, count.packed(), kRelaxed)) {
            return true;
        }
    }
}

} // namespace

void settle_retries(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint64_t now_ns) noexcept
{
    settle_share(kOfRetries, word, requests, now_ns);
}

bool take_retry(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint32_t percent, std::uint64_t now_ns) noexcept
{
    return take_share(kOfRetries, word, requests, percent, now_ns);
}

void settle_hedges(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint64_t now_ns) noexcept
{
    settle_share(kOfHedges, word, requests, now_ns);
}

bool take_hedge(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint32_t percent, std::uint64_t now_ns) noexcept
{
    return take_share(kOfHedges, word, requests, percent, now_ns);
}

void add_latency(ServerHealth& health, std::chrono::nanoseconds time) noexcept
{
    health.latency[latency_bucket(time)].fetch_add(1, kRelaxed);
}

std::chrono::microseconds latency_quantile(const ServerHealth& health, unsigned percent) noexcept
{
    std::uint64_t total = 0;
    for (const auto& count : health.latency) {
        total += count.load(kRelaxed);
    }
    std::uint64_t left = (total * percent + 99) / 100;
    for (std::size_t bucket = 0; total > 0 && bucket < kLatencyBuckets; ++bucket) {
        const std::uint64_t count = health.latency[bucket].load(kRelaxed);
        if (count >= left) {
            return end_of_bucket(bucket);
        }
        left -= count;
    }
    return {};
}

} // namespace ladle::shm
