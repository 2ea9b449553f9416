// SPDX-License-Identifier: Apache-2.0
//
// A second request that asks for the same, for work that goes on without the client: a fetch in the background, a copy for a
// mirror.
#pragma once

#include "worker/request/request.h"

namespace ladle::worker {

/// Makes `to`, a new one of the same configuration, what identify, admit and find_route have made of `from`: head, client, route.
/// It shares the block that the texts stand in. Not the body, nor what concerns cache, stickiness and response.
void copy_request(const Request& from, Request& to);

} // namespace ladle::worker
