// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_store.h"

#include "common/base/assert.h"
#include "common/shm/cache_stripe.h"
#include "common/shm/cache_uses.h"

#include <xxhash.h>

#include <cstring>
#include <utility>

namespace ladle::shm {

namespace {

constexpr int kTries = 100; ///< of a lookup, while writers are in its way
constexpr std::uint64_t kVariantMix = 0x9e3779b97f4a7c15;

std::uint32_t stripe_of(const CacheHeader& header, const CacheHash& hash) noexcept
{
    return static_cast<std::uint32_t>(((hash.high >> 32) * header.stripe_count) >> 32);
}

} // namespace

// --- views

CacheView::CacheView(CacheStore& store, CacheEntry& entry, CacheRef ref) noexcept
    : store_(&store), entry_(&entry), record_(StripeParts(store.arena_.stripe(ref.stripe)).record(entry)), ref_(ref)
{
}

CacheView::CacheView(CacheView&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)), entry_(other.entry_), record_(other.record_), ref_(other.ref_)
{
}

CacheView& CacheView::operator=(CacheView&& other) noexcept
{
    if (this != &other) {
        if (store_ != nullptr) {
            store_->unpin(*entry_);
        }
        store_ = std::exchange(other.store_, nullptr);
        entry_ = other.entry_;
        record_ = other.record_;
        ref_ = other.ref_;
    }
    return *this;
}

CacheView::~CacheView()
{
    if (store_ != nullptr) {
        store_->unpin(*entry_);
    }
}

CacheView CacheView::copy() const noexcept
{
    store_->pin(*entry_);
    return {*store_, *entry_, ref_};
}

std::string_view CacheView::url() const noexcept
{
    return {record_text(*record_), record_->url_bytes};
}

std::string_view CacheView::variant() const noexcept
{
    return {record_text(*record_) + record_->url_bytes, record_->variant_bytes};
}

std::span<const std::byte> CacheView::meta() const noexcept
{
    return {record_tags(*record_) + record_tag_bytes(*record_), record_->piece.meta_bytes};
}

std::string_view CacheView::head() const noexcept
{
    return {record_text(*record_) + record_->url_bytes + record_->variant_bytes, record_->head_bytes};
}

std::span<const std::uint64_t> CacheView::tags() const noexcept
{
    return {reinterpret_cast<const std::uint64_t*>(record_tags(*record_)), record_->tag_count};
}

std::uint64_t CacheView::body_bytes() const noexcept
{
    return record_body_bytes(*record_, std::memory_order_acquire);
}

std::uint64_t CacheView::filled() const noexcept
{
    return record_filled(*record_, std::memory_order_acquire);
}

std::uint64_t CacheView::file() const noexcept
{
    return record_->has_file != 0 ? record_file(*record_).number.load(std::memory_order_acquire) : 0;
}

std::size_t CacheView::body(std::uint64_t offset, std::uint64_t end, iovec* out, std::size_t capacity) const noexcept
{
    if (is_on_disk()) {
        return 0;
    }
    const StripeParts parts(store_->arena_.stripe(ref_.stripe));
    const std::uint64_t filled_now = filled();
    end = end < filled_now ? end : filled_now;
    std::size_t count = 0;
    CachePiece* piece = &record_->piece;
    std::uint64_t skip = record_front_bytes(*record_);
    std::uint64_t at = 0; // of the body, where this piece begins
    while (at < end && count < capacity) {
        const std::uint64_t here = std::uint64_t{piece->cells.load(std::memory_order_relaxed)} * kCellBytes - skip;
        if (offset < at + here) {
            const std::uint64_t from = offset > at ? offset - at : 0;
            const std::uint64_t until = end - at < here ? end - at : here;
            if (from >= until) {
                break;
            }
            out[count++] = {reinterpret_cast<std::byte*>(piece) + skip + from, static_cast<std::size_t>(until - from)};
        }
        at += here;
        const std::uint32_t next = piece->next.load(std::memory_order_acquire);
        if (next == kNoCell) {
            break;
        }
        piece = &parts.piece(next);
        skip = sizeof(CachePiece);
    }
    return count;
}

std::uint32_t CacheView::uses_here() const noexcept
{
    return store_->uses_->count(entry_);
}

