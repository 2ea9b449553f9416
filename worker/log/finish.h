// SPDX-License-Identifier: Apache-2.0
//
// The step "finish": counts the request and writes its line in the access log.
#pragma once

#include "worker/request/request.h"

namespace ladle::worker {

void finish(Request& request);

} // namespace ladle::worker
