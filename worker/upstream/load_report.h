// SPDX-License-Identifier: Apache-2.0
//
// What responses say of the load of their server (orca.h), where the upstream asks for it: taken from the fields, told to the
// upstream, and not passed on.
#pragma once

#include "common/http/fields.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Takes the reports from the head of a final response, or from its trailers.
void take_load_report(Request& request, const Turn& turn, http::Fields& fields);

} // namespace ladle::worker
