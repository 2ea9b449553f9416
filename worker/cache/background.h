// SPDX-License-Identifier: Apache-2.0
//
// The fetch that no client waits for: the validation of a stale response that was served (stale-while-revalidate, RFC 5861 §3). A request
// of its own, made of the one that caused it, and an Errand.
#pragma once

#include "worker/request/request.h"

namespace ladle::worker {

/// Validates request.cache->view, unless somebody is at it or too much is under way. GET only.
void revalidate_in_background(Request& request);

} // namespace ladle::worker
