// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/cache.h"

#include "worker/cache/dead_files.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/visit.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <bit>
#include <tuple>

namespace ladle::worker {

namespace {

constexpr int kDeadFilesAtOnce = 64;

} // namespace

CacheWaiter::CacheWaiter(Cache& cache, loop::Wake& wake, const shm::FillClaim& claim) noexcept
    : cache_(cache), wake_(wake), claim_(claim)
{
    insert_before(cache.waiters_);
}

CacheWaiter::CacheWaiter(Cache& cache, loop::Wake& wake, const shm::CacheView& view, std::uint64_t seen) noexcept
    : cache_(cache), wake_(wake), view_(&view), seen_(seen)
{
    insert_before(cache.waiters_);
}

CacheWaiter::~CacheWaiter()
{
    unlink();
}

bool CacheWaiter::has_news() const noexcept
{
    if (view_ != nullptr) {
        const shm::CacheState state = view_->state();
        return state == shm::CacheState::complete || state == shm::CacheState::aborted || view_->filled() != seen_;
    }
    return cache_.store_.fills().is_over(claim_);
}

Cache::Cache(loop::Loop& loop, shm::CacheArena& arena, std::uint32_t row, shm::ProcessRow& metrics, os::Fd files,
             std::vector<os::Fd> bells)
    : loop_(loop), number_(row), metrics_(metrics), files_(std::move(files)), bells_(std::move(bells)), store_(arena, row),
      stir_(&Cache::on_stir, this), errands_(loop)
{
}

Result<std::unique_ptr<Cache>> Cache::make(loop::Loop& loop, shm::CacheArena& arena, std::uint32_t row, shm::ProcessRow& metrics,
                                           os::Fd files, std::vector<os::Fd> bells)
{
    std::unique_ptr<Cache> cache(new Cache(loop, arena, row, metrics, std::move(files), std::move(bells)));
    const int own = cache->bells_[row].get();
    if (auto watching = cache->bell_.start(loop, own, loop::WatchMode::level_read, &Cache::on_bell, cache.get()); !watching) {
        return std::unexpected(watching.error());
    }
    return cache;
}

Cache::~Cache()
{
    if (disk_) {
        disk_->stop(); // what it writes lies in objects that errands hold
    }
    errands_.clear();
}

void Cache::set_disk(std::unique_ptr<DiskTier> disk) noexcept
{
    disk_ = std::move(disk);
}

void Cache::remove(const shm::CacheView& view) noexcept
{
    std::ignore = store_.remove(view.ref());
    shm::CacheView stored = disk_ && view.is_on_disk() ? disk_->peek(store_.name(view.url(), view.variant()).hash) : shm::CacheView();
    const bool is_another = stored && stored.file() != view.file();
    stored = {}; // what is pinned does not go
    if (!is_another) {
        outdate(view);
    }
}

void Cache::outdate(const shm::CacheView& view) noexcept
{
    if (disk_) {
        disk_->forget(store_.name(view.url(), view.variant()).hash);
    }
}

void Cache::outdate_head(const shm::CacheView& view) noexcept
{
    shm::CacheView old = disk_ ? disk_->peek(store_.name(view.url(), view.variant()).hash) : shm::CacheView();
    if (old && !http::permits_no_more(DiskTier::freshness_of(old), http::StoredMeta::read(view.meta()).freshness, wall_clock_ms())) {
        old = {}; // what is pinned does not go
        outdate(view);
    }
}

void Cache::on_bell(void* self, loop::Ready)
{
    auto& cache = *static_cast<Cache*>(self);
    eventfd_t rings = 0;
    std::ignore = ::eventfd_read(cache.bells_[cache.number_].get(), &rings);
    cache.wake_waiters();
}

void Cache::on_stir(void* self)
{
    static_cast<Cache*>(self)->wake_waiters();
}

void Cache::wake_waiters() noexcept
{
    for (loop::Link* at = waiters_.next; at != &waiters_; at = at->next) {
        auto& waiter = *static_cast<CacheWaiter*>(at);
        if (waiter.has_news()) {
            waiter.wake_.kick_later();
        }
    }
}

void Cache::ring(std::uint64_t rows) noexcept
{
    const std::uint64_t own = std::uint64_t{1} << number_;
    if ((rows & own) != 0) {
        stir();
        rows &= ~own;
    }
    while (rows != 0) {
        const int row = std::countr_zero(rows);
        rows &= rows - 1;
        std::ignore = ::eventfd_write(bells_[static_cast<std::size_t>(row)].get(), 1); // full = it has been rung often enough
    }
}

os::Fd Cache::make_file(std::uint64_t number) const noexcept
{
    return os::Fd(::openat(files_.get(), CacheFileName(number).text, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
}

std::shared_ptr<const os::Fd> Cache::open_file(std::uint64_t number)
{
    if (auto open = open_files_.find(number)) {
        return open;
    }
    os::Fd opened(::openat(files_.get(), CacheFileName(number).text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!opened) {
        return nullptr;
    }
    auto file = std::make_shared<const os::Fd>(std::move(opened));
    open_files_.add(number, file);
    return file;
}

std::expected<shm::CacheFill, shm::CacheRefusal> Cache::begin(const shm::CacheObject& object) noexcept
{
    constexpr int kTries = 4;
    for (int i = 1;; ++i) {
        auto fill = store_.begin(object);
        if (fill || fill.error() != shm::CacheRefusal::waiting_for_files || i == kTries) {
            return fill;
        }
        unlink_dead_files(store_, files_.get(), kDeadFilesAtOnce);
    }
}

void Cache::on_tick() noexcept
{
    open_files_.on_tick();
    if (disk_) {
        disk_->open_files().on_tick();
    }
    wake_waiters(); // a bell lost by a process that died between its change and the ring
}

} // namespace ladle::worker
