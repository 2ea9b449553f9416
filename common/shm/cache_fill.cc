// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_store.h"
#include "common/shm/cache_stripe.h"
#include "common/shm/cache_uses.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace ladle::shm {

namespace {

constexpr std::uint32_t kEvictionsPerTurn = 128; ///< under one hold of the lock
constexpr int kTurns = 4096;                     ///< of one reservation at most

std::uint64_t cells_of(std::uint64_t bytes) noexcept
{
    return (bytes + kCellBytes - 1) / kCellBytes;
}

std::uint64_t pages_of(std::uint64_t bytes) noexcept
{
    return (bytes + kFilePageBytes - 1) / kFilePageBytes;
}

/// `flags`: of the entry.
std::size_t front_of(const CacheObject& object, std::uint8_t flags) noexcept
{
    return sizeof(RecordHeader) + ((flags & kCacheElsewhere) != 0 ? sizeof(RecordFile) : 0) +
           object.tags.size() * sizeof(std::uint64_t) + object.meta.size() + object.name.url.size() + object.name.variant.size() +
           object.head.size();
}

bool is_sane(const CacheObject& object) noexcept
{
    return object.name.url.size() <= 0xffff && object.name.variant.size() <= 0xffff && object.meta.size() <= 0xffff &&
           object.tags.size() <= kMostRecordTags && object.head.size() <= kMostHeadBytes;
}

/// Makes room under a stripe's lock by evicting, letting go of the lock now and then.
class Room {
public:
    Room(CacheArena& arena, CacheStripe& stripe, std::uint32_t row, std::uint64_t& locks) noexcept
        : stripe_(stripe), row_(row), locks_(locks), writer_(arena, stripe, row)
    {
        lock_.emplace(stripe.lock, row);
        ++locks_;
        steps_ = 2 * std::uint64_t{stripe.objects.load(std::memory_order_relaxed)} + 2;
    }

    bool is_locked() const noexcept { return lock_ && *lock_; }
    StripeWriter& writer() noexcept { return writer_; }

    /// Evicts one object, or says why there is no use in it. After busy the lock is lost.
    std::expected<void, CacheRefusal> evict() noexcept
    {
        for (;;) {
            if (turn_ >= kEvictionsPerTurn) {
                turn_ = 0;
                lock_.reset();
                lock_.emplace(stripe_.lock, row_);
                ++locks_;
                if (!is_locked()) {
                    return std::unexpected(CacheRefusal::busy);
                }
            }
            if (++turns_ > kTurns) {
                return std::unexpected(CacheRefusal::no_space);
            }
            const Evicted evicted = writer_.evict(steps_);
            if (evicted == Evicted::one) {
                ++turn_;
                return {};
            }
            if (evicted == Evicted::none) {
                const bool is_file_room = stripe_.dead_file_pages.load(std::memory_order_relaxed) != 0;
                return std::unexpected(is_file_room ? CacheRefusal::waiting_for_files : CacheRefusal::no_space);
            }
            turn_ = kEvictionsPerTurn;
        }
    }

    /// Until the budget has room for it. What dead files hold does not come back by evicting more.
    std::expected<void, CacheRefusal> make(std::uint64_t cells, std::uint64_t file_pages) noexcept
    {
        while (!writer_.has_room(cells, file_pages)) {
            if (would_do_without_dead_files(cells, file_pages)) {
                return std::unexpected(CacheRefusal::waiting_for_files);
            }
            if (auto evicted = evict(); !evicted) {
                return evicted;
            }
        }
        return {};
    }

private:
    bool would_do_without_dead_files(std::uint64_t cells, std::uint64_t file_pages) const noexcept
    {
        const std::uint64_t dead = stripe_.dead_file_pages.load(std::memory_order_relaxed);
        const std::uint64_t charged = stripe_.file_pages.load(std::memory_order_relaxed) - dead + file_pages;
        const std::uint64_t free = stripe_.free_cells.load(std::memory_order_relaxed);
        if (dead == 0 || cells > free) {
            return false;
        }
        if (stripe_.file_budget_pages != 0) {
            return charged <= stripe_.file_budget_pages;
        }
        return (stripe_.cell_count - free + cells) * kCellBytes + charged * kFilePageBytes <=
               std::uint64_t{stripe_.cell_count} * kCellBytes;
    }

