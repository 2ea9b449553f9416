// SPDX-License-Identifier: Apache-2.0
//
// Preference: what one request asks of the choice of a server: the key that `hash` goes by, and the server that its client had.
#pragma once

#include "worker/request/request.h"
#include "worker/upstream/upstream.h"

namespace ladle::worker {

/// Precondition: the request's route and upstream are known.
Preference preference_of(const Request& request, const Upstream& upstream);

} // namespace ladle::worker
