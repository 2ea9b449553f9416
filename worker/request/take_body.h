// SPDX-License-Identifier: Apache-2.0
//
// The step "take_body": the request's body into its spool, whole before a server is occupied, unless the route streams.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

#include <optional>

namespace ladle::worker {

/// Begins the body and, when the route buffers in full, waits until it is complete (or until the budgets cannot hold it: it is then
/// streamed). Answers 413, 408, 400, or gives up on a client that left.
loop::Task<std::optional<Answer>> take_body(Request& request);

struct BodyStep {
    bool moved = false;
    std::optional<Answer> failed;
};

/// Takes what the client has sent, as far as the spool has room. Does not wait.
BodyStep take_body_part(Request& request);

} // namespace ladle::worker
