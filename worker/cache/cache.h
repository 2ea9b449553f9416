// SPDX-License-Identifier: Apache-2.0
//
// Cache: one worker's hands on the shared cache (common/shm/cache_store.h): its store, the fills that it has under way, and those of its
// requests that wait for something in the cache. Owned by the Front, one per worker; null where [cache] memory is 0.
//
// Who waits is woken, never polls: whoever changes something (publishes, writes, ends a fill or a claim) rings the bells of the rows
// that the shared tables name; a bell makes its worker look at each of its waiters, which costs one load each.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "common/loop/task.h"
#include "common/os/fd.h"
#include "common/shm/cache_store.h"
#include "common/shm/rows.h"
#include "worker/cache/open_files.h"
#include "worker/request/errands.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace ladle::worker {

class Cache;
class DiskTier;

/// Something in the cache that a coroutine waits for, from its construction to its end.
class CacheWaiter : private loop::Link {
public:
    /// Waits for the end of another's claim.
    CacheWaiter(Cache& cache, loop::Wake& wake, const shm::FillClaim& claim) noexcept;
    /// Waits until there is more of an object's body than `seen`, or it has ended.
    CacheWaiter(Cache& cache, loop::Wake& wake, const shm::CacheView& view, std::uint64_t seen) noexcept;
    ~CacheWaiter();

    /// Whether it has happened.
    bool has_news() const noexcept;

private:
    friend class Cache;
    Cache& cache_;
    loop::Wake& wake_;
    const shm::CacheView* view_ = nullptr;
    std::uint64_t seen_ = 0;
    shm::FillClaim claim_;
};

class Cache {
public:
    /// `files`: the folder on tmpfs for larger bodies, -1 = none. `bells`: an eventfd for each process row.
    static Result<std::unique_ptr<Cache>> make(loop::Loop& loop, shm::CacheArena& arena, std::uint32_t row, shm::ProcessRow& metrics,
                                               os::Fd files, std::vector<os::Fd> bells);
    ~Cache();
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;

    shm::CacheStore& store() noexcept { return store_; }
    shm::ProcessRow& row() noexcept { return metrics_; }
    loop::Loop& loop() noexcept { return loop_; }
    /// Null where there is none.
    DiskTier* disk() noexcept { return disk_.get(); }
    void set_disk(std::unique_ptr<DiskTier> disk) noexcept;

    /// Takes an object out of memory, and what the disk has of it; with a stub its own file, not one that has come in its place.
    void remove(const shm::CacheView& view) noexcept;
    /// What the disk has under this object's name is older than what memory has now.
    void outdate(const shm::CacheView& view) noexcept;

    /// The object has a new head on the same body: what the disk has stays where it can only be validated again (disk_tier.h).
    void outdate_head(const shm::CacheView& view) noexcept;

    /// Wakes the waiters of these rows, our own among them in the loop's next turn.
    void ring(std::uint64_t rows) noexcept;
    /// Wakes our own waiters in the loop's next turn.
    void stir() noexcept { stir_.post(loop_); }

    bool has_files() const noexcept { return static_cast<bool>(files_); }
    /// Makes the file of a new object; -1 with errno when that fails.
    os::Fd make_file(std::uint64_t number) const noexcept;
    /// The file of an object, for reading; null when it is gone.
    std::shared_ptr<const os::Fd> open_file(std::uint64_t number);
    /// Begins to store an object; files of dead objects make room where they stand in the way.
    std::expected<shm::CacheFill, shm::CacheRefusal> begin(const shm::CacheObject& object) noexcept;

    /// What goes on for the cache without a client: the rest of a fill, a fetch in the background.
    void start(std::unique_ptr<Errand> errand) { errands_.start(std::move(errand)); }
    void retire(Errand& errand) noexcept { errands_.retire(errand); }
    /// Whether one more may be begun that nobody waits for.
    bool may_fetch() const noexcept { return errands_.size() < kMostErrands; }
    /// Errands whose result another process is reading: a drain waits for them.
    std::size_t awaited_count() const noexcept { return errands_.awaited_count(); }

    /// Every 100 ms.
    void on_tick() noexcept;

    static constexpr std::size_t kMostErrands = 1024;

private:
    static constexpr std::size_t kMostOpenFiles = 256;
    friend class CacheWaiter;
    Cache(loop::Loop& loop, shm::CacheArena& arena, std::uint32_t row, shm::ProcessRow& metrics, os::Fd files, std::vector<os::Fd> bells);
    static void on_bell(void* self, loop::Ready what);
    static void on_stir(void* self);
    void wake_waiters() noexcept;

    loop::Loop& loop_;
    std::uint32_t number_; ///< of our row
    shm::ProcessRow& metrics_;
    os::Fd files_;
    std::vector<os::Fd> bells_;
    shm::CacheStore store_;
    std::unique_ptr<DiskTier> disk_;
    loop::Watch bell_;
    loop::Posted stir_;
    OpenFiles<os::Fd> open_files_{kMostOpenFiles};
    loop::Link waiters_;
    Errands errands_;
};

} // namespace ladle::worker
