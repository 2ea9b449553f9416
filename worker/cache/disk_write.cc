// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/disk_write.h"

#include "common/http/stored_meta.h"
#include "common/shm/disk_files.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/visit.h"

#include <bit>
#include <cerrno>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::int64_t kWorthWritingAgain_s = 300; ///< of freshness: a validation is cheaper than to write more often

/// Everything that the function in the pool uses. Its texts and pieces lie in the pinned object.
struct Writing {
    shm::DiskObject object;
    shm::DiskBody body;
    std::shared_ptr<const os::Fd> memory; ///< the object's file on tmpfs
};

class DiskWrite final : public Errand {
public:
    DiskWrite(Cache& cache, const shm::FillClaim& claim, shm::CacheView view, shm::CacheFill entry, std::shared_ptr<Writing> writing)
        : cache_(cache), claim_(claim), view_(std::move(view)), entry_(std::move(entry)), writing_(std::move(writing)),
          wake_(cache.loop())
    {
        cache_.disk()->count_write(1);
    }
    ~DiskWrite() override
    {
        entry_.abort();
        cache_.disk()->end_writing(claim_);
        cache_.disk()->count_write(-1);
    }
    bool is_awaited() const noexcept override { return false; }

private:
    loop::Task<void> run() override;
    bool keep();

    Cache& cache_;
    shm::FillClaim claim_;
    shm::CacheView view_;
    shm::CacheFill entry_; ///< of the index
    std::shared_ptr<Writing> writing_;
    loop::Wake wake_;
};

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
    const int code = is_begun ? call.code() : ECANCELED;
    disk.wrote(code);
    const bool is_kept = code == 0 && keep();
    entry_.abort();
    if (code == 0 && !is_kept && disk.folder()) {
        // Before the claim ends: who makes the object invalid after that need not think of this file.
        DiskCall removal(disk.jobs(), wake_);
        std::ignore = removal.start([folder = disk.folder(), number = writing_->object.number] {
            return shm::unlink_disk_file(folder->get(), number);
        });
        while (!removal.is_done()) {
            co_await wake_.wait();
        }
    }
    disk.end_writing(claim_);
    disk.tidy();
    cache_.retire(*this);
}

/// In this order: who takes the object out of memory takes the one on disk away afterwards, so one of the two sees the other.
bool DiskWrite::keep()
{
    const shm::CacheRef ref = entry_.view().ref();
    if (!view_.is_linked()) {
        return false;
    }
    entry_.advance(entry_.view().body_bytes());
    if (!entry_.complete()) {
        return false;
    }
    if (!view_.is_linked()) {
        cache_.disk()->forget(ref);
        return false;
    }
    return true;
}

