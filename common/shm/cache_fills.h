// SPDX-License-Identifier: Apache-2.0
//
// The fill table, in the cache's arena: which process is fetching which key, so that simultaneous misses of all workers make one
// request to the server, and which keys are known not to be cacheable (so that nobody waits for them).
//
//   │ section 0 … 15 │   section: lock · 16 sets × 16 places
//   place ─► │ hash 128 │ word {generation, state, owner} │ waiters │ until_ns │
//
// Claims are made under the section's lock and take effect by one store (the word), so they need no journal; finishing takes no
// lock. A waiter sets its row's bit and looks at the word again; the finisher changes the word and then takes the bits: one of the
// two sees the other. Setting and clearing bits is idempotent; a spurious wake-up only costs a look. When the owner dies, repair
// frees its places and says whom to wake: one of them becomes the next filler by claiming again.
#pragma once

#include "common/shm/cache_arena.h"

#include <cstdint>

namespace ladle::shm {

inline constexpr std::uint32_t kFillSections = 16;
inline constexpr std::uint32_t kFillSets = 16; ///< per section
inline constexpr std::uint32_t kFillWays = 16; ///< per set

struct CacheHash {
    std::uint64_t low = 0;  ///< fingerprint: the buckets
    std::uint64_t high = 0; ///< stripe and tag
    bool operator==(const CacheHash&) const = default;
};

struct alignas(64) FillPlace {
    std::atomic<std::uint64_t> low;
    std::atomic<std::uint64_t> high;
    std::atomic<std::uint64_t> word;     ///< generation << 16 | FillState << 8 | owner row
    std::atomic<std::uint64_t> waiters;  ///< bit per process row
    std::atomic<std::uint64_t> until_ns; ///< CLOCK_MONOTONIC: end of `uncacheable`; of a claim: not 0 = spoiled
    std::atomic<std::uint64_t> wanted;   ///< generation << 16 | by how many; of an earlier generation: by nobody
};
static_assert(sizeof(FillPlace) == 64);

struct FillSection {
    alignas(64) CacheLockWord lock;
    FillPlace places[kFillSets * kFillWays];
};

struct FillRegion {
    FillSection sections[kFillSections];
};

enum class FillState : std::uint8_t { free, claimed, uncacheable };

enum class ClaimOutcome : std::uint8_t {
    mine,        ///< fetch it, and finish() in the end
    others,      ///< someone fetches it: this row will be woken; then look up again, and claim again if it is still a miss
    uncacheable, ///< known not to be storable: go to the server alone
    alone,       ///< no room or no lock: go to the server alone
};

/// What claim() said. A value; only `mine` needs finish(). Of `others` it names the claim that stands in the way: see is_over().
struct FillClaim {
    ClaimOutcome outcome = ClaimOutcome::alone;
    std::uint32_t place = 0;
    std::uint64_t word = 0;
};

enum class FillEnd : std::uint8_t {
    over,        ///< published (the waiters will find it), or failed (one of the waiters will claim)
    uncacheable, ///< remembered until `until_ns`: later misses do not wait for each other
};

class FillTable {
public:
    FillTable(CacheArena& arena, std::uint32_t row) noexcept;

    /// Never waits longer than about 2 ms. `now_ns`: CLOCK_MONOTONIC. A process that claims a key it has claimed itself is told
    /// `others` and will be woken like any waiter.
    FillClaim claim(const CacheHash& hash, std::uint64_t now_ns) noexcept;

    /// Ends a claim; call it as soon as the object is published (it is then found in state filling) or nothing comes of it. Returns
    /// the rows to wake (the caller writes their eventfds; its own bit may be among them). A second call does nothing.
    std::uint64_t finish(const FillClaim& claim, FillEnd end, std::uint64_t until_ns = 0) noexcept;

    /// What is being fetched of this key is made invalid: is_spoiled() tells its owner.
    void spoil(const CacheHash& hash) noexcept;
    bool is_spoiled(const FillClaim& claim) const noexcept;
    /// Marks a key as uncacheable that nobody has claimed. Returns the rows to wake.
    std::uint64_t mark_uncacheable(const CacheHash& hash, std::uint64_t now_ns, std::uint64_t until_ns) noexcept;

    /// Somebody wants what is fetched under a claim, one's own or the `others` that stood in the way, or does so no more. Lock-free;
    /// nothing where the claim has ended. Who dies with a want is taken to go on wanting.
    void want(const FillClaim& claim) noexcept;
    void want_no_more(const FillClaim& claim) noexcept;
    bool is_wanted(const FillClaim& claim) const noexcept;

    /// Whether a claim, one's own or the `others` that stood in the way, has ended (lock-free): what a waiter asks when its row is woken.
    bool is_over(const FillClaim& claim) const noexcept;

    /// Whether the key is marked uncacheable now (lock-free).
    bool is_uncacheable(const CacheHash& hash, std::uint64_t now_ns) const noexcept;
    /// Forgets that a key is uncacheable, because an object of it was stored after all.
    void forget(const CacheHash& hash) noexcept;

    /// Part of CacheStore::repair(): frees the dead row's claims and bits. Returns the rows to wake.
    std::uint64_t repair(std::uint32_t dead_row) noexcept;

    /// Whether a process has claimed the key (lock-free).
    bool is_claimed(const CacheHash& hash) const noexcept;
    /// Claims of all processes, for status.
    std::uint32_t claimed() const noexcept;

private:
    FillPlace* set_of(const CacheHash& hash) const noexcept;
    FillPlace& place_of(const FillClaim& claim) const noexcept;

    FillRegion* region_;
    std::uint32_t row_;
};

} // namespace ladle::shm