std::uint64_t CacheView::stored_bytes() const noexcept
{
    // While it is being filled its last pieces may be given back under our eyes: then this is a wrong number, but one.
    const StripeParts parts(store_->arena_.stripe(ref_.stripe));
    std::uint64_t cells = record_->piece.cells.load(std::memory_order_relaxed);
    std::uint32_t next = record_->piece.next.load(std::memory_order_acquire);
    for (std::uint32_t pieces = 1; pieces < kMaxPieces && next < parts.stripe.cell_count; ++pieces) {
        cells += parts.piece(next).cells.load(std::memory_order_relaxed);
        next = parts.piece(next).next.load(std::memory_order_acquire);
    }
    const std::uint64_t pages = record_->has_file != 0 ? record_file(*record_).pages.load(std::memory_order_relaxed) : 0;
    return cells * kCellBytes + pages * kFilePageBytes;
}

bool CacheView::is_linked() const noexcept
{
    return entry_->is_linked(std::memory_order_acquire);
}

// --- the store: reading

CacheStore::CacheStore(CacheArena& arena, std::uint32_t row)
    : arena_(arena), row_(row), uses_(std::make_unique<CacheUses>()), purges_(arena, row), fills_(arena, row)
{
    LADLE_ASSERT(row < kMaxProcesses);
}

CacheStore::~CacheStore() = default;

CacheName CacheStore::name(std::string_view url, std::string_view variant) const noexcept
{
    const std::uint64_t seed = arena_.seed();
    const XXH128_hash_t of_url = XXH3_128bits_withSeed(url.data(), url.size(), seed);
    if (variant.empty()) {
        return {url, variant, {of_url.low64, of_url.high64}};
    }
    const XXH128_hash_t both = XXH3_128bits_withSeed(variant.data(), variant.size(), of_url.low64 ^ seed * kVariantMix);
    return {url, variant, {both.low64 ^ of_url.high64, both.high64}};
}

CacheName CacheStore::name_by_hash(const CacheHash& hash, std::span<char, 16> bytes) noexcept
{
    std::memcpy(bytes.data(), &hash, sizeof hash);
    return {{bytes.data(), bytes.size()}, {}, hash};
}

void CacheStore::pin(CacheEntry& entry) noexcept
{
    if (uses_->add(&entry)) {
        entry.pins.fetch_or(std::uint64_t{1} << row_, std::memory_order_seq_cst);
    }
}

void CacheStore::unpin(CacheEntry& entry) noexcept
{
    if (uses_->remove(&entry)) {
        entry.pins.fetch_and(~(std::uint64_t{1} << row_), std::memory_order_release);
    }
}

CacheView CacheStore::pin_linked(std::uint32_t stripe, std::uint32_t index) noexcept
{
    const StripeParts parts(arena_.stripe(stripe));
    CacheEntry& entry = parts.entry(index);
    if (!entry.is_linked()) {
        return {};
    }
    const std::byte* const record = parts.cell(entry.first_cell.load(std::memory_order_relaxed)); // or anything: only asked for
    __builtin_prefetch(record); // the pin below is a barrier for loads, not for these
    __builtin_prefetch(record + kCellBytes);
    __builtin_prefetch(record + 2 * kCellBytes);
    pin(entry);
    // Pinned first, looked at then: a writer unlinks first and looks at the pins then. So what is linked now stays until unpinned.
    if (!entry.is_linked(std::memory_order_seq_cst) || entry.state.load(std::memory_order_acquire) == CacheState::aborted) {
        unpin(entry);
        return {};
    }
    return {*this, entry, {stripe, index, entry.generation.load(std::memory_order_relaxed)}};
}

namespace {

bool is_named(const CacheView& view, const CacheName& name) noexcept
{
    return view.url() == name.url && view.variant() == name.variant;
}

} // namespace

void CacheStore::prefetch(const CacheHash& hash) const noexcept
{
    const StripeParts parts(arena_.stripe(stripe_of(arena_.header(), hash)));
    __builtin_prefetch(&parts.bucket(parts.first_bucket(hash.low)));
    __builtin_prefetch(&parts.bucket(parts.second_bucket(hash.low)));
}

std::uint64_t CacheStore::largest_body(const CacheHash& hash, bool in_file) const noexcept
{
    return largest_object(arena_.stripe(stripe_of(arena_.header(), hash)), in_file);
}

