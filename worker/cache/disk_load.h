// SPDX-License-Identifier: Apache-2.0
//
// The step "load": what memory has not, but the disk has, is brought into memory, where it is found and judged like everything
// else. The request that claimed it opens the file and checks its header; the body then follows block by block, each compared with
// its hash before a byte of it is to be seen, as an Errand that goes on without the request. Readers stream from it as from any
// fill. A block that is not what was written ends the object as aborted, and its file goes. Of what is too large for memory only a
// stub is made, and the body is served from the file (disk_source.h).
#pragma once

#include "common/loop/task.h"
#include "common/shm/disk_object.h"
#include "worker/request/request.h"

namespace ladle::worker {

/// Whether the disk has what the visit's name says, and no purge has touched it.
bool is_on_disk(CacheVisit& visit);

/// This request looks no more for anything on disk.
void avoid_disk(CacheVisit& visit) noexcept;
bool avoids_disk(const CacheVisit& visit) noexcept;

/// Whether the file is the one that was asked for, which only another's hand could change.
bool is_asked_for(const CacheVisit& visit, const shm::DiskObject& object) noexcept;

/// Whether an errno tells of what this process has not, and nothing of the file.
bool is_for_want(int code) noexcept;

/// Precondition: Found::load, the visit holds the claim. Ends the claim; look up again, whatever came of it.
loop::Task<void> load_from_disk(Request& request);

} // namespace ladle::worker
