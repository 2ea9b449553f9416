// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_write.h"

#include "common/http/stored_meta.h"
#include "common/shm/disk_files.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/visit.h"

#include <bit>
#include <cerrno>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

/// Everything that the function in the pool uses. Its texts and pieces lie in the pinned object.
struct Writing {
    shm::DiskObject object;
    shm::DiskBody body;
    std::shared_ptr<const os::Fd> memory; ///< the object's file on tmpfs
};

class DiskWrite final : public Errand {
public:
    DiskWrite(Cache& cache, shm::CacheView view, shm::CacheFill entry, std::shared_ptr<Writing> writing)
        : cache_(cache), view_(std::move(view)), entry_(std::move(entry)), writing_(std::move(writing)), wake_(cache.loop())
    {
        cache_.disk()->count_write(1);
    }
    ~DiskWrite() override { cache_.disk()->count_write(-1); }
    bool is_awaited() const noexcept override { return false; }
    static void start(std::unique_ptr<DiskWrite> write);

private:
    loop::Task<void> run();
    void settle(int code);

    Cache& cache_;
    shm::CacheView view_;
    shm::CacheFill entry_; ///< of the index
    std::shared_ptr<Writing> writing_;
    loop::Wake wake_;
    loop::Task<void> main_; ///< last: its frame uses all of the above
};

void DiskWrite::start(std::unique_ptr<DiskWrite> write)
{
    DiskWrite& started = *write;
    started.cache_.adopt(std::move(write));
    started.main_ = started.run();
    started.main_.start();
}

loop::Task<void> DiskWrite::run()
{
    DiskTier& disk = *cache_.disk();
    DiskCall call(disk.jobs(), wake_);
    const bool is_begun = call.start([writing = writing_, folder = disk.folder(), is_stopping = disk.is_stopping()] {
        return shm::write_disk_file(folder->get(), writing->object, writing->body, *is_stopping);
    });
    while (!call.is_done()) {
        co_await wake_.wait();
    }
    settle(is_begun ? call.code() : ECANCELED);
    cache_.retire(*this);
}

/// In this order: who replaces the object in memory takes the one on disk away afterwards, so one of the two sees the other.
void DiskWrite::settle(int code)
{
    DiskTier& disk = *cache_.disk();
    const shm::CacheRef ref = entry_.view().ref();
    disk.wrote(code);
    if (code != 0 || !view_.is_linked()) {
        entry_.abort();
        disk.tidy();
        return;
    }
    entry_.advance(entry_.view().body_bytes());
    if (entry_.complete() && !view_.is_linked()) {
        disk.forget(ref);
    }
}

std::string_view text_of(std::span<const std::byte> bytes) noexcept
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::shared_ptr<Writing> describe(Cache& cache, const shm::CacheView& view, const shm::CacheHash& hash)
{
    auto writing = std::make_shared<Writing>();
    shm::DiskObject& object = writing->object;
    object.seed = cache.store().arena().seed();
    object.hash = hash;
    object.epoch = view.epoch();
    object.stored_ms = wall_clock_ms();
    object.body_bytes = view.filled();
    object.is_vary_record = view.is_vary_record();
    object.meta = text_of(view.meta());
    object.url = view.url();
    object.variant = view.variant();
    object.head = view.head();
    object.tags.assign(view.tags().begin(), view.tags().end());
    if (view.is_in_file()) {
        writing->memory = cache.open_file(view.file());
        writing->body.file = writing->memory ? writing->memory->get() : -1;
        return writing->memory ? writing : nullptr;
    }
    writing->body.memory.resize(shm::kMaxPieces);
    writing->body.memory.resize(view.body(0, view.filled(), writing->body.memory.data(), shm::kMaxPieces));
    return writing;
}

void begin_write(Cache& cache, const shm::CacheView& view, const shm::CacheHash& hash)
{
    DiskTier& disk = *cache.disk();
    if (disk.has(hash) || !disk.may_write() || !cache.may_fetch()) {
        return;
    }
    std::shared_ptr<Writing> writing = describe(cache, view, hash);
    const std::uint64_t header = writing ? shm::disk_header_bytes(writing->object) : 0;
    if (header == 0) {
        return;
    }
    char bytes[16];
    shm::CacheObject entry;
    entry.name = shm::CacheStore::name_by_hash(hash, bytes);
    entry.tags = view.tags();
    entry.epoch = view.epoch();
    entry.body_bytes = header + writing->object.body_bytes;
    entry.in_file = true;
    auto begun = disk.index().begin(entry);
    if (!begun) {
        disk.row().add(shm::Metric::cache_disk_write_refused);
        disk.tidy(); // perhaps it is only the files of dead objects that stand in the way
        return;
    }
    writing->object.number = begun->file();
    DiskWrite::start(std::make_unique<DiskWrite>(cache, view.copy(), std::move(*begun), std::move(writing)));
}

bool is_worth_writing(const shm::CacheView& view) noexcept
{
    if (view.state() != shm::CacheState::complete || view.is_vary_record()) {
        return false;
    }
    const http::StoredFreshness freshness = http::StoredMeta::read(view.meta()).freshness;
    const bool has_use = freshness.has(http::StoredFreshness::kHasValidator) || http::remaining_s(freshness, wall_clock_ms()) > 0;
    return has_use && !freshness.has(http::StoredFreshness::kIsPartial) && freshness.status != 206;
}

} // namespace

void write_to_disk(Cache& cache, const shm::CacheView& view)
{
    if (cache.disk() == nullptr || !is_worth_writing(view)) {
        return;
    }
    shm::CacheStore& store = cache.store();
    if (!view.variant().empty()) {
        const shm::CacheName primary = store.name(view.url());
        const shm::CacheView record = store.peek(primary);
        if (!record || !record.is_vary_record()) {
            return; // nothing leads to it
        }
        begin_write(cache, record, primary.hash);
    }
    begin_write(cache, view, store.name(view.url(), view.variant()).hash);
}

void write_after_hit(Cache& cache, const shm::CacheView& view)
{
    if (cache.disk() != nullptr && std::has_single_bit(view.hits())) {
        write_to_disk(cache, view);
    }
}

} // namespace ladle::worker