CacheView CacheStore::find_pinned(const CacheName& name) noexcept
{
    const std::uint32_t stripe = stripe_of(arena_.header(), name.hash);
    const StripeParts parts(arena_.stripe(stripe));
    CacheBucket* const buckets[] = {&parts.bucket(parts.first_bucket(name.hash.low)),
                                    &parts.bucket(parts.second_bucket(name.hash.low))};
    __builtin_prefetch(buckets[1]);
    const std::uint16_t tag = cache_tag(name.hash);
    for (int tries = 0; tries < kTries; ++tries) {
        const std::uint32_t seqs[] = {buckets[0]->seq.load(std::memory_order_acquire),
                                      buckets[1]->seq.load(std::memory_order_acquire)};
        bool is_lost = false;
        for (const CacheBucket* bucket : buckets) {
            for (std::uint32_t slot = 0; slot < kBucketSlots; ++slot) {
                if (bucket->tags[slot].load(std::memory_order_relaxed) != tag) {
                    continue;
                }
                const std::uint32_t index = bucket->entries[slot].load(std::memory_order_acquire);
                if (index == 0 || index >= parts.stripe.entry_count) {
                    continue;
                }
                CacheView view = pin_linked(stripe, index);
                if (view && is_named(view, name)) {
                    return view;
                }
                is_lost = is_lost || !view; // replaced or removed under our eyes: look again
            }
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if (!is_lost && ((seqs[0] | seqs[1]) & 1) == 0 && buckets[0]->seq.load(std::memory_order_relaxed) == seqs[0] &&
            buckets[1]->seq.load(std::memory_order_relaxed) == seqs[1]) {
            break;
        }
    }
    return {};
}

CacheFound CacheStore::find(const CacheName& name, std::string_view purge_url) noexcept
{
    CacheFound found{find_pinned(name)};
    if (!found.view) {
        return found;
    }
    CacheEntry& entry = *found.view.entry_;
    RecordHeader& record = *found.view.record_;
    const std::uint64_t epoch = purges_.epoch();
    if (record.epoch < epoch && record.epoch + record.checked.load(std::memory_order_relaxed) != epoch) {
        const PurgeState state = purges_.state(purge_url.empty() ? name.url : purge_url, found.view.tags(), record.epoch);
        if (state == PurgeState::hard) {
            return {};
        }
        found.soft_purged = state == PurgeState::soft;
        if (state == PurgeState::none) {
            const std::uint64_t since = epoch - record.epoch; // too many to note: it is asked each time
            record.checked.store(since <= ~std::uint32_t{0} ? static_cast<std::uint32_t>(since) : 0, std::memory_order_relaxed);
        }
    }
    if (entry.visited.load(std::memory_order_relaxed) == 0) {
        entry.visited.store(1, std::memory_order_relaxed);
    }
    record.hits.store(record.hits.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return found;
}

CacheView CacheStore::peek(const CacheName& name) noexcept
{
    return find_pinned(name);
}

const CacheView* CacheWalk::next() noexcept
{
    view_ = {};
    for (; stripe_ < store_.arena_.header().stripe_count; ++stripe_, entry_ = 1) {
        while (entry_ < store_.arena_.stripe(stripe_).entries_touched.load(std::memory_order_acquire)) {
            view_ = store_.pin_linked(stripe_, entry_++);
            if (view_) {
                return &view_;
            }
        }
    }
    return nullptr;
}

CacheCounts CacheStore::counts() const noexcept
{
    const CacheHeader& header = arena_.header();
    CacheCounts counts;
    if (!arena_.is_whole()) {
        return counts; // `ladle status` shall still be there for who wants to know what is wrong
    }
    counts.table_bytes = header.stripes_offset;
    for (std::uint32_t i = 0; i < header.stripe_count; ++i) {
        const CacheStripe& stripe = arena_.stripe(i);
        const auto read = [](const auto& value) { return std::uint64_t{value.load(std::memory_order_relaxed)}; };
        counts.objects += read(stripe.objects);
        counts.cell_bytes += (stripe.cell_count - read(stripe.free_cells)) * kCellBytes;
        counts.cell_bytes_total += std::uint64_t{stripe.cell_count} * kCellBytes;
        counts.file_bytes += read(stripe.file_pages) * kFilePageBytes;
        counts.table_bytes += stripe.cells_offset;
        counts.zombies += read(stripe.zombies);
        counts.dead_files += read(stripe.dead_files);
        counts.stored += read(stripe.stored);
        counts.replaced += read(stripe.replaced);
        counts.evictions += read(stripe.evictions);
        for (std::size_t why = 0; why < kCacheRefusals; ++why) {
            counts.refusals[why] += read(stripe.refusals[why]);
        }
    }
    return counts;
}

} // namespace ladle::shm
