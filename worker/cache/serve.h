// SPDX-License-Identifier: Apache-2.0
//
// The step "serve": answers a request with a stored object, or one that is just being stored, straight from where it lies.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

enum class Served : std::uint8_t {
    done,
    again, ///< the object was gone before its first byte: nothing was said to the client, look up again
};

/// Sends what request.cache->view gives for this request: 200, 206, 304, 412 or 416 (RFC 9110 §13, §14), with Age and Cache-Status
/// (RFC 9111 §5.1, RFC 9211). Waits for the client, and for bytes that are still being stored. `turn`: for what its own Fill hands back.
loop::Task<Served> serve(Request& request, Turn& turn);

} // namespace ladle::worker
