// SPDX-License-Identifier: Apache-2.0
//
// The step "ask_servers": choose a server, get a connection, send the request, receive the response's head; again where that is
// safe.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>

namespace ladle::worker {

/// Fills `turn` and request.response, with the response's body still to be received; or says which error to answer. May wait for: a
/// place in the queue, a connect, the server taking the request, the client sending its body, the server's first byte.
///
/// Tried again: a connect that failed (any request, another server), and a kept connection that closed before any byte of an answer
/// came (idempotent requests only, RFC 9110 §9.2.2, on a fresh connection). A request that a server says it has not processed
/// (HTTP/2: GOAWAY, REFUSED_STREAM) is sent again whatever its method.
/// `avoided`: servers that it is not sent to; null = none.
loop::Task<std::optional<Answer>> ask_servers(Request& request, Turn& turn, const Tried* avoided = nullptr);

/// Counts a failure against the chosen server; says in the log where it is left alone for it.
void report_failure(const Request& request, const Turn& turn, shm::ServerFailure failure);

} // namespace ladle::worker
