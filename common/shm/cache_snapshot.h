// SPDX-License-Identifier: Apache-2.0
//
// An arena as a file, so that the disk tier's index is there at once after a clean stop: the bytes of the memfd that were ever
// written, behind a table of where they belong, closed by a hash. Trusted whole or not at all: nothing is repaired.
//
//   │ SnapshotHeader │ extents {offset, bytes} … │ bytes of each extent … │ XXH3 of all before │
//
// Saved and loaded by one process while no other uses the arena (master or caretaker). Where the file lies, fsync, rename, two
// generations: the caller's.
#pragma once

#include "common/shm/cache_arena.h"

namespace ladle::shm {

/// Writes the arena to `fd` from its current offset on.
Result<void> save_cache(const CacheArena& arena, int fd);

/// Reads what save_cache() wrote, from `fd`'s current offset on, into a new arena. Fails, and nothing is made, when a byte is wrong
/// or missing, the layout is another version's, or it was made with other sizes than `options` says (its seed is taken over).
/// Locks, pins, claims and fills that were under way are not taken over.
Result<CacheArena> load_cache(int fd, const CacheOptions& options);

} // namespace ladle::shm