std::string_view text_of(std::span<const std::byte> bytes) noexcept
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::shared_ptr<Writing> describe_writing(Cache& cache, const shm::CacheView& view, const shm::CacheHash& hash)
{
    auto writing = std::make_shared<Writing>();
    shm::DiskObject& object = writing->object;
    object.seed = cache.store().arena().seed();
    object.hash = hash;
    object.epoch = view.epoch();
    object.stored_ms = wall_clock_ms();
    object.body_bytes = view.filled();
    object.number = view.is_on_disk() ? view.file() : 0;
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

/// Its entry in the index, which is to have its freshness, so that nobody needs the file for that.
std::expected<shm::CacheFill, shm::CacheRefusal> begin_entry(DiskTier& disk, const shm::CacheView& view, const shm::CacheHash& hash,
                                                             const shm::CacheHash& key, std::uint64_t file_bytes)
{
    char bytes[16];
    const http::IndexedMeta meta{http::StoredMeta::read(view.meta()).freshness, key.low};
    shm::CacheObject entry;
    entry.name = shm::CacheStore::name_by_hash(hash, bytes);
    if (!view.is_vary_record()) {
        entry.meta = meta.bytes();
        entry.head = http::IndexedMeta::shortened(view.variant());
    }
    entry.tags = view.tags();
    entry.epoch = view.epoch();
    entry.body_bytes = file_bytes;
    entry.in_file = true;
    return disk.index().begin(entry);
}

/// Whether the disk has none, or one that is stale while this one will be fresh for long: it was validated since.
bool is_news(DiskTier& disk, const shm::CacheView& view, const shm::CacheHash& hash) noexcept
{
    const shm::CacheView known = disk.peek(hash);
    if (!known || view.is_vary_record()) {
        return !known;
    }
    const std::int64_t now_ms = wall_clock_ms();
    return !http::is_fresh(DiskTier::freshness_of(known), now_ms) &&
           http::remaining_s(http::StoredMeta::read(view.meta()).freshness, now_ms) >= kWorthWritingAgain_s;
}

void begin_write(Cache& cache, const shm::CacheView& view, const shm::CacheHash& hash)
{
    DiskTier& disk = *cache.disk();
    if (view.is_on_disk() || !is_news(disk, view, hash) || !disk.may_write() || !cache.may_fetch()) {
        return;
    }
    std::shared_ptr<Writing> writing = describe_writing(cache, view, hash);
    const std::uint64_t header = writing ? shm::disk_header_bytes(writing->object) : 0;
    if (header == 0) {
        return;
    }
    const shm::FillClaim claim = disk.begin_writing(hash);
    const bool is_ours = claim.outcome == shm::ClaimOutcome::mine && view.is_linked();
    auto begun = is_ours ? begin_entry(disk, view, hash, cache.store().name(view.url()).hash, header + writing->object.body_bytes)
                         : std::unexpected(shm::CacheRefusal::busy);
    if (!begun) {
        disk.end_writing(claim);
        disk.row().add(shm::Metric::cache_disk_write_refused);
        disk.tidy(); // perhaps it is only the files of dead objects that stand in the way
        return;
    }
    writing->object.number = begun->file();
    cache.start(std::make_unique<DiskWrite>(cache, claim, view.copy(), std::move(*begun), std::move(writing)));
}

/// A stub's header, which a server has confirmed, to its file.
class HeadWrite final : public Errand {
public:
    HeadWrite(Cache& cache, shm::CacheView view, shm::CacheView entry, std::shared_ptr<Writing> writing)
        : cache_(cache), view_(std::move(view)), entry_(std::move(entry)), writing_(std::move(writing)), wake_(cache.loop())
    {
    }
    ~HeadWrite() override
    {
        if (!is_written_) {
            cache_.disk()->forget(entry_.ref()); // what the file says is older than what is known
        }
    }
    bool is_awaited() const noexcept override { return false; }

private:
    loop::Task<void> run() override;

    Cache& cache_;
    shm::CacheView view_;  ///< the stub, in which the texts lie
    shm::CacheView entry_; ///< of the index: nobody unlinks the file
    std::shared_ptr<Writing> writing_;
    loop::Wake wake_;
    bool is_written_ = false; ///< not known either where the worker ends before that
};

loop::Task<void> HeadWrite::run()
{
    DiskTier& disk = *cache_.disk();
    DiskCall call(disk.jobs(), wake_);
    const bool is_begun = call.start([writing = writing_, folder = disk.folder(), is_stopping = disk.is_stopping()] {
        const bool is_late = is_stopping->load(std::memory_order_relaxed);
        return is_late ? ECANCELED : shm::write_disk_head(folder->get(), writing->object);
    });
    while (!call.is_done()) {
        co_await wake_.wait();
    }
    is_written_ = is_begun && call.code() == 0;
    cache_.retire(*this);
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

void write_head_to_disk(Cache& cache, const shm::CacheView& view)
{
    DiskTier* const disk = cache.disk();
    const shm::CacheHash hash = cache.store().name(view.url(), view.variant()).hash;
    shm::CacheView entry = disk != nullptr ? disk->find(hash) : shm::CacheView();
    if (!entry || entry.file() != view.file()) {
        return; // whoever asks for the body will see that it is gone
    }
    std::shared_ptr<Writing> writing = cache.may_fetch() ? describe_writing(cache, view, hash) : nullptr;
    if (writing) {
        cache.start(std::make_unique<HeadWrite>(cache, view.copy(), std::move(entry), std::move(writing)));
    } else {
        disk->forget(entry.ref());
    }
}

void write_after_hit(Cache& cache, const shm::CacheView& view)
{
    if (cache.disk() != nullptr && std::has_single_bit(view.hits())) {
        write_to_disk(cache, view);
    }
}

} // namespace ladle::worker
