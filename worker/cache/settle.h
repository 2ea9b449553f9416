// SPDX-License-Identifier: Apache-2.0
//
// The step "store": what becomes of a server's answer, or of its failure, with regard to the cache (RFC 9111 §3, §4.3, §4.4).
#pragma once

#include "worker/cache/visit.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

#include <optional>

namespace ladle::worker {

/// Before the server is asked: what the request says beside the client's own words. Validators of the object found, and nothing of the
/// client's conditions and ranges where the whole response is wanted (RFC 9111 §4.3.1).
void prepare_to_ask(Request& request);

enum class Settled : std::uint8_t {
    pass, ///< the response goes to the client by deliver(), or the failure by answer_error()
    again, ///< what came is of no use: look up once more
    serve  ///< request.cache->view answers it: stored, being stored, validated, or stale where nothing better is to be had
};

/// Looks at the response head in `request`, or at the failure. Takes the turn over where it begins a fill, or has no more use for it;
/// ends the claim in any case.
Settled settle(Request& request, Turn& turn, std::optional<Answer>& failed);

} // namespace ladle::worker