    CacheStripe& stripe_;
    std::uint32_t row_;
    std::uint64_t& locks_;
    std::optional<CacheLock> lock_;
    StripeWriter writer_;
    std::uint64_t steps_ = 0;
    std::uint32_t turn_ = 0;
    int turns_ = 0;
};

/// Adds pieces to an entry that has `pieces` of them until `got` is at least `bytes` (the pieces' headers not counted, but for the
/// first's, which is the record's). What was added may be used even where no more could be had.
std::expected<void, CacheRefusal> add_pieces(Room& room, CacheEntry& entry, CachePiece* last, std::uint32_t pieces,
                                             std::uint64_t bytes, std::uint64_t first_least, std::uint64_t& got) noexcept
{
    while (got < bytes) {
        const std::uint64_t link_bytes = last == nullptr ? 0 : sizeof(CachePiece);
        if (pieces >= kMaxPieces) {
            return std::unexpected(CacheRefusal::no_space);
        }
        const std::uint64_t want = cells_of(bytes - got + link_bytes);
        const std::uint64_t least =
            std::max(last == nullptr ? first_least : 1, cells_of((bytes - got) / (kMaxPieces - pieces) + link_bytes));
        if (auto made = room.make(want, 0); !made) {
            return std::unexpected(made.error());
        }
        const CellRun run =
            room.writer().add_piece(entry, last, static_cast<std::uint32_t>(want), static_cast<std::uint32_t>(least));
        if (run.count == 0) {
            if (auto evicted = room.evict(); !evicted) {
                return std::unexpected(evicted.error());
            }
            continue;
        }
        got += std::uint64_t{run.count} * kCellBytes - link_bytes;
        last = &room.writer().parts().piece(run.first);
        ++pieces;
    }
    return {};
}

bool is_same_key(const RecordHeader& a, const RecordHeader& b) noexcept
{
    return a.url_bytes == b.url_bytes && a.variant_bytes == b.variant_bytes &&
           std::memcmp(record_text(a), record_text(b), std::size_t{a.url_bytes} + a.variant_bytes) == 0;
}

/// Writes all but the body into the first piece. Not journalled: nobody sees it yet.
void write_front(RecordHeader& record, const CacheObject& object, std::uint8_t flags) noexcept
{
    record.has_file = (flags & kCacheElsewhere) != 0;
    set_record_filled(record, 0, std::memory_order_relaxed);
    set_record_body_bytes(record, object.vary_record ? 0 : object.body_bytes, std::memory_order_relaxed);
    record.epoch = object.epoch;
    record.checked.store(0, std::memory_order_relaxed);
    record.hits.store(0, std::memory_order_relaxed);
    record.head_bytes = static_cast<std::uint32_t>(object.head.size()) & kMostHeadBytes;
    record.url_bytes = static_cast<std::uint16_t>(object.name.url.size());
    record.variant_bytes = static_cast<std::uint16_t>(object.name.variant.size());
    record.piece.meta_bytes = static_cast<std::uint16_t>(object.meta.size());
    record.tag_count = static_cast<std::uint32_t>(object.tags.size()) & kMostRecordTags;
    auto* at = const_cast<std::byte*>(record_tags(record));
    const auto put = [&at](const void* from, std::size_t bytes) {
        if (bytes != 0) {
            std::memcpy(at, from, bytes);
            at += bytes;
        }
    };
    put(object.tags.data(), object.tags.size_bytes());
    put(object.meta.data(), object.meta.size());
    put(object.name.url.data(), object.name.url.size());
    put(object.name.variant.data(), object.name.variant.size());
    put(object.head.data(), object.head.size());
}

} // namespace

