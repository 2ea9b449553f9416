// SPDX-License-Identifier: Apache-2.0
//
// The limit that finds itself (`adaptive`): how many requests that are not answered yet a server may have, as the times of its
// answers tell, of all workers together. A part of its entry in the server table:
//
//   state  │ limit, 28 bits, 8 behind the point │ baseline, 16 bits, 10 behind the point │ phase, 2 bits │ starts, 1 bit
//          │ mark, 6 bits │ measured, 11 bits of 2^30 ns │                                        0 = nothing is known
//   window │ begun, 24 bits of 2^20 ns │ samples, 12 bits │ sum of their levels, 28 bits │        0 = none has begun
//   most     the most that were not answered at once in this window
//
// A level is the logarithm of a time in ns: means of logarithms let one slow page among many quick ones count as one. Any worker
// writes, by compare-and-swap: a sample goes into the window, and whoever's sample ends it has it to itself and makes the next
// state of it. Nobody waits for anybody; who dies in between leaves a window that did not count.
//
// The step (as Netflix's Gradient2 and Envoy's adaptive concurrency have it): limit × gradient + headroom, where gradient is
// baseline × (1 + tolerance) / what the window took, from 0.5 to 1, and headroom the limit's square root. It does not grow where
// less than half of it was used. At first, until a gradient is below 1 once, headroom is half of the limit. The baseline is how
// long answers take that do not wait for each other. A window that took no longer (by half of the tolerance) shows that it still
// holds. Else it is measured with the limit halved: one window to let go what has piled up in the server, and one that counts;
// every ten seconds or so, and when the limit has about halved since: a server that does something else now, and does it slower,
// is not kept small for long. A baseline that was measured under too much load is too high, but each time with half of that load,
// until it is right; two that differ are followed by the next one sooner. In between it only sinks, an eighth of the way for each
// window that was quicker. A window has 16 samples at least, and lasts 100 ms or twice as long as one answer takes: one half of
// its samples is then of the limit that it is to judge.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace ladle::shm {

struct alignas(64) ServerLimit {
    std::atomic<std::uint64_t> state; ///< what every choice reads
    alignas(64) std::atomic<std::uint64_t> window;
    std::atomic<std::uint32_t> most;
};

/// Of a configuration, for one server.
struct LimitRules {
    std::uint32_t least;
    std::uint32_t greatest;  ///< not below `least`
    std::uint32_t tolerance; ///< percent
};
inline constexpr std::uint32_t kGreatestLimit = 1'000'000;
/// Those of settings; `max_conn` 0 = none.
constexpr LimitRules limit_rules(std::uint32_t least, std::uint32_t tolerance, std::uint32_t max_conn) noexcept
{
    const std::uint32_t greatest = max_conn == 0 ? kGreatestLimit : max_conn;
    return {least < greatest ? least : greatest, greatest, tolerance};
}

enum class LimitPhase : std::uint8_t { steady, draining, measuring };

/// The state, unpacked.
struct LimitState {
    double limit = 0;
    double baseline = 0; ///< level; 0 = not known
    LimitPhase phase = LimitPhase::draining;
    bool starts = true;
    std::uint32_t mark = 0;     ///< twice the logarithm of the highest limit since the baseline was measured
    std::uint32_t measured = 0; ///< when it was
};

/// What a window has brought.
struct LimitWindow {
    double level; ///< the mean
    std::uint32_t most;
};

double level_of(std::chrono::nanoseconds time) noexcept;
std::chrono::nanoseconds time_of_level(double level) noexcept;

/// The state after a window.
LimitState next_limit(const LimitState& before, const LimitWindow& window, const LimitRules& rules, std::uint64_t now_ns) noexcept;

/// What has come of a sample.
enum class LimitChange : std::uint8_t { none, raised, lowered, measured };
/// Counts an answer that took so long to its head.
LimitChange add_limit_sample(ServerLimit& limit, std::chrono::nanoseconds time, const LimitRules& rules,
                             std::uint64_t now_ns) noexcept;
/// Counts a request that was not answered, as overload has it: as if it had taken four times as long as it should, or `waited`, if
/// that is longer.
LimitChange add_limit_failure(ServerLimit& limit, std::chrono::nanoseconds waited, const LimitRules& rules,
                              std::uint64_t now_ns) noexcept;
/// Notes how many are not answered yet.
void note_unanswered(ServerLimit& limit, std::uint32_t count) noexcept;

/// What holds now: while the baseline is measured it is half of the limit, which may be less than `least`.
std::uint32_t current_limit(const ServerLimit& limit, const LimitRules& rules) noexcept;
/// For people.
LimitState read_limit(const ServerLimit& limit, const LimitRules& rules) noexcept;

/// Everything back to the start. The entry's owner only (master).
void clear_limit(ServerLimit& limit) noexcept;

} // namespace ladle::shm
