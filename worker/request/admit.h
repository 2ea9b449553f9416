// SPDX-License-Identifier: Apache-2.0
//
// The step "admit": is this a request that we understand in exactly one way? Framing, target, Host, expectations, hop-by-hop
// fields.
#pragma once

#include "worker/request/request.h"

#include <optional>

namespace ladle::worker {

/// Fills in target, framing, authority, host, path and the flags of the request; or says which error to answer.
std::optional<Answer> admit(Request& request);

/// The answer to a head that the parser refused.
Answer answer_for(http::HeadError error) noexcept;

} // namespace ladle::worker
