// SPDX-License-Identifier: Apache-2.0
//
// H2Share: what the requests of one HTTP/2 connection hold, in work or waiting, beside what their bodies' spools count; its part of
// [budget] requests. HTTP/1 needs none of this: a connection is one request. With HTTP/2 two hundred connections are 20 000, each
// with its frames, its server connection and the first bytes of a response that its client may never take. So past the budget a
// connection has one request in work, as one of HTTP/1 would; the others wait, and are refused when they waited for too long.
// Nobody is cut off by what others hold. Owned by the H2Connection.
#pragma once

#include "worker/delivery/spool_budget.h"

#include <cstddef>
#include <cstdint>

namespace ladle::worker {

class H2Share {
public:
    H2Share(SpoolBudget& budget, std::uint32_t client_bucket) noexcept : account_(budget, client_bucket) {}

    void add(std::size_t bytes) noexcept { account_.set(Storage::requests, bytes_ += bytes); }
    void subtract(std::size_t bytes) noexcept { account_.set(Storage::requests, bytes_ -= bytes); }
    /// Whether so much more may be held; of its own, whether another request may be begun beside others.
    bool has_room(std::size_t bytes = kBusy) noexcept { return account_.has_room(Storage::requests, bytes); }

    // What a request counts for: measured, and rounded up.
    static constexpr std::size_t kHead = 2 << 10;  ///< with its head beside it: one that waits, or is over and not closed
    static constexpr std::size_t kQuiet = 8 << 10; ///< answered, and nothing of the response waits: an event stream, a call
    static constexpr std::size_t kBusy = 32 << 10; ///< the response is still to come, or waits for its client
    static constexpr std::size_t kWaitMost = 64 << 10; ///< of heads that wait while there is no room; others are refused at once

private:
    SpoolAccount account_;
    std::size_t bytes_ = 0;
};

} // namespace ladle::worker
