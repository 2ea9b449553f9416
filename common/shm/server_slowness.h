// SPDX-License-Identifier: Apache-2.0
//
// Whether a server is slow beside others: how long its answers took in the window `eject.within`, as all workers have met them. A
// ring of slices, each a 16th of the window and one word, changed by compare-and-swap, so that a death at any instruction leaves
// nothing half done:
//
//   │ when, 30 bits of a 64th of the window │ answers, 3 bits │ sum of levels, 11 bits │ sum of squares, 20 bits │
//
// A level is the logarithm of a time, in sixteenths of a doubling above 8 µs. One answer at most counts in each 64th of the
// window, so that what is known covers it evenly: a pause that delays hundreds of requests is one answer, and a busy server costs
// no more than a calm one.
//
// Two servers are compared slice by slice, over those in which both have answered: so what makes all slow for a while (a database
// behind them) makes none slower than another one, even if one of them has answered nothing before.
//
// Requests are of different kinds, so servers that are alike differ by chance. A server is slower than another one if its
// mean (of logarithms) is that of a time that is so many times longer, and if chance hardly ever does that to two that are alike:
// five standard errors of the difference, by the spread of the answers of both together (the score test, stratified as Cochran's).
// By that spread, not by each one's own, few answers that happen to be alike prove nothing: of as many each it takes 13. Where
// all answers of all servers are alike few suffice; the more they differ, the more are needed. Server_pace.h cannot tell that: it
// has no spread, and its memory is of answers.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace ladle::shm {

inline constexpr std::uint32_t kSlices = 16;
/// The most that `slow_requests` may ask for: a window has 60 that are over, and what there is of the slice under way.
inline constexpr std::uint32_t kMostTimes = 50;

struct TimesRing {
    std::array<std::atomic<std::uint64_t>, kSlices> slices;
};

/// What is known of a server in the window.
struct Times {
    struct Slice {
        std::uint32_t number = 0; ///< since the clock began, in slices
        std::uint32_t count = 0;  ///< of answers; 0 = nothing is known
        std::uint32_t sum = 0;
        std::uint32_t squares = 0;
    };
    std::array<Slice, kSlices> slices;
};

/// Takes in an answer; false where it does not count, as another one in the same instant has.
bool add_time(TimesRing& ring, std::chrono::nanoseconds time, std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept;

/// The window up to now, without what began before `from_ns`.
Times read_times(const TimesRing& ring, std::chrono::nanoseconds within, std::uint64_t now_ns, std::uint64_t from_ns = 0) noexcept;

void forget_times(TimesRing& ring) noexcept;

/// Of all answers in a window.
struct Pooled {
    std::uint32_t count = 0;
    double level = 0;    ///< their mean
    double variance = 0; ///< of one answer

    std::chrono::nanoseconds typical() const noexcept;
};
Pooled pool(const Times& times) noexcept;

/// One server beside another, in the slices that both have.
struct Difference {
    std::uint32_t count = 0; ///< answers of the one that has fewer
    double level = 0;        ///< the mean of the first one
    double apart = 0;        ///< by so much that is above the other's
    double error = 0;        ///< of `apart`: the square of its standard error

    std::chrono::nanoseconds own() const noexcept;
    std::chrono::nanoseconds others() const noexcept;
};
Difference compare(const Times& one, const Times& other) noexcept;

/// Whether the first one takes at least `factor` times as long, and that is no chance.
bool is_slower(const Difference& difference, std::uint32_t factor) noexcept;

/// Whether one answer is too slow for those: `factor` times as long as the typical one, and longer than all but a fifth at most,
/// however they are spread (Cantelli: two standard deviations above their mean).
bool is_too_slow(std::chrono::nanoseconds time, const Pooled& others, std::uint32_t factor) noexcept;

/// For people: what a server was ejected for, as one word. Up to 71 minutes each.
struct Slowness {
    std::chrono::microseconds own;
    std::chrono::microseconds others;
};
std::uint64_t pack(Slowness slowness) noexcept;
Slowness unpack_slowness(std::uint64_t word) noexcept;
/// "slow: 812 ms against 40 ms".
std::string describe_slowness(std::uint64_t word);

} // namespace ladle::shm
