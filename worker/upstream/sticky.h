// SPDX-License-Identifier: Apache-2.0
//
// Sticky cookies (`sticky` of an upstream): a client that was given one comes back to the server that it names, while that one
// works; draining servers keep their clients. The cookie is ours: servers are not sent it, the cache does not see it, and a
// response that a shared cache may keep does not carry it. A value that names no server of the upstream is nobody's.
#pragma once

#include "worker/net/head_text.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Room for write_sticky_cookie().
inline constexpr std::size_t kStickyBytes = 192;

/// Notes whom the client had, and takes the cookie out of the request's fields, in their bytes. Precondition: it has an upstream.
void take_sticky_cookie(Request& request);

/// After `turn` has brought a response: decides whether the client is to come back to this server.
void settle_sticky_cookie(Request& request, Turn& turn);

/// The Set-Cookie line, where there is one.
void write_sticky_cookie(HeadText& text, const Request& request);

} // namespace ladle::worker
