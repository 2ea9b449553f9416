// SPDX-License-Identifier: Apache-2.0
//
// The leaving of a child process: once begun it goes on until nothing is under way or the limit is reached. An alarm() stands
// behind it, so that a process whose loop hangs while it drains does not outlive a master that is gone. Owned by a role file.
#pragma once

#include "common/loop/loop.h"

#include <unistd.h>

#include <chrono>
#include <cstddef>

namespace ladle::worker {

class Drain {
public:
    /// Begins; false if it had begun already, then only an earlier limit counts.
    bool start(loop::Nanos now, std::chrono::milliseconds limit) noexcept
    {
        const loop::Nanos end = now + loop::to_nanos(limit);
        if (is_started() && end_ <= end) {
            return false;
        }
        const bool is_first = !is_started();
        end_ = end;
        ::alarm(static_cast<unsigned>(limit.count() / 1000) + 5);
        return is_first;
    }
    bool is_started() const noexcept { return end_ != loop::kNever; }
    bool is_over(std::size_t still_open, loop::Nanos now) const noexcept { return still_open == 0 || now >= end_; }

private:
    loop::Nanos end_ = loop::kNever;
};

} // namespace ladle::worker
