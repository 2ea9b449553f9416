// SPDX-License-Identifier: Apache-2.0
//
// The step "find_route": the site by host name, the route by the first match, and what follows from it alone: the path that the
// server gets, where the client is sent, which upstream of a split it has.
#pragma once

#include "worker/request/request.h"

#include <optional>

namespace ladle::worker {

/// Sets site and route, or where the client should go instead (request.redirect); 404 if there is none, 413 where the announced
/// body is over the route's limit.
std::optional<Answer> find_route(Request& request);

} // namespace ladle::worker
