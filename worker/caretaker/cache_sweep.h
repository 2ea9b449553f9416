// SPDX-License-Identifier: Apache-2.0
//
// CacheSweep: the caretaker's part in the shared cache: frees what writers that died, and readers that were slow, have left
// behind, and removes the files of objects that are gone, so that the workers find room at hand. Where the arena is in use it
// gathers single pages into large ones.
#pragma once

#include "common/os/fd.h"
#include "common/os/large_pages.h"
#include "common/shm/cache_store.h"

namespace ladle::worker {

class CacheSweep {
public:
    CacheSweep(shm::CacheArena& arena, std::uint32_t row, os::Fd files) : store_(arena, row), files_(std::move(files)) {}
    /// Every 100 ms; sweeps once a second.
    void on_tick() noexcept;

private:
    void gather_pages() noexcept;

    shm::CacheStore store_;
    os::Fd files_; ///< the folder of larger bodies; -1 = none
    unsigned ticks_ = 0;
    std::uint64_t gathered_ = 0; ///< bytes of the arena that this round has looked at
    const bool can_gather_ = os::can_gather_pages();
};

} // namespace ladle::worker
