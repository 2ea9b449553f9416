// SPDX-License-Identifier: Apache-2.0
//
// The pace of a server: how long it takes to answer, as all workers have met it. Two words of its ServerHealth, each changed by
// compare-and-swap, so that a death at any instruction leaves nothing half done:
//
//   │ when, 34 bits of 2^20 ns │ answers so far, 63 at most │ level, 24 bits: the logarithm of the time, 18 behind the point │
//
// typical: a mean of logarithms over the last 64 answers or so, or 10 s where they are fewer. One report of ten seconds among
//          pages of five milliseconds moves it by an eighth: it tells a slow server from a slow request. Before the
//          eighth answer it is not known: the first may well be slow, and it would leave the server without a second.
// peak:    what one answer took, sinking towards those that follow over 10 s ("peak EWMA", as Finagle has it): nervous on purpose.
//
// A failure is no answer: it counts as if it had taken longer than what is known, so that a server that fails at once does not draw
// requests by looking quick and idle. Of a server that has not been asked for 5 s longer than another one the time halves every
// 5 s, until it counts as good as the quickest that is asked, and no better: else, when it is back, it would get everything until
// its first answer. The logarithm is linear between powers of two: no call into libm, and within 9 %.
#pragma once

#include "common/shm/server_health.h"

#include <chrono>
#include <cstdint>
#include <limits>

namespace ladle::shm {

/// Counts an answer that took so long.
void add_pace(ServerHealth& health, std::chrono::nanoseconds time, std::uint64_t now_ns) noexcept;
/// Counts a request that was given up after so long, unanswered: tells something only where that is more than is known.
void add_unanswered_pace(ServerHealth& health, std::chrono::nanoseconds time, std::uint64_t now_ns) noexcept;
/// Counts a request that failed.
void add_failed_pace(ServerHealth& health, std::uint64_t now_ns) noexcept;

struct Pace {
    std::int64_t idle = std::numeric_limits<std::int64_t>::max(); ///< 2^20 ns since the last answer; that much = nothing is known
    std::int64_t level = 0;

    bool is_known() const noexcept { return idle != std::numeric_limits<std::int64_t>::max(); }
};

Pace typical_pace(const ServerHealth& health, std::uint64_t now_ns) noexcept;
Pace peak_pace(const ServerHealth& health, std::uint64_t now_ns) noexcept;

/// Whether the server has not been asked for so much longer than the one with the least `idle` that its time is no news.
bool is_forgiven(const Pace& pace, std::int64_t least_idle) noexcept;
/// In ns, halved where it is forgiven; 0 = nothing is known.
std::uint64_t time_of(const Pace& pace, std::int64_t least_idle = 0) noexcept;

} // namespace ladle::shm
