// SPDX-License-Identifier: Apache-2.0
//
// The circuit breaker of an upstream as a whole (`breaker`): in the entry of its first server, as its turns and tickets are.
// Closed, it counts how requests end; when too many have failed it opens, and nothing is sent for a time; then it is half open,
// and as many requests as it has trials show whether it may close.
//
//   state   │ phase, 2 bits │ - │ round, 12 bits │ good, 8 bits │ level, 6 bits │ since, 34 bits of 2^20 ns │ 0 = closed, as ever
//   why     │ requests, 24 bits │ failures, 24 bits │ the last failure, 8 bits │                            of the last opening
//   trials  │ round, 12 bits │ taken, 12 bits of 2^28 ns │ 1 + the row of the process, 8 bits; 255 = it ended well │ each
//   counts  │ index of an eighth of the window, 24 bits │ requests, 20 bits │ failures, 20 bits │ each
//
// Any worker writes, by compare-and-swap; whoever's exchange changes the phase does what goes with it (the log line). Rounds are
// counted at each opening: how a request ends counts in its own round alone. After the death of a process the master frees the
// places of its trials (0 = free), and others take them; a trial's end is counted before its place is marked, so a death in
// between means one trial more. The place of a trial that does not end is somebody else's after `for` (from five seconds to five
// minutes).
#pragma once

#include "common/shm/server_health.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace ladle::shm {

inline constexpr std::uint32_t kMostTrials = 16;
inline constexpr std::size_t kBreakerParts = 8; ///< of a window

struct alignas(64) Breaker {
    std::atomic<std::uint64_t> state; ///< what every request reads
    std::atomic<std::uint64_t> why;
    alignas(64) std::array<std::atomic<std::uint32_t>, kMostTrials> trials;
    alignas(64) std::array<std::atomic<std::uint64_t>, kBreakerParts> counts;
};

/// Of a configuration.
struct BreakerRules {
    std::uint32_t rate;     ///< percent of the requests that fail
    std::uint32_t requests; ///< so many at least
    std::chrono::nanoseconds within;
    std::chrono::nanoseconds time; ///< that it is open for the first time; twice as long each time
    std::chrono::nanoseconds longest;
    std::uint32_t trials;
};

enum class BreakerPhase : std::uint8_t { closed, open, half_open };

/// Whether a request may go to a server.
struct Admission {
    enum class Kind : std::uint8_t { passes, trial, refused } kind = Kind::passes;
    std::uint8_t trial = 0; ///< its place
    std::uint16_t round = 0;
    std::uint32_t word = 0; ///< in that place
    bool has_closed = false; ///< the breaker, by asking: a reload has made fewer trials enough
};
Admission admit(Breaker& breaker, const BreakerRules& rules, std::uint32_t row, std::uint64_t now_ns) noexcept;

enum class BreakerChange : std::uint8_t { none, opened, closed };
/// How a request ended that was admitted; nothing = well. To be said once at most.
BreakerChange settle_admission(Breaker& breaker, const Admission& admission, std::optional<ServerFailure> failure,
                               const BreakerRules& rules, std::uint64_t now_ns) noexcept;
/// A trial ended, and it tells nothing of the servers.
void give_back(Breaker& breaker, const Admission& admission) noexcept;
/// After the death of that row's process.
void give_back_trials(Breaker& breaker, std::uint32_t row) noexcept;

/// By the operator's order: whatever it was open for is over, and forgotten. False where it was closed already.
bool close_breaker(Breaker& breaker, std::uint64_t now_ns) noexcept;

/// For how long nothing will be sent for certain; 0 = it is not open.
std::chrono::nanoseconds time_shut(const Breaker& breaker, const BreakerRules& rules, std::uint64_t now_ns) noexcept;

/// For people.
struct BreakerReading {
    BreakerPhase phase;
    std::uint64_t age_ns;    ///< of the phase; of one that was never left nothing is known
    std::uint32_t good;      ///< trials of this round that ended well
    std::uint32_t openings;  ///< in a row; 0 = it was never open
    bool was_trial;          ///< the last opening was for a trial that failed
    std::uint32_t requests;  ///< of the last opening
    std::uint32_t failures;
    ServerFailure last;
};
BreakerReading read_breaker(const Breaker& breaker, std::uint64_t now_ns) noexcept;

/// Everything back to the start. The entry's owner only (master).
void clear_breaker(Breaker& breaker) noexcept;

} // namespace ladle::shm
