// SPDX-License-Identifier: Apache-2.0
//
// The step "connect" where servers speak HTTP/2: a stream on a connection that there is, or on a new one.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/connect.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Sets turn.stream. Waits at most the connect timeout for a place on a connection that others make, and again for the first words
/// of one that it makes itself.
loop::Task<Connected> join(Request& request, Turn& turn);

} // namespace ladle::worker
