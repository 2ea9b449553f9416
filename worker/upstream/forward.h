// SPDX-License-Identifier: Apache-2.0
//
// The step "forward": sends the request's head and body to the server.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>

namespace ladle::worker {

struct Forwarded {
    std::optional<Answer> failed;
    Repeat repeat = Repeat::never; ///< of a failure
    bool is_outrun = false;        ///< failed, as the hedge was quicker
};

/// Sends all, or up to where the server begins to answer (turn.request_complete tells which; turn.upload is what is still to be
/// sent, where that goes on). A body that is still being received
/// is passed on as it comes. May wait for: the server taking bytes, the client sending them, a 100 (a second at the most).
loop::Task<Forwarded> forward(Request& request, Turn& turn);

} // namespace ladle::worker
