// SPDX-License-Identifier: Apache-2.0
//
// The bytes of the cache's arena: a memfd of its own, made by the master, mapped by all processes; offsets, never pointers.
//
//   arena  ─► │ prefix, counters │ purge table │ fill table │ request counts │ journal of row 0 … 63 │ stripe 0 │ stripe 1 │ … │
//   stripe ─► │ lock, lists, sums │ buckets │ entries │ free-cell bit trees, one per order │ cells of 32 B … │
//   bucket ─► │ seq │ 10 tags │ 10 entry numbers │ 64 B; an object is in one of its two buckets
//   entry  ─► │ pins · first piece · bucket · links · state │ 32 B; never anything else, so a late reader may pin it
//   piece  ─► │ next piece, cells │ bytes … │ a run of cells; the first: │ RecordHeader │ [RecordFile] │ tags │ meta │ url │ variant │ head │ body… │
//
// What an object costs beside its texts and its body, in bytes: entry 32, buckets 8.5 (filled to three quarters), header 40, meta 28
// (http::StoredMeta; 36 with stale-…), bit trees 10.5 a KB, rounding up to a cell 16 on average, 8 for each piece after the first. A
// body of 1 024 with 200 of key and head: 1 363 to 1 367. The whole of what is not needed by every object stands where it is needed: what
// files have in RecordFile, tags and rare parts of meta in the record.
//
// Why stripes instead of 256 shards: each stripe (1 GiB, at most 64 of them, larger then) has its own lock, index, SIEVE queue, cells and byte
// budget, so SIEVE is exact for caches up to 1 GiB, no byte moves between stripes, and one journal covers one stripe. Why 10 slots
// in a bucket where 6 were planned: they fit one line, and a fuller table costs 8 B an object instead of 14. Why cells instead of
// slabs: an object takes any runs of free cells (at most 128 pieces: one iovec each, and 64 KiB still fits when only small holes are left), so no size class can starve another; waste is under 32 B.
// Free cells that follow each other are given as one piece, so most objects are one iovec.
//
// Who writes: everything that is journalled (journal: cache_journal.h) under the stripe's lock. Without it: Entry::pins, visited,
// hits (readers), state and RecordHeader::filled, body_bytes (the filler alone), checked (readers), and the bytes of a record
// before it is published. A death at any instruction: the master's repair undoes the dead row's journal, releases its lock, clears
// its pins and aborts what it was filling (cache_repair.cc).
#pragma once

#include "common/shm/rows.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ladle::shm {

inline constexpr std::uint64_t kPage = 4096;

constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t unit) noexcept
{
    return (n + unit - 1) / unit * unit;
}

inline constexpr std::uint32_t kCellBytes = 32;
inline constexpr std::uint32_t kCellOrders = 16;      ///< free runs of 1 … 2^15 cells (1 MiB)
inline constexpr std::uint32_t kBitTreeLevels = 5;    ///< 64-ary: up to 2^30 cells in a stripe
inline constexpr std::uint32_t kMaxPieces = 128;
inline constexpr std::uint32_t kMaxStripes = 64;
inline constexpr std::uint32_t kBucketSlots = 10;
inline constexpr std::uint32_t kNoCell = ~std::uint32_t{0};
inline constexpr std::uint64_t kBytesPerEntry = 1344; ///< of a stripe: it has one entry for each
inline constexpr std::uint64_t kBytesPerFileEntry = 184; ///< the same where bodies have a budget of their own: 32 entry, 128 record, 9 bucket, 1 trees, a few tags
inline constexpr std::uint32_t kFilePageBytes = 4096; ///< what a file's length is rounded up to when it is charged
inline constexpr std::uint64_t kBodyUnknown = ~std::uint64_t{0};

/// free: on the free list · building: allocated, not published · filling: published, its body arrives · complete · aborted: cut off.
enum class CacheState : std::uint8_t { free, building, filling, complete, aborted };

/// Where an entry is linked by prev and next. `none`: building, or cut off by a death and not yet swept.
enum class CacheList : std::uint8_t { none, unused, queue, zombie, dead_file };

struct CacheBucket {
    std::atomic<std::uint32_t> seq;                  ///< odd = being written
    std::atomic<std::uint16_t> tags[kBucketSlots];
    std::atomic<std::uint32_t> entries[kBucketSlots]; ///< 0 = empty slot
};
static_assert(sizeof(CacheBucket) == 64);

/// On the list of dead files there is no record, and three fields say what is to be unlinked: first_cell and bucket the file's number
/// (low and high half), prev its pages. Only the first of that list is given out, and only the first is confirmed; now and then it is
/// put behind the others.
struct CacheEntry {
    std::atomic<std::uint64_t> pins;       ///< bit per process row
    std::atomic<std::uint32_t> first_cell; ///< kNoCell = no record
    std::atomic<std::uint32_t> bucket;     ///< while linked
    std::atomic<std::uint32_t> generation; ///< counts the objects that this entry has been
    std::atomic<std::uint32_t> prev;       ///< towards the newest
    std::atomic<std::uint32_t> next;       ///< towards the oldest; the only link of lists other than the queue
    std::atomic<CacheState> state;
    std::atomic<std::uint8_t> visited;     ///< SIEVE's bit
    std::atomic<std::uint8_t> owner;       ///< process row that fills it
    std::atomic<std::uint8_t> place;       ///< CacheList | flags << 4

    CacheList list(std::memory_order order = std::memory_order_relaxed) const noexcept
    {
        return static_cast<CacheList>(place.load(order) & 0xf);
    }
    std::uint8_t flags() const noexcept { return place.load(std::memory_order_relaxed) >> 4; }
    /// In a bucket and in the queue.
    bool is_linked(std::memory_order order = std::memory_order_relaxed) const noexcept { return list(order) == CacheList::queue; }
};
static_assert(sizeof(CacheEntry) == 32);

