// SPDX-License-Identifier: Apache-2.0
//
// How many steps of handshakes a worker takes in one turn of its loop: each costs as much as fifty requests, so a flood of new
// connections must not keep the others waiting. Owned by the Front; whoever is not let through asks again in the next turn.
#pragma once

#include "common/loop/loop.h"

namespace ladle::worker {

class HandshakeGate {
public:
    static constexpr unsigned kMostInTurn = 8; // 2 to 6 ms

    /// `now` is the loop's, which is the same all through a turn.
    bool try_pass(loop::Nanos now) noexcept
    {
        if (now != turn_) {
            turn_ = now;
            passed_ = 0;
        }
        return passed_++ < kMostInTurn;
    }

private:
    loop::Nanos turn_ = 0;
    unsigned passed_ = 0;
};

} // namespace ladle::worker
