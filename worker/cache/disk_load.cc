// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_load.h"

#include "common/http/stored_meta.h"
#include "common/shm/disk_files.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"

#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr unsigned kMostLoads = 3;                     ///< of one request: a vary record, what it leads to, and one that went meanwhile
constexpr std::size_t kLoadStep = std::size_t{512} << 10;  ///< of a body in one go
constexpr std::chrono::milliseconds kHeaderPatience{3'000};  ///< for a file's header: a disk that is slower is no cache

/// Everything that functions in the pool use, so that it lives as long as they run.
struct Loading {
    shm::DiskFile file;
    os::Fd memory; ///< the object's file on tmpfs; -1: its body lies in the arena
    std::string bytes;
};

bool write_to(int fd, std::string_view bytes, std::uint64_t offset) noexcept
{
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n <= 0) {
            return false;
        }
        offset += static_cast<std::uint64_t>(n);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
}

class DiskLoad final : public Errand {
public:
    DiskLoad(Cache& cache, shm::CacheRef entry, std::shared_ptr<Loading> loading, shm::CacheFill object)
        : cache_(cache), entry_(entry), loading_(std::move(loading)), wake_(cache.loop()), object_(std::move(object))
    {
        cache_.row().add(shm::Metric::cache_fills_open);
    }
    ~DiskLoad() override { cache_.row().subtract(shm::Metric::cache_fills_open); }

    bool is_awaited() const noexcept override { return object_ && object_.rows_reading() != 0; }
    /// Takes what came with the header. True: that was all of it.
    bool begin();

private:
    loop::Task<void> run() override;
    bool store(std::string_view bytes, bool is_in_file);
    void end(bool is_complete) noexcept;

    Cache& cache_;
    shm::CacheRef entry_; ///< of the index
    std::shared_ptr<Loading> loading_;
    loop::Wake wake_;
    shm::CacheFill object_;
};

bool DiskLoad::store(std::string_view bytes, bool is_in_file)
{
    if (!loading_->memory) {
        return object_.write(std::as_bytes(std::span(bytes)));
    }
    if (!is_in_file && !write_to(loading_->memory.get(), bytes, object_.view().filled())) {
        return false;
    }
    object_.advance(bytes.size());
    return true;
}

void DiskLoad::end(bool is_complete) noexcept
{
    const std::uint64_t readers = object_.rows_reading();
    if (is_complete && object_.complete()) {
        cache_.row().add(shm::Metric::cache_disk_loads);
    } else {
        object_.abort();
        cache_.row().add(shm::Metric::cache_fills_aborted);
    }
    cache_.ring(readers);
    cache_.stir();
}

bool DiskLoad::begin()
{
    const std::string body = std::exchange(loading_->file.body, {});
    std::ignore = object_.publish(); // else it is shown when it is complete
    const bool is_good = store(body, false);
    if (!is_good || body.size() == loading_->file.header.object().body_bytes) {
        end(is_good);
        return true;
    }
    return false;
}

loop::Task<void> DiskLoad::run()
{
    DiskTier& disk = *cache_.disk();
    const std::uint64_t total = loading_->file.header.object().body_bytes;
    bool is_good = true;
    while (is_good && object_.view().filled() < total) {
        DiskCall call(disk.jobs(), wake_);
        const bool is_begun = call.start([loading = loading_, at = object_.view().filled()] {
            const int code = shm::read_disk_blocks(loading->file, at, kLoadStep, loading->bytes);
            return code == 0 && loading->memory && !write_to(loading->memory.get(), loading->bytes, at) ? ENOSPC : code;
        });
        while (!call.is_done()) {
            co_await wake_.wait();
        }
        is_good = is_begun && call.code() == 0;
        if (is_begun && call.code() != 0 && call.code() != ENOSPC) {
            disk.forget_bad(entry_);
        }
        if (is_good && store(loading_->bytes, true)) {
            cache_.ring(object_.rows_reading());
            cache_.stir();
        } else {
            is_good = false;
        }
    }
    end(is_good);
    cache_.retire(*this);
}

