// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/dead_files.h"

#include "common/os/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <tuple>

namespace ladle::worker {

CacheFileName::CacheFileName(std::uint64_t number) noexcept
{
    std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(number));
}

namespace {

/// True when it is gone, or was. Whoever has it open still (OpenFiles) reads it no more: its memory is free at once.
bool remove_file(int folder, const char* name) noexcept
{
    if (const os::Fd file(::openat(folder, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)); file) {
        std::ignore = ::ftruncate(file.get(), 0);
    }
    return ::unlinkat(folder, name, 0) == 0 || errno == ENOENT;
}

} // namespace

void unlink_dead_files(shm::CacheStore& store, int folder, int most) noexcept
{
    for (int i = 0; i < most; ++i) {
        const auto dead = store.next_dead_file();
        if (!dead || !remove_file(folder, CacheFileName(dead->number).text) || !store.confirm(*dead)) {
            return;
        }
    }
}

} // namespace ladle::worker
