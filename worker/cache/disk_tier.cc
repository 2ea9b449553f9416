// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_tier.h"

#include "common/http/stored_meta.h"
#include "common/os/log.h"
#include "common/shm/disk_files.h"

#include <cerrno>
#include <cstring>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr unsigned kThreads = 8;
constexpr int kMostWrites = 2; ///< at once; with kMostFetches: the other threads are for reading
constexpr loop::Nanos kRetryAfter = 30'000'000'000;

} // namespace

DiskTier::DiskTier(loop::Loop& loop, shm::CacheArena& index, std::uint32_t row, shm::ProcessRow& metrics, os::Fd folder)
    : loop_(loop), metrics_(metrics), folder_(std::make_shared<os::Fd>(std::move(folder))), index_(index, row), tidy_wake_(loop)
{
}

Result<std::unique_ptr<DiskTier>> DiskTier::make(loop::Loop& loop, shm::CacheArena& index, std::uint32_t row, shm::ProcessRow& metrics,
                                                 os::Fd folder)
{
    std::unique_ptr<DiskTier> tier(new DiskTier(loop, index, row, metrics, std::move(folder)));
    auto jobs = FileJobs::make(loop, metrics, kThreads);
    if (!jobs) {
        return std::unexpected(jobs.error());
    }
    tier->jobs_ = std::move(*jobs);
    tier->tidy_task_ = tier->run_tidy();
    tier->tidy_task_.start();
    return tier;
}

DiskTier::~DiskTier()
{
    stop();
}

void DiskTier::stop() noexcept
{
    is_stopping_->store(true, std::memory_order_relaxed);
    if (jobs_) {
        jobs_->stop();
    }
}

void DiskTier::leave() noexcept
{
    is_stopping_->store(true, std::memory_order_relaxed);
    folder_.reset();
}

shm::CacheView DiskTier::find(const shm::CacheHash& hash) noexcept
{
    char bytes[16];
    return !folder_ ? shm::CacheView() : index_.find(shm::CacheStore::name_by_hash(hash, bytes)).view;
}

shm::CacheView DiskTier::peek(const shm::CacheHash& hash) noexcept
{
    char bytes[16];
    return index_.peek(shm::CacheStore::name_by_hash(hash, bytes));
}

http::StoredFreshness DiskTier::freshness_of(const shm::CacheView& view) noexcept
{
    return http::IndexedMeta::read(view.meta()).freshness;
}

std::uint64_t DiskTier::forget(const shm::CacheHash& hash) noexcept
{
    shm::CacheRef ref;
    std::uint64_t file = 0;
    if (const shm::CacheView view = peek(hash)) {
        ref = view.ref();
        file = view.file();
    }
    if (ref.entry != 0) { // not pinned any more: its file can go at once
        forget(ref);
    }
    return file;
}

shm::FillClaim DiskTier::begin_writing(const shm::CacheHash& hash) noexcept
{
    const shm::FillClaim claim = index_.fills().claim(hash, loop_.now());
    std::atomic_thread_fence(std::memory_order_seq_cst); // who looks at the object in memory after this, see is_being_written()
    return claim;
}

void DiskTier::end_writing(const shm::FillClaim& claim) noexcept
{
    std::ignore = index_.fills().finish(claim, shm::FillEnd::over); // nobody waits for it
}

bool DiskTier::is_being_written(const shm::CacheHash& hash) noexcept
{
    std::atomic_thread_fence(std::memory_order_seq_cst); // who took the object out of memory before this, see begin_writing()
    return index_.fills().is_claimed(hash);
}

void DiskTier::forget(const shm::CacheRef& ref) noexcept
{
    constexpr int kTries = 5; // of some ms each: an old response that stays would be served again after a restart
    for (int i = 0; i < kTries && !index_.remove(ref); ++i) {
    }
    tidy();
}

void DiskTier::forget_bad(const shm::CacheRef& ref) noexcept
{
    metrics_.add(shm::Metric::cache_disk_bad_files);
    forget(ref);
}

bool DiskTier::may_write() noexcept
{
    if (!folder_ || writes_ >= kMostWrites || is_set_aside() || (is_bad_ && writes_ > 0)) {
        metrics_.add(shm::Metric::cache_disk_write_refused);
        return false;
    }
    return true;
}

void DiskTier::wrote(int code) noexcept
{
    if (code == 0) {
        metrics_.add(shm::Metric::cache_disk_writes);
        if (std::exchange(is_bad_, false)) {
            metrics_.subtract(shm::Metric::cache_disk_bad);
            os::log(os::Level::info, "the disk tier is used again");
        }
    } else if (code == shm::kDiskTooLarge || code == E2BIG) {
        metrics_.add(shm::Metric::cache_disk_too_large);
    } else if (code != ECANCELED) {
        set_aside(code);
    }
}

void DiskTier::set_aside(int code) noexcept
{
    metrics_.add(shm::Metric::cache_disk_errors);
    retry_at_ = loop_.now() + kRetryAfter;
    if (!std::exchange(is_bad_, true)) {
        metrics_.add(shm::Metric::cache_disk_bad);
        const char* const reason = strerrordesc_np(code);
        os::log(os::Level::error, "nothing is written to the disk tier for a while", {{"reason", reason != nullptr ? reason : "damaged"}});
    }
}

void DiskTier::on_tick() noexcept
{
    tidy();
}

loop::Task<void> DiskTier::run_tidy()
{
    for (;;) {
        const auto dead = folder_ ? index_.next_dead_file() : std::nullopt;
        bool is_gone = false;
        if (dead) {
            DiskCall call(*jobs_, tidy_wake_);
            if (call.start([folder = folder_, number = dead->number] { return shm::unlink_disk_file(folder->get(), number); })) {
                while (!call.is_done()) {
                    co_await tidy_wake_.wait();
                }
                is_gone = call.code() == 0;
            }
        }
        if (!is_gone || !index_.confirm(*dead)) {
            co_await tidy_wake_.wait();
        }
    }
}

} // namespace ladle::worker
