// SPDX-License-Identifier: Apache-2.0
//
// The step "mirror": where the route has a `mirror`, a copy of the request goes to that upstream as well, and its answer is
// dropped. A copy is a request of its own, with its own connection and time limits; it shares the client's bytes, and from here
// on the two know nothing of each other. It is chosen a server as every request is (health, max_conn, method), but waits in no
// queue, goes to no server that is out, and is not tried again elsewhere.
//
// Copied is what goes to a server: what the cache answers is not (nginx mirrors those too), so that a mirror meets what the
// servers meet. Never copied are requests for another protocol (Upgrade); nor bodies that are passed on as they come, as a slow
// mirror would hold them up, or that memory had no room for, as a copy reads no disk.
#pragma once

#include "worker/request/request.h"

namespace ladle::worker {

/// Begins a copy, or counts why there is none. The copy itself begins in the loop's next turn, behind the client's own request.
/// Precondition: take_body() has ended well.
void mirror(Request& request);

} // namespace ladle::worker
