// SPDX-License-Identifier: Apache-2.0
//
// What a writer does to a stripe of the cache's arena while it holds the stripe's lock: cells, entries, index, SIEVE queue, lists.
// Used by CacheStore alone, in any process. Each function is one transaction or more: it leaves the journal committed (those named
// in the private part do not), so a death at any point leaves the stripe as it was before or after a transaction.
//
// An entry is always in exactly one place: the free list; the index and queue (linked); the zombie list (unlinked, pinned); the
// dead-file list (no record, a file to be unlinked); or with the process `owner` (list none: being built, or being disposed of).
#pragma once

#include "common/shm/cache_fills.h"
#include "common/shm/cache_journal.h"

#include <cstdint>
#include <expected>

namespace ladle::shm {

struct CellRun {
    std::uint32_t first = 0;
    std::uint32_t count = 0; ///< 0 = none
};

/// A stripe with its parts as pointers.
struct StripeParts {
    explicit StripeParts(CacheStripe& of) noexcept : stripe(of) {}

    std::byte* at(std::uint64_t offset) const noexcept { return reinterpret_cast<std::byte*>(&stripe) + offset; }
    CacheBucket& bucket(std::uint32_t index) const noexcept
    {
        return reinterpret_cast<CacheBucket*>(at(stripe.buckets_offset))[index];
    }
    CacheEntry& entry(std::uint32_t index) const noexcept
    {
        return reinterpret_cast<CacheEntry*>(at(stripe.entries_offset))[index];
    }
    std::byte* cell(std::uint32_t index) const noexcept { return at(stripe.cells_offset + std::uint64_t{index} * kCellBytes); }
    CachePiece& piece(std::uint32_t first) const noexcept { return *reinterpret_cast<CachePiece*>(cell(first)); }
    RecordHeader* record(const CacheEntry& e) const noexcept
    {
        return reinterpret_cast<RecordHeader*>(cell(e.first_cell.load(std::memory_order_relaxed)));
    }
    /// Precondition: it has a record, and its body is a file of this tier or the other.
    RecordFile& file(const CacheEntry& e) const noexcept { return *reinterpret_cast<RecordFile*>(record(e) + 1); }
    std::uint32_t first_bucket(std::uint64_t fingerprint) const noexcept
    {
        return static_cast<std::uint32_t>(((fingerprint & 0xffff'ffffu) * stripe.bucket_count) >> 32);
    }
    std::uint32_t second_bucket(std::uint64_t fingerprint) const noexcept
    {
        return static_cast<std::uint32_t>(((fingerprint >> 32) * stripe.bucket_count) >> 32);
    }
    std::atomic<std::uint64_t>& word(const CacheBitTree& tree, std::uint32_t level, std::uint32_t index) const noexcept
    {
        return reinterpret_cast<std::atomic<std::uint64_t>*>(at(tree.level_offset[level]))[index];
    }
    bool is_free_block(std::uint32_t order, std::uint32_t block) const noexcept
    {
        const CacheBitTree& tree = stripe.free_blocks[order];
        return block < tree.bits && (word(tree, 0, block / 64).load(std::memory_order_relaxed) >> (block % 64) & 1) != 0;
    }

    CacheStripe& stripe;
};

inline std::uint16_t cache_tag(const CacheHash& hash) noexcept
{
    return static_cast<std::uint16_t>(hash.high);
}

/// Where a body is not in the record: it has a RecordFile.
inline constexpr std::uint8_t kCacheElsewhere = kCacheInFile | kCacheOnDisk;

inline bool has_file(const CacheEntry& entry) noexcept
{
    return (entry.flags() & kCacheElsewhere) != 0;
}
inline RecordFile& record_file(RecordHeader& record) noexcept
{
    return *reinterpret_cast<RecordFile*>(&record + 1);
}
inline const RecordFile& record_file(const RecordHeader& record) noexcept
{
    return *reinterpret_cast<const RecordFile*>(&record + 1);
}

/// How much of the body may be read, and how long it is (kBodyUnknown until it ends).
inline std::uint64_t record_filled(const RecordHeader& record, std::memory_order order) noexcept
{
    return record.has_file != 0 ? record_file(record).filled.load(order) : record.filled.load(order);
}
inline std::uint64_t record_body_bytes(const RecordHeader& record, std::memory_order order) noexcept
{
    if (record.has_file != 0) {
        return record_file(record).body_bytes.load(order);
    }
    const std::uint32_t bytes = record.body_bytes.load(order);
    return bytes == static_cast<std::uint32_t>(kBodyUnknown) ? kBodyUnknown : bytes;
}
inline void set_record_filled(RecordHeader& record, std::uint64_t bytes, std::memory_order order) noexcept
{
    if (record.has_file != 0) {
        record_file(record).filled.store(bytes, order);
    } else {
        record.filled.store(static_cast<std::uint32_t>(bytes), order);
    }
}
inline void set_record_body_bytes(RecordHeader& record, std::uint64_t bytes, std::memory_order order) noexcept
{
    if (record.has_file != 0) {
        record_file(record).body_bytes.store(bytes, order);
    } else {
        record.body_bytes.store(static_cast<std::uint32_t>(bytes), order);
    }
}

/// The parts of a record before its body.
inline const std::byte* record_tags(const RecordHeader& record) noexcept
{
    return reinterpret_cast<const std::byte*>(&record + 1) + (record.has_file != 0 ? sizeof(RecordFile) : 0);
}
inline std::size_t record_tag_bytes(const RecordHeader& record) noexcept
{
    return std::size_t{record.tag_count} * sizeof(std::uint64_t);
}
inline const char* record_text(const RecordHeader& record) noexcept
{
    return reinterpret_cast<const char*>(record_tags(record)) + record_tag_bytes(record) + record.piece.meta_bytes;
}
inline std::size_t record_front_bytes(const RecordHeader& record) noexcept
{
    return static_cast<std::size_t>(record_text(record) - reinterpret_cast<const char*>(&record)) + record.url_bytes +
           record.variant_bytes + record.head_bytes;
}

/// Bytes that an object may have in a stripe: a quarter of its budget (of at most 4 GiB of cells: fits RecordHeader::body_bytes).
inline std::uint64_t largest_object(const CacheStripe& stripe, bool in_file) noexcept
{
    if (in_file && stripe.file_budget_pages != 0) {
        return stripe.file_budget_pages * kFilePageBytes / 4;
    }
    return std::uint64_t{stripe.cell_count} * kCellBytes / 4;
}

/// Lays out a stripe of `bytes` zero bytes: sizes of the parts and all cells free. Master, at make.
void lay_out_stripe(CacheArena& arena, CacheStripe& stripe, std::uint64_t bytes, std::uint64_t file_budget_bytes) noexcept;

/// Whether its sizes and places are those of a stripe of `bytes`: before anything of it is followed that may be damaged.
bool is_laid_out(const CacheStripe& stripe, std::uint64_t bytes) noexcept;

enum class Evicted : std::uint8_t {
    one,   ///< an object left the index
    none,  ///< all that are left are pinned or filling
    later, ///< looked at enough for one turn of the lock: call again
};

class StripeWriter {
public:
    /// The caller holds the stripe's lock as `row`.
    StripeWriter(CacheArena& arena, CacheStripe& stripe, std::uint32_t row) noexcept
        : parts_(stripe), s_(stripe), journal_(arena, row), row_(row)
    {
    }

    /// A new entry in state building, list none, owned by this row; 0 when all are used. Not pinned.
    std::uint32_t take_entry(std::uint8_t flags) noexcept;
    /// Adds a piece of at most `want` cells to the entry's record, at least `least`, behind `last` (nullptr: its first). count 0: no
    /// such run, or no budget. Precondition: the first piece of a record with a RecordFile has room for it.
    CellRun add_piece(CacheEntry& entry, CachePiece* last, std::uint32_t want, std::uint32_t least) noexcept;
    /// Gives back what lies beyond `keep` cells of a piece.
    void trim(CachePiece& piece, std::uint32_t keep) noexcept;
    /// Whether the budget has room for this now.
    bool has_room(std::uint64_t cells, std::uint64_t file_pages) const noexcept;
    /// Sets what is charged for the entry's file. Asks no budget. Precondition of both: StripeParts::file()'s.
    void charge_file(CacheEntry& entry, std::uint64_t pages) noexcept;
    void set_file(CacheEntry& entry, std::uint64_t number) noexcept;

    /// Puts an entry with a record into the index and queue, in place of `old` (0 = none; then evicts in the buckets if both are
    /// full). With `move_file`, the old one's file and charge become its own. False: no slot.
    bool link(std::uint32_t index, const CacheHash& hash, CacheState state, std::uint32_t old, bool move_file) noexcept;
    /// Takes an entry out of the index; disposes of it when nobody holds it, else it is a zombie.
    void unlink(std::uint32_t index) noexcept;
    /// An entry of list none: frees record and entry (or puts it on the dead-file list); a zombie if someone holds it.
    void dispose(std::uint32_t index) noexcept;
    /// One object by SIEVE. `steps`: how many entries may still be looked at in all, reduced.
    Evicted evict(std::uint64_t& steps) noexcept;
    /// Frees zombies that nobody holds any more; looks at `most`. Returns how many it freed.
    std::uint32_t reclaim(std::uint32_t most) noexcept;
    /// Frees the entry of the first dead file.
    void bury_file() noexcept;
    /// Puts the first dead file behind all others: one that cannot be unlinked must not stand in their way.
    void postpone_file() noexcept;

    /// Of a new stripe.
    void free_all_cells() noexcept;

    void count(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }
    const StripeParts& parts() const noexcept { return parts_; }

private:
    // Parts of transactions: the caller commits.
    CellRun take_run(std::uint32_t want, std::uint32_t least) noexcept;
    void take_cells(CellRun run) noexcept;
    void put_run(CellRun run) noexcept;
    void put_block(std::uint32_t first, std::uint32_t order) noexcept;
    void set_bit(const CacheBitTree& tree, std::uint32_t bit) noexcept;
    void clear_bit(const CacheBitTree& tree, std::uint32_t bit) noexcept;
    void queue_push(std::uint32_t index) noexcept;
    void queue_remove(std::uint32_t index) noexcept;
    void leave_index(std::uint32_t index) noexcept;
    void leave_slot(std::uint32_t index) noexcept;
    void zombie_push(std::uint32_t index) noexcept;
    void dead_file_push(std::uint32_t index, std::uint64_t number, std::uint32_t pages) noexcept;
    void set_list(CacheEntry& entry, CacheList list) noexcept;
    void free_entry(std::uint32_t index) noexcept;
    bool put_slot(std::uint32_t bucket, std::uint32_t index, std::uint16_t tag) noexcept;
    bool evict_in(std::uint32_t bucket) noexcept;
    void write_slot(CacheBucket& bucket, std::uint32_t slot, std::uint32_t index, std::uint16_t tag) noexcept;

    StripeParts parts_;
    CacheStripe& s_;
    JournalWriter journal_;
    std::uint32_t row_;
};

} // namespace ladle::shm
