// SPDX-License-Identifier: Apache-2.0
//
// The step "await_handshake": a request in early data (TLS 1.3, 0-RTT) may be a replay of what somebody has recorded, until its
// client ends the handshake (RFC 8470). What a replay could do harm with waits for that.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

#include <cstdint>
#include <optional>

namespace ladle::worker {

/// What the request risks where its client may not have meant it now.
enum class Replay : std::uint8_t {
    harmless_if_safe, ///< nothing, for GET, HEAD and OPTIONS without a body, of a site that takes early data: they do not wait
    refused,          ///< a server has said so
};

/// Waits until the client has ended the handshake, at most `timeouts.handshake`: else 425.
loop::Task<std::optional<Answer>> await_handshake(Request& request, Replay replay = Replay::harmless_if_safe);

} // namespace ladle::worker
