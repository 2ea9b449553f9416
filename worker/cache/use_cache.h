// SPDX-License-Identifier: Apache-2.0
//
// The step "use_cache": the part of an exchange that goes through the cache. look up → serve, or wait for another's fetch and look again,
// or ask a server → store → serve.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>

namespace ladle::worker {

/// How it ended: answered, failed, or (neither) with a response in `request` that is to be delivered from the turn.
struct Cached {
    std::optional<Answer> failed;
    bool is_answered = false;
};

/// For a request whose route caches, in a worker that has a cache.
loop::Task<Cached> use_cache(Request& request, Turn& turn);

} // namespace ladle::worker
