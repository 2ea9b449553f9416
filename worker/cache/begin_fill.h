// SPDX-License-Identifier: Apache-2.0
//
// Part of the step "store": makes an object of a server's response and sets its body on the way.
#pragma once

#include "common/http/freshness.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Stores the response: request.cache->view is the new object, complete or being filled, and the turn belongs to its Fill. False: the
/// cache takes no such object now (visit.detail says why), and the turn is untouched.
bool begin_fill(Request& request, Turn& turn, const http::StoreDecision& decision, const http::ResponseDirectives& directives);

/// Bytes of the response's body, kBodyUnknown where the server does not say.
std::uint64_t announced_bytes(const Turn& turn) noexcept;

} // namespace ladle::worker
