// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/dead_files.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace ladle::worker {

CacheFileName::CacheFileName(std::uint64_t number) noexcept
{
    std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(number));
}

void unlink_dead_files(shm::CacheStore& store, int folder, int most) noexcept
{
    for (int i = 0; i < most; ++i) {
        const auto dead = store.next_dead_file();
        if (!dead || (::unlinkat(folder, CacheFileName(dead->number).text, 0) != 0 && errno != ENOENT) || !store.confirm(*dead)) {
            return;
        }
    }
}

} // namespace ladle::worker
