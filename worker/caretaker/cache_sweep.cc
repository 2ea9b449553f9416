// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/cache_sweep.h"

#include "worker/cache/dead_files.h"

namespace ladle::worker {

namespace {

constexpr unsigned kTicks = 10;
constexpr int kFilesAtOnce = 1000; // about 2 µs each

} // namespace

void CacheSweep::on_tick() noexcept
{
    if (++ticks_ % kTicks != 0) {
        return;
    }
    store_.sweep();
    unlink_dead_files(store_, files_.get(), kFilesAtOnce);
}

} // namespace ladle::worker
