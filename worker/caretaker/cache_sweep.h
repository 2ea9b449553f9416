// SPDX-License-Identifier: Apache-2.0
//
// CacheSweep: the caretaker's part in the shared cache: frees what writers that died, and readers that were slow, have left
// behind, and removes the files of objects that are gone, so that the workers find room at hand.
#pragma once

#include "common/os/fd.h"
#include "common/shm/cache_store.h"

namespace ladle::worker {

class CacheSweep {
public:
    CacheSweep(shm::CacheArena& arena, std::uint32_t row, os::Fd files) : store_(arena, row), files_(std::move(files)) {}
    /// Every 100 ms; works once a second.
    void on_tick() noexcept;

private:
    shm::CacheStore store_;
    os::Fd files_; ///< the folder of larger bodies; -1 = none
    unsigned ticks_ = 0;
};

} // namespace ladle::worker
