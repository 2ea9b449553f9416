// SPDX-License-Identifier: Apache-2.0
//
// Alarm: a deadline that wakes a coroutine and remembers that it rang. A session has one; each step sets it for what it waits for.
#pragma once

#include "common/loop/loop.h"
#include "common/loop/task.h"

#include <chrono>

namespace ladle::worker {

class Alarm {
public:
    explicit Alarm(loop::Wake& wake) noexcept : wake_(wake), deadline_(wake.loop(), &Alarm::on_deadline, this) {}

    /// Rings `delay` from now; forgets an earlier ring.
    void set(std::chrono::milliseconds delay) noexcept
    {
        rang_ = false;
        deadline_.set(wake_.loop().now() + loop::to_nanos(delay));
    }
    void clear() noexcept
    {
        rang_ = false;
        deadline_.clear();
    }
    bool rang() const noexcept { return rang_; }
    bool is_set() const noexcept { return deadline_.at() != loop::kNever; }

private:
    static void on_deadline(void* self)
    {
        auto& alarm = *static_cast<Alarm*>(self);
        alarm.rang_ = true;
        alarm.wake_.kick_later();
    }
    loop::Wake& wake_;
    loop::Deadline deadline_;
    bool rang_ = false;
};

} // namespace ladle::worker
