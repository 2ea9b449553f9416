// SPDX-License-Identifier: Apache-2.0
//
// Files of the cache in its folder: their names, and the removal of those whose objects are gone.
#pragma once

#include "common/shm/cache_store.h"

#include <cstdint>

namespace ladle::worker {

/// The name of an object's file in the cache's folder.
struct CacheFileName {
    char text[24];
    explicit CacheFileName(std::uint64_t number) noexcept;
};

/// Unlinks up to `most` files of objects that are gone and that nobody reads; their charge ends with that.
void unlink_dead_files(shm::CacheStore& store, int folder, int most) noexcept;

} // namespace ladle::worker
