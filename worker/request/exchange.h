// SPDX-License-Identifier: Apache-2.0
//
// One exchange: a request's way through the worker, as one function. See worker/README.md for the same story in prose.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

namespace ladle::worker {

/// Answers the request whose head stands complete in request.head. Afterwards request.after says what becomes of the connection.
loop::Task<void> run_exchange(Request& request);

/// Answers who spoke plain HTTP where TLS is spoken; nothing of the request is known.
loop::Task<void> run_not_tls(Request& request);

/// Answers a request whose head was refused, or did not come in time.
loop::Task<void> run_refused(Request& request, Answer answer);

} // namespace ladle::worker
