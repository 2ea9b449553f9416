// SPDX-License-Identifier: Apache-2.0
//
// The limit that finds itself (`adaptive`): how many requests that are not answered yet a server may have, as the times of its
// answers tell, of all workers together. A part of its entry in the server table:
//
//   state     │ limit, 28 bits, 8 behind the point │ baseline, 16 bits, 10 behind the point │ phase, 2 bits │ starts, 1 bit
//             │ first, 1 bit │ slower, 4 bits │ held, 12 bits behind the point            0 = nothing is known
//   window    │ begun, 24 bits of 2^20 ns │ samples, 12 bits │ sum of their levels, 28 bits │   0 = none has begun
//   most        the most that were not answered at once in this window
//   failures    in this window, while the baseline is measured
//
// A level is the logarithm of a time in ns: means of logarithms let one slow page among many quick ones count as one. Any worker
// writes, by compare-and-swap: a sample goes into the window, and whoever's sample ends it has it to itself and makes the next
// state of it. Nobody waits for anybody; who dies in between leaves a window that did not count.
//
// The step (as Netflix's Gradient2 and Envoy's adaptive concurrency have it): limit × gradient + headroom, where gradient is
// baseline × (1 + tolerance) / what the window took, from 0.5 to 1, and headroom the limit's square root, a third of it at most.
// It does not grow where less than half of it was used. At first, until a gradient is below 1 once, headroom is half of the limit.
//
// The baseline is how long answers take that do not wait for each other. A window that took as long shows that it still holds.
// Else it is measured with half of what was used, twice for a fortieth of the time between two measurements: at first for letting
// go what has piled up in the server, and then for what counts: until eight have answered, three times as long at most. This is at
// every full ten seconds of the wall clock, moved by what is the server's own (twenty, forty, … where forty times what an answer
// takes is longer), so that others who send to the same server (another upstream, another proxy) do it in the same moment, and the
// server has half of all. Where no more than the least was used, and less than half of the limit, there is nothing to find. A
// baseline that was measured under too much load is too high, but each time with half of that load, until it is right; one that
// differs from the one before is followed sooner, after a quarter of that time; the first one is with ten, and is measured again
// in any case. In between it only sinks, an eighth of the way for each window that was quicker.
// Failures are no measure of time: while it is measured they are counted beside it, and where more than an eighth failed, it was
// none, and the window is judged like any other.
//
// A window has 16 samples at least, and lasts 100 ms or twice as long as one answer takes: one half of its samples is then of the
// limit that it is to judge. It ends early, and changes no limit then, when the moment to measure has come.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ladle::shm {

struct alignas(64) ServerLimit {
    std::atomic<std::uint64_t> state; ///< what every choice reads
    alignas(64) std::atomic<std::uint64_t> window;
    std::atomic<std::uint32_t> most;
    std::atomic<std::uint32_t> failures;
};
static_assert(sizeof(ServerLimit) == 128 && std::is_trivially_destructible_v<ServerLimit>);
static_assert(offsetof(ServerLimit, window) == 64 && offsetof(ServerLimit, most) == 72 && offsetof(ServerLimit, failures) == 76);

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

/// What is read once for a sample.
struct LimitClock {
    std::uint64_t now_ns;  ///< monotonic
    std::uint64_t wall_ns; ///< since 1970, and what is the server's own: the same in all proxies
};

/// Unsure: steady, but the last measurement said something else than the one before.
enum class LimitPhase : std::uint8_t { steady, draining, measuring, unsure };

constexpr bool is_steady(LimitPhase phase) noexcept
{
    return phase == LimitPhase::steady || phase == LimitPhase::unsure;
}

/// The state, unpacked.
struct LimitState {
    double limit = 0;
    double baseline = 0; ///< level; 0 = not known
    LimitPhase phase = LimitPhase::draining;
    bool starts = true;
    bool is_first = false;      ///< the baseline was measured with ten at once, whatever was used
    double held = 0.5;          ///< the part of the limit that holds while the baseline is measured
    std::uint32_t slower = 0;   ///< between two measurements there are ten seconds, doubled so often
};

/// What a window has brought.
struct LimitWindow {
    double level; ///< the mean
    std::uint32_t most;
    std::uint64_t samples = 16;
    std::uint64_t lasted_ns = 0;
    bool is_failing = false; ///< more than an eighth were failures, which the level has, too; not told of a steady one
};

double level_of(std::chrono::nanoseconds time) noexcept;
std::chrono::nanoseconds time_of_level(double level) noexcept;

/// The state after a window.
LimitState next_limit(const LimitState& before, const LimitWindow& window, const LimitRules& rules, std::uint64_t wall_ns) noexcept;

/// What has come of a sample.
enum class LimitChange : std::uint8_t { none, raised, lowered, measured };
/// Counts an answer that took so long to its head.
LimitChange add_limit_sample(ServerLimit& limit, std::chrono::nanoseconds time, const LimitRules& rules, LimitClock clock) noexcept;
/// Counts a request that was not answered, as overload has it: as if it had taken four times as long as it should.
LimitChange add_limit_failure(ServerLimit& limit, const LimitRules& rules, LimitClock clock) noexcept;
/// Counts a request whose client gave up after so long, where an answer was late then: it would have taken longer. One that leaves
/// sooner says nothing, and what a client has patience for is no measurement.
LimitChange add_limit_abandoned(ServerLimit& limit, std::chrono::nanoseconds time, const LimitRules& rules,
                                LimitClock clock) noexcept;
/// Notes how many are not answered yet.
void note_unanswered(ServerLimit& limit, std::uint32_t count) noexcept;

/// What holds now: while the baseline is measured it is half of what was used, which may be less than `least`.
std::uint32_t current_limit(const ServerLimit& limit, const LimitRules& rules) noexcept;
/// For people.
LimitState read_limit(const ServerLimit& limit, const LimitRules& rules) noexcept;

/// Everything back to the start. The entry's owner only (master).
void clear_limit(ServerLimit& limit) noexcept;

} // namespace ladle::shm
