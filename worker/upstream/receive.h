// SPDX-License-Identifier: Apache-2.0
//
// The step "receive": the head of the server's response, with the interim (1xx) responses before it, which are passed on to the
// client.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>

namespace ladle::worker {

struct Received {
    std::optional<Answer> failed;
    Repeat repeat = Repeat::never; ///< of a failure
    bool is_outrun = false;        ///< failed, as the hedge was quicker
};

/// Fills request.response (its status may be 101 if the client asked for an upgrade) and turn.body. Waits for the server's first
/// byte as long as timeouts.response says. More than 16 interim responses, a 101 that nobody asked for, an interim response with a
/// body: 502.
loop::Task<Received> receive(Request& request, Turn& turn);

enum class Heard : std::uint8_t { nothing, answer, end, unprocessed };

/// While the request is still being sent: passes interim responses on, and finds out whether the final answer begins (left unread
/// for receive()) or the server has closed, or has refused the request unprocessed. Does not wait.
Heard hear_early(Request& request, Turn& turn);

enum class Continue : std::uint8_t { go_on, final_answer, server_gone, client_gone, unprocessed };

/// After a head with "Expect: 100-continue" was passed on: waits for the server's 100, or a second (RFC 9110 §10.1.1: not
/// indefinitely), and tells the client to go on; or finds that the final answer is there, left unread for receive(), or that a side
/// is gone.
loop::Task<Continue> await_continue(Request& request, Turn& turn);

} // namespace ladle::worker
