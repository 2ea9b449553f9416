// SPDX-License-Identifier: Apache-2.0
//
// The caretaker's part in the disk tier: it unlinks the files of objects that are gone, and after a crash reads the headers of
// all files, subfolder by subfolder, takes up those that are good in the index, and removes the others, while the workers serve.
// Slowly: some thousand files a second, so that the disk has time for the workers too. The index says that this is to be done, and
// up to which number (CacheHeader::unread_below): larger ones are this life's own. A subfolder that cannot be read is tried again
// every 30 s. Where a caretaker is killed the next one goes on, with the subfolder that the first one was at.
//
// A file is taken up if its header is whole, it is of this tier's seed, no purge has touched it, and nothing newer of its name is
// known.
#pragma once

#include "common/loop/loop.h"
#include "common/loop/task.h"
#include "common/shm/cache_store.h"
#include "common/shm/disk_files.h"
#include "worker/cache/disk_tier.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ladle::worker {

class DiskKeeper {
public:
    /// `memory`: the arena of the cache's memory, whose purge table counts for both.
    static Result<std::unique_ptr<DiskKeeper>> make(loop::Loop& loop, shm::CacheArena& memory, shm::CacheArena& index,
                                                    std::uint32_t row, shm::ProcessRow& metrics, os::Fd folder);
    ~DiskKeeper();
    DiskKeeper(const DiskKeeper&) = delete;
    DiskKeeper& operator=(const DiskKeeper&) = delete;

    /// Every 100 ms.
    void on_tick();

private:
    /// What the pool has read of some files: what is good, and the numbers of what is not.
    struct Batch {
        std::vector<std::unique_ptr<shm::DiskFile>> good;
        std::vector<std::uint64_t> bad;
        bool is_whole = true; ///< else some could not be read for want of memory or descriptors
    };
    struct Names {
        std::vector<std::uint64_t> numbers;
        std::vector<std::string> strangers; ///< names that are none of ours
    };

    DiskKeeper(loop::Loop& loop, shm::CacheArena& memory, std::uint32_t row, std::unique_ptr<DiskTier> tier);
    loop::Task<void> run();
    loop::Task<void> wait_until(loop::Nanos time);
    loop::Task<bool> read_subfolder(unsigned subfolder, std::uint64_t below);
    bool take_up(const shm::DiskFile& file);
    static int list_subfolder(int folder, unsigned subfolder, std::uint64_t below, Names& out);

    loop::Loop& loop_;
    shm::CacheStore memory_;
    std::unique_ptr<DiskTier> tier_;
    loop::Wake wake_;
    bool has_ticked_ = false;
    std::uint64_t taken_ = 0;
    std::uint64_t removed_ = 0;
    loop::Task<void> main_; ///< last: its frame uses all of the above
};

} // namespace ladle::worker
