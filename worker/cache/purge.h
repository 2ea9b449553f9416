// SPDX-License-Identifier: Apache-2.0
//
// The step "purge": the method PURGE of a route that caches, for the addresses that the route lets.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

#include <optional>

namespace ladle::worker {

inline bool is_purge(const Request& request) noexcept { return request.head.method_text() == "PURGE"; }

/// Purges the request's URL, every variant of it, in all workers at once; with "Soft-Purge: 1" it only becomes stale. An answer = the
/// client may not, or it could not be done.
loop::Task<std::optional<Answer>> purge(Request& request);

} // namespace ladle::worker
