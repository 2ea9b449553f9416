// SPDX-License-Identifier: Apache-2.0
//
// Writing to the disk tier: a complete object in memory becomes a file, in the pool of threads, from where it lies; the object stays
// pinned meanwhile. No request waits for it, and none fails by it. It is in the index once the file is whole; if the object in memory
// was replaced, purged or removed in between, it is thrown away again.
#pragma once

#include "common/shm/cache_store.h"

namespace ladle::worker {

class Cache;

/// Writes it, if it is worth that, is not there yet, and not too many are under way. With it goes the vary record that leads to it.
void write_to_disk(Cache& cache, const shm::CacheView& view);

/// Brings the header of a stub's file up to what the stub says now, soon: a crash of all processes before that brings back what the
/// server had allowed first. Where it fails, the file goes.
void write_head_to_disk(Cache& cache, const shm::CacheView& view);

/// The same after a hit, at the first use and ever more rarely: what could not be written then comes again.
void write_after_hit(Cache& cache, const shm::CacheView& view);

} // namespace ladle::worker
