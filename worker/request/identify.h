// SPDX-License-Identifier: Apache-2.0
//
// The step "identify": who the client is (the peer, or what a trusted proxy in front of us says), and the request's id.
#pragma once

#include "worker/request/request.h"

namespace ladle::worker {

/// Sets client_address, scheme, is_trusted_peer, client_bucket and id. Forwarded fields are believed only from [trust] addresses: then the
/// client is the last address in X-Forwarded-For (or Forwarded) that is not itself trusted.
/// The id is the X-Request-Id that came, if it is at most 128 letters, digits and "-._~", from whomever: it correlates, it proves nothing;
/// else 128 random bits.
void identify(Request& request);

} // namespace ladle::worker
