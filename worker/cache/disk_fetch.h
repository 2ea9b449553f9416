// SPDX-License-Identifier: Apache-2.0
//
// Writing to the disk tier what is too large for memory: the body of a response goes into its file as it comes from its server, in
// steps, in the pool of threads; one step is being written while the next one comes, and then the server has to wait. The file gets
// its header and its name, and its place in the index, once it is whole; then memory gets a stub of it. What is cut off, purged,
// made invalid or replaced in between is thrown away, and so is an unfinished file, by whoever unlinks dead files.
//
// It goes on for the sake of those who asked for the object meanwhile and are being answered, or were: FillTable::is_wanted(). When
// all of them have left before their end, object.finish bounds what it still costs the server; a player that leaves to go on
// elsewhere in the film has come back by then.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"
#include "worker/upstream/turn.h"

namespace ladle::worker {

/// Writes the response whose head is in `request` and whose body is in `turn`: request.cache->large says as what. Precondition: the
/// request is one of the background, and request.cache->large_claim is its own; it is ended where all of the body came, or nobody
/// wanted that any more.
loop::Task<void> write_as_it_comes(Request& request, Turn& turn);

} // namespace ladle::worker
