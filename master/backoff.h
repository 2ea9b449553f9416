// SPDX-License-Identifier: Apache-2.0
//
// How fast crashed children are replaced. At once, until kMany crashes fall within kWithin: that is a crash loop. From then on it
// depends on whether siblings serve meanwhile. They do: after kSpacing, for a request that kills its worker must not be able to
// take the whole proxy down for long by being sent a few times. They do not, or the child died before it was ready: after 1 s, 2 s,
// 4 s … 30 s, until a minute has gone by without a crash. One for the workers together, one for the caretaker. Pure: time comes in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace ladle::master {

/// Whether others do the dead child's work.
enum class Siblings : std::uint8_t { serve, none };

class Backoff {
public:
    using Nanos = std::uint64_t;
    static constexpr std::size_t kMany = 5;
    static constexpr Nanos kWithin = 10'000'000'000;
    static constexpr Nanos kSpacing = 100'000'000;
    static constexpr Nanos kFirstDelay = 1'000'000'000;
    static constexpr Nanos kMaxDelay = 30'000'000'000;
    static constexpr Nanos kCalm = 60'000'000'000;

    /// A child crashed at `now`.
    void on_crash(Nanos now, Siblings siblings)
    {
        ++total_;
        if (now - last_ > kCalm) {
            delay_ = 0;
        }
        last_ = now;
        crashes_.push_back(now);
        drop_old(now);
        if (siblings == Siblings::serve) {
            not_before_ = std::max(not_before_, now + (crashes_.size() >= kMany ? kSpacing : 0));
            return;
        }
        if (delay_ != 0) {
            delay_ = std::min(delay_ * 2, kMaxDelay);
        } else if (crashes_.size() >= kMany) {
            delay_ = kFirstDelay;
        }
        not_before_ = now + delay_;
    }

    /// When the next replacement may start.
    Nanos not_before() const { return not_before_; }
    bool is_crash_loop(Nanos now) const
    {
        const bool is_frequent = crashes_.size() >= kMany && now - crashes_[crashes_.size() - kMany] <= kWithin;
        return is_frequent || (delay_ != 0 && now - last_ <= kCalm);
    }
    std::uint64_t total() const { return total_; }
    /// A new configuration or binary deserves a new try.
    void forgive()
    {
        crashes_.clear();
        delay_ = 0;
        not_before_ = 0;
    }

    /// Crashes counted by a former image of the master.
    void add_former(std::uint64_t total) { total_ += total; }

private:
    void drop_old(Nanos now)
    {
        while (now - crashes_.front() > kWithin) {
            crashes_.pop_front();
        }
    }

    std::deque<Nanos> crashes_;
    Nanos last_ = 0;
    Nanos delay_ = 0;
    Nanos not_before_ = 0;
    std::uint64_t total_ = 0;
};

} // namespace ladle::master
