// SPDX-License-Identifier: Apache-2.0
//
// The first step of every connection to a server, a request's or a health check's. In workers and the caretaker.
#pragma once

#include "worker/upstream/server_connection.h"

namespace ladle::worker {

/// Begins to connect; `news` is posted when something happens, and the socket's first writability is the connect's end. An error
/// number where it ended at once, else 0.
int begin_connect(loop::Loop& loop, ServerConnection& connection, const sockaddr_storage& address, socklen_t length,
                  loop::Posted& news);

/// Whether an error of it tells of us, not of the server: no descriptor, port or memory is left.
bool is_own_want(int code) noexcept;

} // namespace ladle::worker
