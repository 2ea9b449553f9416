// SPDX-License-Identifier: Apache-2.0
//
// DiskTier: one process's hands on the disk tier: its index (a CacheStore of its own, without texts), the folder, and the threads
// that may wait for the disk. A worker's Cache owns one, and so does the caretaker; null where there is no disk tier.
//
// The disk is a source for fills (disk_load.h) and is written from complete objects in memory (disk_write.h). What is too large for
// memory is written as it comes (disk_fetch.h) and served from here (disk_source.h). What is newer in memory makes the one on disk
// go: forget(). Only a validation (304) leaves it there, where it is stale anyway: the body is the same, it can do no more than be
// validated again, and writing it anew each time would wear the disk. After a failed write the tier is set aside, and tried again
// with one write every 30 s (what is merely too large for the room that is left is not written, and nothing else follows from that);
// reading goes on. Files of objects that are gone are unlinked in the pool, and then confirmed.
#pragma once

#include "common/http/freshness.h"
#include "common/loop/loop.h"
#include "common/loop/task.h"
#include "common/os/fd.h"
#include "common/shm/cache_store.h"
#include "common/shm/disk_files.h"
#include "common/shm/rows.h"
#include "worker/cache/disk_call.h"
#include "worker/cache/open_files.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace ladle::worker {

class DiskTier {
public:
    /// `row`: of this process. `folder`: the objects' folder.
    static Result<std::unique_ptr<DiskTier>> make(loop::Loop& loop, shm::CacheArena& index, std::uint32_t row, shm::ProcessRow& metrics,
                                                  os::Fd folder);
    ~DiskTier();
    DiskTier(const DiskTier&) = delete;
    DiskTier& operator=(const DiskTier&) = delete;

    /// The object of this name, if there is one; counts a use. No purge is looked at: the memory's table knows.
    shm::CacheView find(const shm::CacheHash& hash) noexcept;
    bool has(const shm::CacheHash& hash) noexcept { return static_cast<bool>(peek(hash)); }
    /// The same without counting a use.
    shm::CacheView peek(const shm::CacheHash& hash) noexcept;
    /// What the index knows of its freshness; lifetime 0 where that is nothing.
    static http::StoredFreshness freshness_of(const shm::CacheView& view) noexcept;
    /// There is a newer one, or none is to be had any more. The number of its file, which is unlinked soon: who must know that it does
    /// not come back after a crash unlinks it at once. 0 = there was none.
    std::uint64_t forget(const shm::CacheHash& hash) noexcept;
    void forget(const shm::CacheRef& ref) noexcept;
    /// Its file is not what was written, or gone.
    void forget_bad(const shm::CacheRef& ref) noexcept;

    /// Whether one more object may be written now; counts what is refused.
    bool may_write() noexcept;
    /// A write has ended so.
    void wrote(int code) noexcept;
    /// Something that must be written could not be.
    void set_aside(int code) noexcept;
    void count_write(int change) noexcept { writes_ += change; }
    /// Whether one more object may be fetched for the disk alone.
    bool may_fetch() const noexcept { return folder_ && !is_set_aside() && fetches_ < kMostFetches; }
    /// From its beginning, when its server has not answered yet.
    void count_fetch(int change) noexcept { fetches_ += change; }

    /// Claims the writing of this name, for all processes. Not `mine`: another writes it.
    shm::FillClaim begin_writing(const shm::CacheHash& hash) noexcept;
    void end_writing(const shm::FillClaim& claim) noexcept;
    /// Whether some process is writing it, so that its file may come to be at any moment.
    bool is_being_written(const shm::CacheHash& hash) noexcept;

    /// Unlinks the files of objects that are gone.
    void tidy() noexcept { tidy_wake_.kick_later(); }
    void on_tick() noexcept;
    /// No function is running any more, and none that was to write has written; those who waited hear nothing.
    void stop() noexcept;

    /// The master is dead: the folder is for the next one, so it is let go. Nothing is read or written any more.
    void leave() noexcept;

    /// What functions in the pool hold while they run. Null after leave().
    const std::shared_ptr<os::Fd>& folder() const noexcept { return folder_; }
    FileJobs& jobs() noexcept { return *jobs_; }
    /// Files that requests are answered from.
    OpenFiles<shm::DiskFile>& open_files() noexcept { return open_files_; }
    shm::CacheStore& index() noexcept { return index_; }
    shm::ProcessRow& row() noexcept { return metrics_; }
    loop::Loop& loop() noexcept { return loop_; }
    /// For functions in the pool: true = end soon.
    const std::shared_ptr<std::atomic<bool>>& is_stopping() const noexcept { return is_stopping_; }

private:
    static constexpr std::size_t kMostOpenFiles = 64; ///< each may have a header of 16 MiB
    static constexpr int kMostFetches = 4;            ///< at once; they last as long as their servers take

    DiskTier(loop::Loop& loop, shm::CacheArena& index, std::uint32_t row, shm::ProcessRow& metrics, os::Fd folder);
    loop::Task<void> run_tidy();
    bool is_set_aside() const noexcept { return is_bad_ && loop_.now() < retry_at_; }

    loop::Loop& loop_;
    shm::ProcessRow& metrics_;
    std::shared_ptr<os::Fd> folder_;
    shm::CacheStore index_;
    std::unique_ptr<FileJobs> jobs_;
    std::shared_ptr<std::atomic<bool>> is_stopping_ = std::make_shared<std::atomic<bool>>(false);
    OpenFiles<shm::DiskFile> open_files_{kMostOpenFiles};
    int writes_ = 0;  ///< under way
    int fetches_ = 0; ///< the same, of disk_fetch.h
    bool is_bad_ = false;
    loop::Nanos retry_at_ = 0;
    loop::Wake tidy_wake_;
    loop::Task<void> tidy_task_; ///< last but one: its frame uses all of the above
};

} // namespace ladle::worker
