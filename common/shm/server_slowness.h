// SPDX-License-Identifier: Apache-2.0
//
// Whether a server is slow beside others: how long its answers took in the window `eject.within`, as all workers have met them. One
// word of its ServerHealth, changed by compare-and-swap, so that a death at any instruction leaves nothing half done:
//
//   │ when, 16 bits of a 64th of it │ answers, 7 bits │ sum of levels, 16 bits │ sum of squares, 25 bits │
//
// A level is the logarithm of a time, in sixteenths of a doubling above 8 µs. One answer at most counts in each 64th of the
// window, so that what is known covers it evenly: a pause that delays hundreds of requests is one answer, and a busy server costs
// no more than a calm one. Of the window before half goes on counting; what is older is forgotten.
//
// Requests are of different kinds, so servers that are alike differ by chance. A server is slower than another one if its
// mean (of logarithms) is that of a time that is so many times longer, and if chance hardly ever does that to two that are alike
// (Welch's test, with five standard errors). Where all answers are alike few suffice; the more they
// differ, on all servers, the more are needed. Server_pace.h cannot tell that: it has no spread, and its memory is of answers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace ladle::shm {

/// The most that `slow_requests` may ask for: a window has 64, and half of the one before.
inline constexpr std::uint32_t kMostTimes = 50;

/// What is known of a server in the window.
struct Times {
    std::uint32_t count = 0;   ///< of answers
    double level = 0;          ///< their mean
    double error = 0;          ///< of that mean: the square of its standard error

    std::chrono::nanoseconds typical() const noexcept;
};

/// Takes in an answer; what is known then, or nullopt where it does not count, as another one in the same instant has.
std::optional<Times> add_time(std::atomic<std::uint64_t>& word, std::chrono::nanoseconds time, std::chrono::nanoseconds within,
                              std::uint64_t now_ns) noexcept;

/// Nothing (count 0) where the last answer is older than the window before.
Times read_times(const std::atomic<std::uint64_t>& word, std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept;

/// Whether it takes at least `factor` times as long, and that is no chance.
bool is_slower(const Times& one, const Times& other, std::uint32_t factor) noexcept;

/// For people: what a server was ejected for, as one word. Up to 71 minutes each.
struct Slowness {
    std::chrono::microseconds own;
    std::chrono::microseconds others;
};
std::uint64_t pack(Slowness slowness) noexcept;
/// "slow: 812 ms against 40 ms".
std::string describe_slowness(std::uint64_t word);

} // namespace ladle::shm