CacheRefusal CacheStore::refuse(std::uint32_t stripe, CacheRefusal why) noexcept
{
    arena_.stripe(stripe).refusals[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
    return why;
}

std::expected<CacheFill, CacheRefusal> CacheStore::begin(const CacheObject& object) noexcept
{
    if (object.disk_file != 0) {
        return begin_with(object, object.disk_file, kCacheOnDisk);
    }
    return begin_with(object, object.in_file ? arena_.header().next_file.fetch_add(1, std::memory_order_relaxed) : 0, 0);
}

std::expected<CacheFill, CacheRefusal> CacheStore::begin_with(const CacheObject& object, std::uint64_t file,
                                                              std::uint8_t more_flags) noexcept
{
    const auto number = static_cast<std::uint32_t>(((object.name.hash.high >> 32) * arena_.header().stripe_count) >> 32);
    CacheStripe& stripe = arena_.stripe(number);
    if (!is_sane(object)) {
        return std::unexpected(refuse(number, CacheRefusal::bad_request));
    }
    const auto flags =
        static_cast<std::uint8_t>(more_flags | (object.vary_record ? kCacheVaryRecord : 0) | (object.in_file ? kCacheInFile : 0));
    const std::size_t front = front_of(object, flags);
    const bool is_known = object.body_bytes != kBodyUnknown;
    const std::uint64_t file_pages = object.in_file && is_known ? pages_of(object.body_bytes) : 0;
    const bool is_inline = !object.in_file && !object.vary_record && object.disk_file == 0;
    const std::uint64_t inline_bytes = is_inline && is_known ? object.body_bytes : 0;
    if (inline_bytes > largest_object(stripe, false) || front + inline_bytes > largest_object(stripe, false) ||
        (is_known && object.in_file && object.body_bytes > largest_object(stripe, true)) ||
        cells_of(front) > 1u << (kCellOrders - 1)) {
        return std::unexpected(refuse(number, CacheRefusal::too_large));
    }
    Room room(arena_, stripe, row_, locks_taken_);
    if (!room.is_locked()) {
        return std::unexpected(refuse(number, CacheRefusal::busy));
    }
    room.writer().reclaim(4);
    if (auto made = room.make(cells_of(front + inline_bytes), file_pages); !made) {
        return std::unexpected(refuse(number, made.error()));
    }
    std::uint32_t index = room.writer().take_entry(flags);
    while (index == 0) {
        if (auto evicted = room.evict(); !evicted) {
            return std::unexpected(refuse(number, evicted.error()));
        }
        index = room.writer().take_entry(flags);
    }
    CacheEntry& entry = room.writer().parts().entry(index);
    std::uint64_t got = 0;
    auto added = add_pieces(room, entry, nullptr, 0, front + inline_bytes, cells_of(front), got);
    if (added && file_pages != 0) {
        added = room.make(0, file_pages);
    }
    if (!added) {
        if (room.is_locked()) {
            room.writer().dispose(index);
        } else {
            entry.state.store(CacheState::aborted, std::memory_order_release); // the sweep disposes of it
        }
        return std::unexpected(refuse(number, added.error()));
    }
    if (file != 0) {
        room.writer().set_file(entry, file);
        if (file_pages != 0) {
            room.writer().charge_file(entry, file_pages);
        }
    }
    pin(entry);
    CacheFill fill;
    fill.view_ = CacheView(*this, entry, {number, index, entry.generation.load(std::memory_order_relaxed)});
    fill.hash_ = object.name.hash;
    write_front(*fill.view_.record_, object, flags);
    fill.room_ = object.in_file ? file_pages * kFilePageBytes : got - front;
    fill.last_ = &fill.view_.record_->piece;
    fill.last_cells_ = fill.last_->cells.load(std::memory_order_relaxed);
    fill.last_used_ = static_cast<std::uint32_t>(front);
    return fill;
}

std::expected<CacheView, CacheRefusal> CacheStore::store(const CacheObject& object, std::string_view body) noexcept
{
    CacheObject whole = object;
    whole.body_bytes = body.size();
    whole.in_file = false;
    auto fill = begin(whole);
    if (!fill) {
        return std::unexpected(fill.error());
    }
    if (!fill->write(std::as_bytes(std::span(body)))) {
        return std::unexpected(CacheRefusal::no_space);
    }
    CacheView view = fill->view().copy();
    if (!fill->complete()) {
        return std::unexpected(refuse(view.ref().stripe, CacheRefusal::busy));
    }
    return view;
}

std::expected<CacheView, CacheRefusal> CacheStore::freshen(const CacheView& old, const CacheObject& object) noexcept
{
    constexpr CacheRefusal kWasReplaced = CacheRefusal::bad_request; // not counted: others freshen it too, and one was faster
    if (!old.is_linked()) {
        return std::unexpected(kWasReplaced);
    }
    if (old.state() != CacheState::complete || old.url() != object.name.url || old.variant() != object.name.variant) {
        return std::unexpected(refuse(old.ref().stripe, CacheRefusal::bad_request));
    }
    CacheObject fresh = object;
    const bool is_elsewhere = old.is_in_file() || old.is_on_disk();
    fresh.body_bytes = is_elsewhere ? 0 : old.body_bytes();
    fresh.in_file = false;
    fresh.disk_file = 0;
    fresh.vary_record = old.is_vary_record();
    // A stub may have the same number as the one before it; a file of our own moves when the new one takes the old one's place.
    const auto flags = static_cast<std::uint8_t>(old.entry_->flags() & kCacheElsewhere);
    auto fill = begin_with(fresh, old.is_on_disk() ? old.file() : 0, flags);
    if (!fill) {
        return std::unexpected(fill.error());
    }
    iovec pieces[kMaxPieces];
    const std::size_t count = is_elsewhere ? 0 : old.body(0, old.body_bytes(), pieces, kMaxPieces);
    for (std::size_t i = 0; i < count; ++i) {
        if (!fill->write({static_cast<const std::byte*>(pieces[i].iov_base), pieces[i].iov_len})) {
            return std::unexpected(CacheRefusal::no_space);
        }
    }
    if (is_elsewhere) {
        set_record_body_bytes(*fill->view_.record_, old.body_bytes(), std::memory_order_relaxed);
        set_record_filled(*fill->view_.record_, old.filled(), std::memory_order_relaxed);
    }
    if (const auto refusal = link(*fill, CacheState::complete, &old)) {
        return std::unexpected(*refusal == kWasReplaced ? kWasReplaced : refuse(old.ref().stripe, *refusal));
    }
    return std::move(fill->view_);
}

std::expected<void, CacheRefusal> CacheStore::adopt_file(const CacheObject& object, std::uint64_t number) noexcept
{
    auto& next_file = arena_.header().next_file;
    for (std::uint64_t next = next_file.load(); next <= number && !next_file.compare_exchange_weak(next, number + 1);) {
    }
    const auto stripe_number = static_cast<std::uint32_t>(((object.name.hash.high >> 32) * arena_.header().stripe_count) >> 32);
    if (!object.in_file || object.body_bytes == kBodyUnknown || number == 0) {
        return std::unexpected(refuse(stripe_number, CacheRefusal::bad_request));
    }
    {
        CacheStripe& stripe = arena_.stripe(stripe_number);
        CacheLock lock(stripe.lock, row_);
        ++locks_taken_;
        const bool has_entry = stripe.unused_head.load(std::memory_order_relaxed) != 0 ||
                               stripe.entries_touched.load(std::memory_order_relaxed) < stripe.entry_count;
        if (lock && !(has_entry && StripeWriter(arena_, stripe, row_).has_room(cells_of(front_of(object, kCacheInFile)), pages_of(object.body_bytes)))) {
            return std::unexpected(refuse(stripe_number, CacheRefusal::no_space));
        }
    }
    auto fill = begin_with(object, number, 0);
    if (!fill) {
        return std::unexpected(fill.error());
    }
    fill->advance(object.body_bytes);
    if (!fill->complete()) {
        return std::unexpected(CacheRefusal::busy);
    }
    return {};
}

std::optional<CacheRefusal> CacheStore::link(CacheFill& fill, CacheState state, const CacheView* file_from) noexcept
{
    const CacheRef ref = fill.view_.ref();
    CacheStripe& stripe = arena_.stripe(ref.stripe);
    CacheLock lock(stripe.lock, row_);
    ++locks_taken_;
    if (!lock) {
        return CacheRefusal::busy;
    }
    StripeWriter writer(arena_, stripe, row_);
    std::uint32_t old = 0;
    const StripeParts& parts = writer.parts();
    for (const std::uint32_t number : {parts.first_bucket(fill.hash_.low), parts.second_bucket(fill.hash_.low)}) {
        const CacheBucket& bucket = parts.bucket(number);
        for (std::uint32_t slot = 0; slot < kBucketSlots; ++slot) {
            const std::uint32_t index = bucket.entries[slot].load(std::memory_order_relaxed);
            if (index != 0 && bucket.tags[slot].load(std::memory_order_relaxed) == cache_tag(fill.hash_) &&
                is_same_key(*parts.record(parts.entry(index)), *fill.view_.record_)) {
                old = index;
            }
        }
    }
    if (file_from != nullptr && (old != file_from->ref().entry ||
                                 parts.entry(old).generation.load(std::memory_order_relaxed) != file_from->ref().generation)) {
        return CacheRefusal::bad_request;
    }
    if (!writer.link(ref.entry, fill.hash_, state, old, file_from != nullptr && file_from->is_in_file())) {
        return CacheRefusal::no_space;
    }
    writer.count(old != 0 ? stripe.replaced : stripe.stored);
    fill.published_ = true;
    return {};
}

// --- the object being stored

CacheFill& CacheFill::operator=(CacheFill&& other) noexcept
{
    if (this != &other) {
        abort();
        view_ = std::move(other.view_);
        hash_ = other.hash_;
        room_ = other.room_;
        last_ = other.last_;
        last_cells_ = other.last_cells_;
        last_used_ = other.last_used_;
        published_ = other.published_;
    }
    return *this;
}

CacheFill::~CacheFill()
{
    abort();
}

bool CacheFill::publish() noexcept
{
    return published_ || !view_.store_->link(*this, CacheState::filling, nullptr);
}

bool CacheFill::write(std::span<const std::byte> bytes) noexcept
{
    RecordHeader& record = *view_.record_;
    const std::uint64_t filled = record.filled.load(std::memory_order_relaxed);
    if (filled + bytes.size() > room_) {
        const bool is_known = record_body_bytes(record, std::memory_order_relaxed) != kBodyUnknown;
        const std::uint64_t total = filled + bytes.size();
        if (is_known || (!grow(std::max(total, 2 * filled)) && !grow(total))) {
            return false;
        }
    }
    if (record_body_bytes(record, std::memory_order_relaxed) < filled + bytes.size()) {
        return false;
    }
    const StripeParts parts(view_.store_->arena_.stripe(view_.ref_.stripe));
    while (!bytes.empty()) {
        if (last_used_ == last_cells_ * kCellBytes) {
            last_ = &parts.piece(last_->next.load(std::memory_order_relaxed));
            last_cells_ = last_->cells.load(std::memory_order_relaxed);
            last_used_ = sizeof(CachePiece);
        }
        const std::size_t here = std::min<std::size_t>(bytes.size(), last_cells_ * kCellBytes - last_used_);
        std::memcpy(reinterpret_cast<std::byte*>(last_) + last_used_, bytes.data(), here);
        last_used_ += static_cast<std::uint32_t>(here);
        bytes = bytes.subspan(here);
        record.filled.store(record.filled.load(std::memory_order_relaxed) + static_cast<std::uint32_t>(here), std::memory_order_release);
    }
    return true;
}

void CacheFill::advance(std::uint64_t bytes) noexcept
{
    RecordHeader& record = *view_.record_;
    set_record_filled(record, record_filled(record, std::memory_order_relaxed) + bytes, std::memory_order_release);
}

std::expected<void, CacheRefusal> CacheFill::grow(std::uint64_t total) noexcept
{
    if (total <= room_) {
        return {};
    }
    CacheStore& store = *view_.store_;
    const std::uint32_t number = view_.ref_.stripe;
    CacheStripe& stripe = store.arena_.stripe(number);
    if (total > largest_object(stripe, view_.is_in_file())) {
        return std::unexpected(store.refuse(number, CacheRefusal::too_large));
    }
    Room room(store.arena_, stripe, store.row_, store.locks_taken_);
    if (!room.is_locked()) {
        return std::unexpected(store.refuse(number, CacheRefusal::busy));
    }
    if (view_.is_in_file()) {
        const std::uint64_t pages = pages_of(total);
        const std::uint64_t charged = record_file(*view_.record_).pages.load(std::memory_order_relaxed);
        if (auto made = room.make(0, pages - charged); !made) {
            return std::unexpected(store.refuse(number, made.error()));
        }
        room.writer().charge_file(*view_.entry_, pages);
        room_ = pages * kFilePageBytes;
        return {};
    }
    CachePiece* last = &view_.record_->piece;
    std::uint32_t pieces = 1;
    for (; last->next.load(std::memory_order_relaxed) != kNoCell; ++pieces) {
        last = &room.writer().parts().piece(last->next.load(std::memory_order_relaxed));
    }
    if (auto added = add_pieces(room, *view_.entry_, last, pieces, total, 1, room_); !added) {
        return std::unexpected(store.refuse(number, added.error()));
    }
    return {};
}

void CacheFill::give_back_rest() noexcept
{
    CacheStore& store = *view_.store_;
    CacheEntry& entry = *view_.entry_;
    const std::uint64_t pages = pages_of(view_.filled());
    const bool is_file = view_.is_in_file() && view_.file() != 0;
    const bool has_rest = is_file ? record_file(*view_.record_).pages.load(std::memory_order_relaxed) > pages
                                  : last_->next.load(std::memory_order_relaxed) != kNoCell || cells_of(last_used_) < last_cells_;
    if (!has_rest) {
        return;
    }
    CacheStripe& stripe = store.arena_.stripe(view_.ref_.stripe);
    CacheLock lock(stripe.lock, store.row_);
    ++store.locks_taken_;
    if (lock) { // else it keeps what it has
        StripeWriter writer(store.arena_, stripe, store.row_);
        if (is_file) {
            writer.charge_file(entry, pages);
        } else {
            writer.trim(*last_, static_cast<std::uint32_t>(cells_of(last_used_)));
        }
    }
}

bool CacheFill::complete() noexcept
{
    RecordHeader& record = *view_.record_;
    const std::uint64_t filled = record_filled(record, std::memory_order_relaxed);
    const std::uint64_t announced = record_body_bytes(record, std::memory_order_relaxed);
    if (announced != kBodyUnknown && announced != filled) {
        abort();
        return false;
    }
    give_back_rest();
    set_record_body_bytes(record, filled, std::memory_order_release);
    if (!published_) {
        if (view_.store_->link(*this, CacheState::complete, nullptr)) {
            abort();
            return false;
        }
    } else {
        view_.entry_->state.store(CacheState::complete, std::memory_order_release);
    }
    view_ = {};
    return true;
}

void CacheFill::abort() noexcept
{
    if (!view_) {
        return;
    }
    CacheStore& store = *view_.store_;
    CacheEntry& entry = *view_.entry_;
    const CacheRef ref = view_.ref_;
    entry.state.store(CacheState::aborted, std::memory_order_release);
    view_ = {};
    CacheStripe& stripe = store.arena_.stripe(ref.stripe);
    CacheLock lock(stripe.lock, store.row_);
    ++store.locks_taken_;
    if (!lock || entry.generation.load(std::memory_order_relaxed) != ref.generation) {
        return; // the sweep does it
    }
    StripeWriter writer(store.arena_, stripe, store.row_);
    if (entry.is_linked()) {
        writer.unlink(ref.entry);
    } else if (entry.list() == CacheList::none) {
        writer.dispose(ref.entry);
    }
}

std::uint64_t CacheFill::rows_reading() const noexcept
{
    return view_.entry_->pins.load(std::memory_order_seq_cst) & ~(std::uint64_t{1} << view_.store_->row_);
}

} // namespace ladle::shm
