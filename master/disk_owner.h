// SPDX-License-Identifier: Apache-2.0
//
// The master's part in the disk tier: it opens the folder, makes the index of what lies there (an arena of its own, common/shm),
// and keeps what must outlive all processes. The index holds no texts, only which file is whose: an object is its file
// (common/shm/disk_object.h), found by the hash of its name.
//
// After a clean stop the index is there at once: save() writes it to index.A or index.B in turn, and last of all "clean", which
// names the one that counts; the start takes "clean" away before anything else, so that a crash never meets an old index. Without
// it the index begins empty and says so (CacheHeader::unread_below): the caretaker reads the files' headers and takes up what is
// good. So a start needs no room on the disk: what cannot be written then is written later.
//
// Purges: common/shm/purge_log.h. A life that does not tell the folder of its purges, because it has no disk tier or cannot open
// this one, takes away what vouches for the objects there. Both arenas have one seed, so hashes and tags mean the same in both, and
// one purge table, the memory's. Only one Ladle uses a folder, by an flock that all its processes share. Owned by CacheOwner.
#pragma once

#include "common/config/config.h"
#include "common/ipc/inheritance.h"
#include "common/loop/loop.h"
#include "common/shm/cache_store.h"
#include "master/running.h"

#include <cstdint>
#include <memory>
#include <string>

namespace ladle::master {

/// As one image hands it to the next: numbers of descriptors, and the folder's path.
struct HandedDisk {
    int arena = -1;
    int folder = -1;
    std::string path;
};

class DiskOwner {
public:
    /// Opens the folder and loads or begins the index. A failure is a warning in the log: there is no disk tier then.
    void open(const config::Disk& disk, const Identity& identity);
    /// There is no cache that could use it.
    void leave_off(const config::Disk& disk);
    /// Takes over what was handed over, if it is what `disk` asks for and has the memory's seed; 0 = there is no such memory.
    bool adopt(const HandedDisk& handed, const config::Disk& disk, std::uint64_t memory_seed);
    /// Becomes a process of the index, and brings the memory's purges to where they were when the folder was used last.
    void use_row(int row, shm::PurgeTable& purges);

    bool exists() const noexcept { return arena_ != nullptr; }
    /// Of its hashes, so that the memory gets the same; 0 where there is none.
    std::uint64_t seed() const noexcept { return arena_ ? arena_->seed() : 0; }
    /// Null where there is none.
    shm::CacheStore* store() const noexcept { return store_.get(); }
    std::uint64_t memory_bytes() const noexcept { return arena_ ? arena_->bytes() : 0; }
    /// Of these the kernel has given it: what was never touched costs nothing.
    std::uint64_t used_memory_bytes() const noexcept;
    const std::string& path() const noexcept { return path_; }
    bool is_being_read() const; ///< the caretaker is reading what a crash left

    void lend(ipc::Inheritance& inheritance) const;
    HandedDisk hand_over() const;
    void repair(int row);

    /// Writes purges that are in force into the log, for the time after a crash. False: the folder cannot be changed at all, so
    /// that a crash may bring back what was purged. Else they are remembered, or nothing will be believed that lies there.
    [[nodiscard]] bool log_purge(const std::string& lines) const;
    /// Every few seconds: begins the log of purges anew when it has become long, and where they could not be remembered for a
    /// while.
    void tend(const shm::PurgeTable& purges);
    /// No process is left: writes the index for the next start.
    void save(const shm::PurgeTable& purges);
    /// There is to be no disk tier: what lies in the folder is not believed any more, as purges are not remembered from now on.
    void give_up();

private:
    bool open_folder(const Identity& identity);
    bool open_index();
    bool load_index(const std::string& clean);
    bool begin_index(bool has_base);
    void write_base(const shm::PurgeTable& purges, std::uint64_t first_number);
    bool distrust() const;

    std::string path_;
    os::Fd folder_;
    uid_t owner_ = 0; ///< of the folder
    std::uint64_t size_ = 0;
    std::unique_ptr<shm::CacheArena> arena_;
    std::unique_ptr<shm::CacheStore> store_; ///< after the arena
    std::uint64_t base_seed_ = 0;
    std::uint64_t first_number_ = 1;
    std::string purges_;      ///< exported: what use_row() brings back
    std::uint64_t saved_ = 0; ///< generation of the last saved index
    bool owes_distrust_ = false; ///< there is no tier, and the folder does not know of it yet
    loop::Nanos base_retry_at_ = 0;
};

/// Memory for the index of a tier of that size.
std::uint64_t index_bytes(std::uint64_t disk_bytes) noexcept;

} // namespace ladle::master
