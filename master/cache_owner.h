// SPDX-License-Identifier: Apache-2.0
//
// The master's part in the cache: it makes the arena, the folder for larger bodies and the bells before the first fork, hands them
// to every child and over an upgrade to the next image of itself, and repairs what a dead process left before its row is used
// again. They are there whenever [cache] memory is not 0, so that a reload can switch a route's cache on; untouched memory costs
// nothing. The master is a process of the cache as well, with a row of its own: for repair, purge and listing. Owned by Master.
#pragma once

#include "common/config/config.h"
#include "common/ipc/inheritance.h"
#include "common/shm/cache_store.h"
#include "master/cache_folder.h"
#include "master/disk_owner.h"
#include "master/running.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ladle::master {

/// The cache as one image hands it to the next: numbers of descriptors, and the folder's path.
struct HandedCache {
    int arena = -1;
    int row = -1; ///< the master's
    int files = -1;
    std::string folder;
    std::vector<int> bells; ///< by row
    HandedDisk disk;
};

class CacheOwner {
public:
    /// Makes everything anew. A failure is a warning in the log: there is no cache then.
    void make(const config::Cache& cache, const Identity& identity);
    /// Takes over what was handed over, if it is what `cache` asks for and its layout is ours. False: made anew (the old one goes
    /// with the processes that use it), or there is none.
    bool adopt(const HandedCache& handed, const config::Cache& cache, const Identity& identity);
    /// Becomes a process of the cache, in a row that no other process has.
    void use_row(int row);

    bool exists() const noexcept { return arena_ != nullptr; }
    /// Null before use_row() and where there is no cache.
    shm::CacheStore* store() const noexcept { return store_.get(); }
    int row() const noexcept { return row_; }
    std::uint64_t memory_bytes() const noexcept { return arena_ ? arena_->bytes() : 0; }
    bool has_files() const noexcept { return static_cast<bool>(folder_); }

    DiskOwner& disk() noexcept { return disk_; }
    const DiskOwner& disk() const noexcept { return disk_; }

    /// Fills in what a child inherits; its descriptors are borrowed.
    void lend(ipc::Inheritance& inheritance) const;
    HandedCache hand_over() const;

    /// The process of this row is dead: undoes what it was doing and wakes who waited for it.
    void repair(int row);
    /// Every few seconds.
    void tend_disk();
    /// Removes folders that killed ones left. Now and then, for their last process may still have been at work at our start.
    void remove_unused_folders() const;
    /// The last thing before the end, when no other process is left: what lies on disk is kept for the next start.
    void close();

private:
    void make_folder(const config::Cache& cache);

    Identity identity_;
    DiskOwner disk_;
    std::string files_; ///< where folders are made
    std::unique_ptr<shm::CacheArena> arena_;
    CacheFolder folder_;
    std::vector<os::Fd> bells_;
    int row_ = -1;
    std::unique_ptr<shm::CacheStore> store_; ///< after the arena
};

} // namespace ladle::master
