// SPDX-License-Identifier: Apache-2.0
//
// Purge by epochs, in the cache's arena: what was purged when, so that a purge is O(1) and a lookup mostly compares one number.
//
//   │ lock · epoch · all {hard, soft} · floor {hard, soft} │ prefix lengths[64] │ set 0 … set 16383 │
//   set ─► │ seq │ 5 × {subject, hard, soft} │
//
// Each purge takes the next epoch. An object remembers the epoch that stood when its fetch began: it is purged when a subject of it
// (all, its URL, one of its tags, a prefix of its URL whose length is in use) has a later one. So a response that was under way
// during the purge is not served either. When a set is full its oldest place is given up by raising the floor to its epoch: whatever
// is older than the floor counts as purged (the safe side). Any process purges, under the lock, journalled; readers use the set's seq.
// Effective in every process before the call returns, because every lookup compares the epoch.
#pragma once

#include "common/shm/cache_arena.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ladle::shm {

inline constexpr std::uint32_t kPurgeSets = 16384;
inline constexpr std::uint32_t kPurgeWays = 5;
inline constexpr std::uint32_t kPurgePrefixLengths = 64;

struct PurgeMark {
    std::atomic<std::uint64_t> hard; ///< epoch of the last purge; 0 = never
    std::atomic<std::uint64_t> soft; ///< of the last soft one: the object is stale from then on
};

struct PurgePlace {
    std::atomic<std::uint64_t> subject; ///< 0 = empty
    PurgeMark mark;
};

struct PurgeSet {
    std::atomic<std::uint32_t> seq;
    std::uint32_t unused;
    PurgePlace places[kPurgeWays];
};
static_assert(sizeof(PurgeSet) == 128);

struct PurgePrefixLength {
    std::atomic<std::uint64_t> bytes; ///< 0 = free
    PurgeMark last;
};

struct PurgeRegion {
    CacheLockWord lock;
    alignas(64) std::atomic<std::uint64_t> epoch; ///< from 1
    PurgeMark all;
    PurgeMark floor;
    std::atomic<std::uint32_t> lengths_used; ///< places of `lengths` up to here may be in use
    PurgePrefixLength lengths[kPurgePrefixLengths];
    alignas(64) PurgeSet sets[kPurgeSets];
};

enum class PurgeKind : std::uint8_t {
    hard, ///< never served again
    soft, ///< stale: to be revalidated, may be served where stale may
};

enum class PurgeState : std::uint8_t { none, soft, hard };

class PurgeTable {
public:
    /// `row` is this process's row. The arena must outlive it.
    PurgeTable(CacheArena& arena, std::uint32_t row) noexcept;

    /// To be read before a request goes to a server; the response is stored with it.
    std::uint64_t epoch() const noexcept { return region_->epoch.load(std::memory_order_acquire); }

    // Each returns false when the lock could not be had (a process holds it and makes no progress): nothing was purged.
    [[nodiscard]] bool purge_all(PurgeKind kind) noexcept;
    /// The URL as CacheStore::name() has it: all its variants at once.
    [[nodiscard]] bool purge_url(std::string_view url, PurgeKind kind) noexcept;
    /// Every URL that begins so. "" purges all. More than 64 different lengths: the least recent length is given up into the floor.
    [[nodiscard]] bool purge_prefix(std::string_view prefix, PurgeKind kind) noexcept;
    [[nodiscard]] bool purge_tag(std::string_view tag, PurgeKind kind) noexcept;

    /// What an object remembers of a tag (CacheObject::tags).
    std::uint64_t tag_subject(std::string_view tag) const noexcept;

    /// Whether an object fetched at `epoch` is purged. `tags` are tag_subject()s. Lock-free; when a writer is in the way for too long
    /// the answer is hard, the safe side.
    PurgeState state(std::string_view url, std::span<const std::uint64_t> tags, std::uint64_t object_epoch) const noexcept;

    /// The whole table as bytes, for the disk tier to keep over a restart (with the arena's seed, which it names), and back. A damaged
    /// or foreign text is refused and changes nothing; then the caller must drop what is on disk.
    std::string export_bytes() const;
    Result<void> import_bytes(std::string_view bytes);

    /// Raises the epoch to at least this: lives of the disk tier follow each other, and so do their epochs. False without the lock.
    [[nodiscard]] bool advance(std::uint64_t epoch) noexcept;

    /// Part of CacheStore::repair().
    void repair(std::uint32_t dead_row) noexcept;

private:
    std::uint64_t subject(char kind, std::string_view text) const noexcept;
    bool purge(std::uint64_t subject, std::uint64_t prefix_bytes, PurgeKind kind) noexcept;

    CacheArena& arena_;
    PurgeRegion* region_;
    std::uint32_t row_;
};

} // namespace ladle::shm
