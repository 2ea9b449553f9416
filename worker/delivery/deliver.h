// SPDX-License-Identifier: Apache-2.0
//
// The step "deliver": the response, from the server as fast as it sends, to the client as fast as it takes. What the client cannot
// take at once waits in the spool, so that the server is free again as soon as it has said everything.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/response/response_writer.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Sends request.response and its body. Sets request.after and request.reason. A response that does not reach its own end is never
/// shown as whole: the client's connection is cut.
loop::Task<void> deliver(Request& request, Turn& turn);

/// The same, from the middle of a body on: its head was sent with `form`, `rest` has been received and not sent.
loop::Task<void> deliver_rest(Request& request, Turn& turn, Chain rest, BodyForm form);

} // namespace ladle::worker
