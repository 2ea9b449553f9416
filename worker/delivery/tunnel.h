// SPDX-License-Identifier: Apache-2.0
//
// The step "tunnel": after a 101, bytes both ways until one side ends, without looking at them.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Sends the 101 and carries bytes both ways, at most 64 KiB waiting in each direction. Ends when both sides have, when one fails,
/// or after timeouts.tunnel of silence.
loop::Task<void> tunnel(Request& request, Turn& turn);

} // namespace ladle::worker
