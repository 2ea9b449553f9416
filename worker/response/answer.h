// SPDX-License-Identifier: Apache-2.0
//
// Answers that Ladle gives itself: error pages, and a route's `respond`.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

/// The error page for the answer (the site's, else the built-in one), if anything can still be said to the client. Sets
/// request.reason. After errors that leave the client's framing in doubt, or its body unread, the connection will be closed.
loop::Task<void> answer_error(Request& request, Answer answer);

/// The route's fixed answer.
loop::Task<void> answer_fixed(Request& request);

/// request.redirect_status to request.redirect.
loop::Task<void> answer_redirect(Request& request);

/// Any other answer of our own, from a route that would have asked a server.
loop::Task<void> answer_text(Request& request, std::uint16_t status, std::string_view text);

} // namespace ladle::worker
