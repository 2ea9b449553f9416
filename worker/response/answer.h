// SPDX-License-Identifier: Apache-2.0
//
// Answers that Ladle gives itself: error pages, and a route's `respond`.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

namespace ladle::worker {

/// The error page for the answer (the site's, else the built-in one), if anything can still be said to the client. Sets request.reason.
/// After errors that leave the client's framing in doubt, or its body unread, the connection will be closed.
loop::Task<void> answer_error(Request& request, Answer answer);

/// The route's fixed answer.
loop::Task<void> answer_fixed(Request& request);

} // namespace ladle::worker
