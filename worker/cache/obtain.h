// SPDX-License-Identifier: Apache-2.0
//
// Part of the step "use_cache": gets the object that answers a request which look_up() did not find, by waiting or by asking a server.
#pragma once

#include "common/loop/task.h"
#include "worker/cache/visit.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>

namespace ladle::worker {

struct Obtained {
    std::optional<Answer> failed;
    bool has_object = false; ///< request.cache->view; else (without a failure) the response is in `request`, its body in the turn
};

/// `found`: what look_up() has said, and not hit. Waits for another's fetch and looks again; asks a server and stores what it says.
loop::Task<Obtained> obtain(Request& request, Turn& turn, Found found);

} // namespace ladle::worker
