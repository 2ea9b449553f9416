// SPDX-License-Identifier: Apache-2.0
//
// How fast crashed children are replaced: at once, until kMany crashes fall within kWithin; from then on after 1 s, 2 s, 4 s … 30 s,
// until a minute has gone by without a crash. One for the workers together, one for the caretaker. Pure: time comes in.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace ladle::master {

class Backoff {
public:
    using Nanos = std::uint64_t;
    static constexpr std::size_t kMany = 5;
    static constexpr Nanos kWithin = 10'000'000'000;
    static constexpr Nanos kFirstDelay = 1'000'000'000;
    static constexpr Nanos kMaxDelay = 30'000'000'000;
    static constexpr Nanos kCalm = 60'000'000'000;

    /// A child crashed at `now`.
    void on_crash(Nanos now)
    {
        ++total_;
        if (now - last_ > kCalm) {
            delay_ = 0;
        }
        last_ = now;
        crashes_.push_back(now);
        while (now - crashes_.front() > kWithin) {
            crashes_.pop_front();
        }
        if (delay_ != 0) {
            delay_ = delay_ * 2 < kMaxDelay ? delay_ * 2 : kMaxDelay;
        } else if (crashes_.size() >= kMany) {
            delay_ = kFirstDelay;
        }
        not_before_ = now + delay_;
    }

    /// When the next replacement may start.
    Nanos not_before() const { return not_before_; }
    bool is_crash_loop(Nanos now) const { return delay_ != 0 && now - last_ <= kCalm; }
    std::uint64_t total() const { return total_; }
    Nanos delay() const { return delay_; }
    /// A new configuration or binary deserves a new try.
    void forgive()
    {
        crashes_.clear();
        delay_ = 0;
        not_before_ = 0;
    }

private:
    std::deque<Nanos> crashes_;
    Nanos last_ = 0;
    Nanos delay_ = 0;
    Nanos not_before_ = 0;
    std::uint64_t total_ = 0;
};

} // namespace ladle::master