inline constexpr std::uint8_t kCacheVaryRecord = 1; ///< names the fields that select a variant; has no body
inline constexpr std::uint8_t kCacheInFile = 2;     ///< the body is a file
inline constexpr std::uint8_t kCacheOnDisk = 4;     ///< a stub: the body is a file of the disk tier, which has its own entry there

/// Begins each piece.
struct CachePiece {
    std::atomic<std::uint32_t> next;  ///< first cell of the next piece; kNoCell = last
    std::atomic<std::uint16_t> cells; ///< of this one
    std::uint16_t meta_bytes;         ///< of the record, in its first piece
};
static_assert(sizeof(CachePiece) == 8);

struct RecordHeader {
    CachePiece piece;
    std::uint64_t epoch;                   ///< of the purge table, when the fetch began
    std::atomic<std::uint32_t> filled;     ///< bytes of an inline body that may be read
    std::atomic<std::uint32_t> body_bytes; ///< ~0 until it ends
    std::atomic<std::uint32_t> checked;    ///< no purge up to `epoch` plus this touches it
    std::atomic<std::uint32_t> hits;       ///< approximate
    std::uint32_t head_bytes : 20;
    std::uint32_t tag_count : 11;
    std::uint32_t has_file : 1; ///< a RecordFile follows
    std::uint16_t url_bytes;
    std::uint16_t variant_bytes;
};
static_assert(sizeof(RecordHeader) == 40);
inline constexpr std::size_t kMostHeadBytes = (1u << 20) - 1;
inline constexpr std::size_t kMostRecordTags = (1u << 11) - 1;

/// Follows the header where the body is a file, of this tier or the other. `number` and `pages` are valid as soon as the piece is.
struct RecordFile {
    std::atomic<std::uint64_t> number; ///< in the cache's folder, with kCacheOnDisk in the disk tier's; 0 = none
    std::atomic<std::uint64_t> filled;
    std::atomic<std::uint64_t> body_bytes; ///< kBodyUnknown until it ends
    std::atomic<std::uint32_t> pages;      ///< charged to the stripe
    std::uint32_t unused;
};
static_assert(sizeof(RecordFile) == 32);

/// A 64-ary tree of bits: level 0 has a bit per block, each bit above says whether the word below has any. Offsets are of words from
/// the stripe's begin.
struct CacheBitTree {
    std::uint64_t level_offset[kBitTreeLevels];
    std::uint32_t levels;
    std::uint32_t bits;
};

/// The owner's row + 1, kLockWaiters; 0 = free.
using CacheLockWord = std::atomic<std::uint32_t>;

enum class CacheRefusal : std::uint32_t { too_large, no_space, waiting_for_files, busy, bad_request };
inline constexpr std::size_t kCacheRefusals = 5;

struct alignas(64) CacheStripe {
    CacheLockWord lock;
    std::uint32_t bucket_count;
    std::uint32_t entry_count;   ///< numbers 1 … entry_count - 1
    std::uint32_t cell_count;
    std::uint64_t buckets_offset; ///< from the stripe's begin, like all below
    std::uint64_t entries_offset;
    std::uint64_t cells_offset;
    std::uint64_t file_budget_pages; ///< 0 = files are charged to the cells' budget
    CacheBitTree free_blocks[kCellOrders];

    alignas(64) std::atomic<std::uint32_t> entries_touched; ///< entries from here on were never used
    std::atomic<std::uint32_t> unused_head;
    std::atomic<std::uint32_t> newest;
    std::atomic<std::uint32_t> oldest;
    std::atomic<std::uint32_t> hand;         ///< of SIEVE; 0 = at the oldest
    std::atomic<std::uint32_t> zombie_head;
    std::atomic<std::uint32_t> zombie_tail;
    std::atomic<std::uint32_t> dead_file_head;
    std::atomic<std::uint32_t> dead_file_tail;
    std::atomic<std::uint32_t> free_cells;
    std::atomic<std::uint32_t> objects;      ///< linked
    std::atomic<std::uint32_t> zombies;      ///< entries on the zombie list
    std::atomic<std::uint32_t> dead_files;
    std::atomic<std::uint64_t> file_pages;   ///< charged, dead files too
    std::atomic<std::uint64_t> dead_file_pages;
    std::atomic<std::uint64_t> evictions;
    std::atomic<std::uint64_t> stored;
    std::atomic<std::uint64_t> replaced;
    std::atomic<std::uint64_t> refusals[kCacheRefusals];
};

/// The frozen prefix: every version of Ladle can read it.
struct CachePrefix {
    std::uint64_t magic;
    std::uint32_t layout_version;
    std::uint32_t abi_hash;
    std::uint64_t seed;  ///< of all hashes
    std::uint64_t bytes; ///< of the whole arena
};

struct CacheHeader {
    CachePrefix prefix;
    std::uint64_t purge_offset; ///< from the arena's begin, like all here
    std::uint64_t fills_offset;
    std::uint64_t requests_offset;
    std::uint64_t journals_offset;
    std::uint64_t stripes_offset;
    std::uint64_t stripe_bytes;
    std::uint32_t stripe_count;
    std::uint32_t unused;
    alignas(64) std::atomic<std::uint64_t> next_file;
    /// The disk tier's index after a crash: files of smaller numbers are of a life before, and are looked through. 0 = all are known.
    std::atomic<std::uint64_t> unread_below;
    /// Of the folder's 256 subfolders, which have been looked through: a bit for each.
    std::atomic<std::uint64_t> read_subfolders[4];
};

static_assert(std::is_standard_layout_v<CacheStripe> && std::is_standard_layout_v<CacheHeader>);

} // namespace ladle::shm
