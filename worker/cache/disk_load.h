// SPDX-License-Identifier: Apache-2.0
//
// The step "load": what memory has not, but the disk has, is brought into memory, where it is found and judged like everything else.
// The request that claimed it opens the file and checks its header; the body then follows block by block, each compared with its hash
// before a byte of it is to be seen, as an Errand that goes on without the request. Readers stream from it as from any fill. A block
// that is not what was written ends the object as aborted, and its file goes.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

namespace ladle::worker {

/// Whether the disk has what the visit's name says, and no purge has touched it.
bool is_on_disk(CacheVisit& visit);

/// Precondition: Found::load, the visit holds the claim. Ends the claim; look up again, whatever came of it.
loop::Task<void> load_from_disk(Request& request);

} // namespace ladle::worker
