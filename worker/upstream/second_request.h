// SPDX-License-Identifier: Apache-2.0
//
// SecondRequest: a request that asks servers for the same as another one while that is in work, with a turn of its own and a client
// that is nobody: a copy for a mirror, a hedge. It goes through ask_servers() like any other. Its owner runs that, and destroys the
// task before this.
#pragma once

#include "worker/client/connection.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <cstdint>

namespace ladle::worker {

struct SecondRequest {
    /// Shares the head and the body of `cause`. Precondition: that has no body, or one that may be shared.
    SecondRequest(const Request& cause, RequestKind kind, std::uint32_t upstream);

    ClientConnection nobody; ///< without a socket: nothing is said to it
    Request request;
    Turn turn;
};

} // namespace ladle::worker
