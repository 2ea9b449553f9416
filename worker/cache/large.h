// SPDX-License-Identifier: Apache-2.0
//
// Responses that are too large for memory and not for the disk tier: when they are worth a fetch in the background that writes the
// whole of one to disk (background.h, disk_fetch.h). The requests themselves pass through; none waits for it.
#pragma once

#include "common/http/freshness.h"
#include "worker/request/request.h"

#include <cstdint>

namespace ladle::worker {

/// A whole response of this length has come, for which memory has no room. Begins a fetch in the background where the disk is to
/// have it. True: this request is one of the background itself, and writes it to disk (visit.large_claim is its claim). `bytes`: 0 where
/// that is not known.
bool see_large(Request& request, std::uint64_t bytes, const http::StoredFreshness& freshness);

/// The body turned out to be more than memory takes after `so_far` bytes: its length had not been announced. The same; the request
/// passes the rest on.
void see_large_unannounced(Request& request, std::uint64_t so_far);

/// A 206 has come: the same, if the whole that it is a part of is too large for memory.
void see_part_of_large(Request& request, const http::StoredFreshness& freshness);

/// The request is over. If it did not get what it asked for, or only some bytes, a fetch that it began, or that was under way, goes on
/// no longer for its sake.
void leave_large(Request& request) noexcept;

/// Under what the fetch of a large object is claimed, and the requests for it are counted: what others wait for, and what min_uses
/// counts, is something else.
shm::CacheHash hash_of_large(const shm::CacheHash& hash) noexcept;

} // namespace ladle::worker
