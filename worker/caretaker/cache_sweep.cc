// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/cache_sweep.h"

#include "worker/cache/dead_files.h"

namespace ladle::worker {

namespace {

constexpr unsigned kTicks = 10;
constexpr int kFilesAtOnce = 1000; // about 2 µs each
constexpr int kPagesAtOnce = 4; // 8 MiB: a GiB is gone through in 13 s, at 10 µs for a page that is large already

} // namespace

void CacheSweep::gather_pages() noexcept
{
    const shm::CacheArena& arena = store_.arena();
    for (int i = 0; i < kPagesAtOnce && can_gather_; ++i) {
        if (gathered_ + os::kLargePage > arena.bytes()) {
            gathered_ = 0;
            return;
        }
        os::gather_large_page(arena.base() + gathered_);
        gathered_ += os::kLargePage;
    }
}

void CacheSweep::on_tick() noexcept
{
    gather_pages();
    if (++ticks_ % kTicks != 0) {
        return;
    }
    store_.sweep();
    unlink_dead_files(store_, files_.get(), kFilesAtOnce);
}

} // namespace ladle::worker
