// SPDX-License-Identifier: Apache-2.0
//
// What one request tells of its server, to the limit that finds itself (`adaptive`) and to who ejects slow ones (`eject.slow`): how
// long its answer took from the last byte of the request on, as before that it may wait for the client; or that the server has too
// much to do. In the worker; costs a look at the settings where both are off.
#pragma once

#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <cstdint>

namespace ladle::worker {

/// What an answer's head says of the server's load. Nothing: it is an error, which is quick, and 429 may be a client's own quota.
enum class AnswerLoad : std::uint8_t { work, nothing, overload };
/// gRPC's RESOURCE_EXHAUSTED and UNAVAILABLE, where the head has them, are overload. 502, 503 and 504 are told of as failures.
AnswerLoad answer_load(const http::ResponseHead& response) noexcept;

/// The server has answered, and not with a failure.
inline void note_answer(const Request& request, const Turn& turn, loop::Nanos now) noexcept
{
    if (!turn.upstream->are_answers_timed()) {
        return;
    }
    const AnswerLoad load = answer_load(request.response);
    if (load == AnswerLoad::overload) {
        turn.upstream->report_overload(turn.member, now);
    } else if (load == AnswerLoad::work && turn.sent != 0 && request.times.response > turn.sent) {
        const loop::Nanos time = request.times.response - turn.sent;
        turn.upstream->report_answer_time(turn.member, time, now);
        if (request.response.status < 400) { // an error's quickness would make the other servers slow
            turn.upstream->report_speed(turn.member, time, now);
        }
    }
}

/// Nobody waits for the answer any more. Nothing where the server had not all of the request.
inline void note_abandoned(const Turn& turn, loop::Nanos now) noexcept
{
    if (turn.sent != 0 && now > turn.sent) {
        turn.upstream->report_abandoned(turn.member, now - turn.sent, now);
    }
}

} // namespace ladle::worker