/// Begins to bring it into memory. An Errand does the rest where there is more of it.
void begin_load(Request& request, const shm::CacheRef& entry, const std::shared_ptr<Loading>& loading)
{
    CacheVisit& visit = *request.cache;
    const shm::DiskObject& found = loading->file.header.object();
    shm::CacheObject object;
    object.name = visit.name;
    object.meta = std::as_bytes(std::span(found.meta));
    object.head = found.head;
    object.tags = found.tags;
    object.epoch = found.epoch;
    object.body_bytes = found.body_bytes;
    object.vary_record = found.is_vary_record;
    object.in_file = found.body_bytes > request.live->config->cache.inline_bytes && visit.cache.has_files();
    auto begun = visit.cache.begin(object);
    if (!begun && begun.error() == shm::CacheRefusal::too_large) {
        object.in_file = false;
        object.disk_file = found.number;
        begun = visit.cache.begin(object);
    }
    if (!begun) {
        avoid_disk(visit); // memory has no room for it
        return;
    }
    if (object.disk_file != 0) {
        begun->advance(object.body_bytes);
        if (!begun->complete()) {
            avoid_disk(visit);
        }
        loading->file.body = {}; // it is kept open for its body's hashes alone
        visit.cache.disk()->open_files().add(found.number, {loading, &loading->file});
        return;
    }
    if (object.in_file) {
        loading->memory = visit.cache.make_file(begun->file());
        if (!loading->memory) {
            avoid_disk(visit);
            return;
        }
    }
    auto load = std::make_unique<DiskLoad>(visit.cache, entry, loading, std::move(*begun));
    if (!load->begin()) {
        visit.cache.start(std::move(load));
    }
}

/// A stale one is validated, and that needs the whole of it.
bool has_to_be_whole(const CacheVisit& visit, const shm::DiskObject& object) noexcept
{
    if (object.is_vary_record) {
        return false;
    }
    const http::StoredMeta meta = http::StoredMeta::read(std::as_bytes(std::span(object.meta)));
    return http::judge(meta.freshness, visit.directives, wall_clock_ms()).reuse == http::Reuse::validate;
}

} // namespace

void avoid_disk(CacheVisit& visit) noexcept
{
    visit.disk_loads = kMostLoads;
}

bool avoids_disk(const CacheVisit& visit) noexcept
{
    return visit.disk_loads >= kMostLoads;
}

bool is_asked_for(const CacheVisit& visit, const shm::DiskObject& object) noexcept
{
    return object.hash == visit.name.hash && object.seed == visit.cache.store().arena().seed() && object.url == visit.key &&
           object.variant == visit.variant && (object.is_vary_record || http::StoredMeta::is_whole(std::as_bytes(std::span(object.meta))));
}

bool is_for_want(int code) noexcept
{
    return code == EMFILE || code == ENFILE || code == ENOMEM;
}

bool is_on_disk(CacheVisit& visit)
{
    DiskTier* const disk = visit.cache.disk();
    if (disk == nullptr || avoids_disk(visit)) {
        return false;
    }
    shm::CacheRef purged;
    {
        const shm::CacheView found = disk->find(visit.name.hash);
        if (!found) {
            return false;
        }
        if (visit.cache.store().purges().state(visit.url_of_key, found.tags(), found.epoch()) != shm::PurgeState::hard) {
            return true;
        }
        purged = found.ref();
    }
    disk->forget(purged);
    return false;
}

loop::Task<void> load_from_disk(Request& request)
{
    CacheVisit& visit = *request.cache;
    ClientStream& client = request.client;
    DiskTier& disk = *visit.cache.disk();
    ++visit.disk_loads;
    const shm::CacheView entry = disk.find(visit.name.hash); // pinned, so that nobody unlinks the file
    if (!entry) {
        visit.end_claim(shm::FillEnd::over);
        co_return;
    }
    request.parts.row.add(shm::Metric::cache_disk_hits);
    auto loading = std::make_shared<Loading>();
    DiskCall call(disk.jobs(), client.wake);
    // Small files that the kernel has in memory need no thread.
    const int at_once = shm::open_disk_file(disk.folder()->get(), entry.file(), true, loading->file, shm::DiskWait::never);
    const bool is_begun = at_once == 0 || call.start([loading, folder = disk.folder(), number = entry.file()] {
        return shm::open_disk_file(folder->get(), number, true, loading->file);
    });
    client.alarm.set(kHeaderPatience);
    while (!call.is_done() && !client.alarm.rang()) {
        co_await client.wake.wait();
    }
    client.alarm.clear();
    bool is_stale = false;
    if (!is_begun || !call.is_done() || is_for_want(call.code())) {
        avoid_disk(visit); // not now
    } else if (call.code() != 0 || !is_asked_for(visit, loading->file.header.object())) {
        disk.forget_bad(entry.ref());
    } else {
        is_stale = has_to_be_whole(visit, loading->file.header.object());
        begin_load(request, entry.ref(), loading);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (const shm::CacheView shown = visit.cache.store().peek(visit.name); shown && !entry.is_linked()) {
            std::ignore = visit.cache.store().remove(shown.ref()); // made invalid while it was read
        }
    }
    visit.end_claim(shm::FillEnd::over);
    if (!is_stale) {
        co_return;
    }
    const shm::CacheView object = visit.cache.store().peek(visit.name);
    while (object && object.state() == shm::CacheState::filling) {
        const CacheWaiter waiter(visit.cache, client.wake, object, object.filled());
        co_await client.wake.wait();
        if (client.has_left()) {
            co_return;
        }
    }
}

} // namespace ladle::worker
