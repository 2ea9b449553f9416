// SPDX-License-Identifier: Apache-2.0
//
// The fetch that no client waits for: the validation of a stale response that was served (stale-while-revalidate, RFC 5861 §3), or
// one that brings to disk what is too large for memory. A request of its own, made of the one that caused it, and an Errand.
#pragma once

#include "worker/request/request.h"

namespace ladle::worker {

/// Validates request.cache->view, unless somebody is at it or too much is under way. GET only.
void revalidate_in_background(Request& request);

/// Fetches the whole of what `request` asks for and writes it to disk, unless somebody is at it (hash: hash_of_large()), lately
/// nothing came of it, or too much is under way. The request wants it from then on, whoever fetches it.
void fetch_to_disk_in_background(Request& request, const shm::CacheHash& hash);

} // namespace ladle::worker
