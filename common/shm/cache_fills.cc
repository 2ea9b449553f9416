// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_fills.h"

#include "common/shm/cache_journal.h"

#include <algorithm>

namespace ladle::shm {

namespace {

constexpr std::uint32_t kSectionPlaces = kFillSets * kFillWays;
constexpr std::uint64_t kMostWanted = 0xffff; ///< more are not told from so many, who are taken to want it for ever

constexpr FillState state_of(std::uint64_t word) noexcept
{
    return static_cast<FillState>(word >> 8 & 0xff);
}

constexpr std::uint32_t owner_of(std::uint64_t word) noexcept
{
    return static_cast<std::uint32_t>(word & 0xff);
}

/// The word of the next generation.
constexpr std::uint64_t next_word(std::uint64_t word, FillState state, std::uint32_t owner) noexcept
{
    return ((word >> 16) + 1) << 16 | static_cast<std::uint64_t>(state) << 8 | owner;
}

std::uint32_t section_of(const CacheHash& hash) noexcept
{
    return static_cast<std::uint32_t>(hash.low >> 40) % kFillSections;
}

std::uint32_t number_of(const FillSection& section, const FillPlace& place, const CacheHash& hash) noexcept
{
    return static_cast<std::uint32_t>(&place - section.places) + section_of(hash) * kSectionPlaces;
}

bool is_live(const FillPlace& place, std::uint64_t word, std::uint64_t now_ns) noexcept
{
    return state_of(word) == FillState::claimed ||
           (state_of(word) == FillState::uncacheable && place.until_ns.load(std::memory_order_relaxed) > now_ns);
}

/// Whether FillPlace::wanted says that somebody wants what is fetched under this claim.
bool counts_for(std::uint64_t wanted, const FillClaim& claim) noexcept
{
    return wanted >> 16 == claim.word >> 16 && (wanted & kMostWanted) != 0;
}

} // namespace

FillTable::FillTable(CacheArena& arena, std::uint32_t row) noexcept
    : region_(reinterpret_cast<FillRegion*>(arena.base() + arena.header().fills_offset)), row_(row)
{
}

FillPlace* FillTable::set_of(const CacheHash& hash) const noexcept
{
    const auto set = static_cast<std::uint32_t>(hash.low >> 32) % kFillSets;
    return region_->sections[section_of(hash)].places + set * kFillWays;
}

FillPlace& FillTable::place_of(const FillClaim& claim) const noexcept
{
    return region_->sections[claim.place / kSectionPlaces].places[claim.place % kSectionPlaces];
}

FillClaim FillTable::claim(const CacheHash& hash, std::uint64_t now_ns) noexcept
{
    FillSection& section = region_->sections[section_of(hash)];
    CacheLock lock(section.lock, row_);
    if (!lock) {
        return {};
    }
    FillPlace* const set = set_of(hash);
    FillPlace* free = nullptr;
    for (FillPlace* place = set; place != set + kFillWays; ++place) {
        const std::uint64_t word = place->word.load(std::memory_order_acquire);
        if (!is_live(*place, word, now_ns)) {
            free = free == nullptr ? place : free;
            continue;
        }
        if (place->low.load(std::memory_order_relaxed) != hash.low || place->high.load(std::memory_order_relaxed) != hash.high) {
            continue;
        }
        if (state_of(word) == FillState::uncacheable) {
            return {ClaimOutcome::uncacheable};
        }
        place->waiters.fetch_or(std::uint64_t{1} << row_, std::memory_order_seq_cst);
        if (place->word.load(std::memory_order_seq_cst) == word) {
            return {ClaimOutcome::others, number_of(section, *place, hash), word};
        }
        // It ended meanwhile. Our bit may have come too late to be taken: then it costs a spurious wake-up.
        if (state_of(place->word.load(std::memory_order_relaxed)) == FillState::uncacheable) {
            return {ClaimOutcome::uncacheable};
        }
        free = place;
    }
    if (free == nullptr) {
        return {};
    }
    free->low.store(hash.low, std::memory_order_relaxed);
    free->high.store(hash.high, std::memory_order_relaxed);
    free->until_ns.store(0, std::memory_order_relaxed);
    // The bits of waiters stay: whoever finished here may be about to take them.
    const std::uint64_t word = next_word(free->word.load(std::memory_order_relaxed), FillState::claimed, row_);
    cache_step();
    free->word.store(word, std::memory_order_seq_cst);
    cache_step();
    return {ClaimOutcome::mine, number_of(section, *free, hash), word};
}

std::uint64_t FillTable::finish(const FillClaim& claim, FillEnd end, std::uint64_t until_ns) noexcept
{
    if (claim.outcome != ClaimOutcome::mine) {
        return 0;
    }
    FillPlace& place = place_of(claim);
    if (place.word.load(std::memory_order_relaxed) != claim.word) {
        return 0;
    }
    place.until_ns.store(until_ns, std::memory_order_relaxed);
    const FillState state = end == FillEnd::uncacheable ? FillState::uncacheable : FillState::free;
    place.word.store(next_word(claim.word, state, row_), std::memory_order_seq_cst);
    return place.waiters.exchange(0, std::memory_order_seq_cst);
}

void FillTable::spoil(const CacheHash& hash) noexcept
{
    FillPlace* const set = set_of(hash);
    for (FillPlace* place = set; place != set + kFillWays; ++place) {
        // A claim that ends meanwhile loses a mark of no use, or lasts 0 ns longer as `uncacheable`: both are harmless.
        if (state_of(place->word.load(std::memory_order_acquire)) == FillState::claimed &&
            place->low.load(std::memory_order_relaxed) == hash.low && place->high.load(std::memory_order_relaxed) == hash.high) {
            place->until_ns.store(1, std::memory_order_release);
        }
    }
}

bool FillTable::is_spoiled(const FillClaim& claim) const noexcept
{
    const FillPlace& place = place_of(claim);
    return claim.outcome == ClaimOutcome::mine && place.until_ns.load(std::memory_order_acquire) != 0;
}

std::uint64_t FillTable::mark_uncacheable(const CacheHash& hash, std::uint64_t now_ns, std::uint64_t until_ns) noexcept
{
    return finish(claim(hash, now_ns), FillEnd::uncacheable, until_ns);
}

bool FillTable::is_over(const FillClaim& claim) const noexcept
{
    return place_of(claim).word.load(std::memory_order_acquire) != claim.word;
}

void FillTable::want(const FillClaim& claim) noexcept
{
    if ((claim.outcome != ClaimOutcome::mine && claim.outcome != ClaimOutcome::others) || is_over(claim)) {
        return;
    }
    std::atomic<std::uint64_t>& wanted = place_of(claim).wanted;
    const std::uint64_t generation = claim.word >> 16;
    std::uint64_t now = wanted.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
        if (now >> 16 > generation || (now >> 16 == generation && (now & kMostWanted) == kMostWanted)) {
            return;
        }
        next = (now >> 16 == generation ? now : generation << 16) + 1;
    } while (!wanted.compare_exchange_weak(now, next, std::memory_order_relaxed));
}

void FillTable::want_no_more(const FillClaim& claim) noexcept
{
    std::atomic<std::uint64_t>& wanted = place_of(claim).wanted;
    std::uint64_t now = wanted.load(std::memory_order_relaxed);
    while (counts_for(now, claim) && (now & kMostWanted) != kMostWanted &&
           !wanted.compare_exchange_weak(now, now - 1, std::memory_order_relaxed)) {
    }
}

bool FillTable::is_wanted(const FillClaim& claim) const noexcept
{
    return counts_for(place_of(claim).wanted.load(std::memory_order_relaxed), claim);
}

bool FillTable::is_uncacheable(const CacheHash& hash, std::uint64_t now_ns) const noexcept
{
    const FillPlace* const set = set_of(hash);
    for (const FillPlace* place = set; place != set + kFillWays; ++place) {
        const std::uint64_t word = place->word.load(std::memory_order_acquire);
        if (state_of(word) == FillState::uncacheable && place->low.load(std::memory_order_relaxed) == hash.low &&
            place->high.load(std::memory_order_relaxed) == hash.high && is_live(*place, word, now_ns)) {
            return place->word.load(std::memory_order_acquire) == word;
        }
    }
    return false;
}

void FillTable::forget(const CacheHash& hash) noexcept
{
    FillPlace* const set = set_of(hash);
    for (FillPlace* place = set; place != set + kFillWays; ++place) {
        std::uint64_t word = place->word.load(std::memory_order_acquire);
        if (state_of(word) == FillState::uncacheable && place->low.load(std::memory_order_relaxed) == hash.low &&
            place->high.load(std::memory_order_relaxed) == hash.high) {
            place->word.compare_exchange_strong(word, next_word(word, FillState::free, row_));
        }
    }
}

bool FillTable::is_claimed(const CacheHash& hash) const noexcept
{
    const FillPlace* const set = set_of(hash);
    return std::any_of(set, set + kFillWays, [&hash](const FillPlace& place) {
        return state_of(place.word.load(std::memory_order_seq_cst)) == FillState::claimed &&
               place.low.load(std::memory_order_relaxed) == hash.low && place.high.load(std::memory_order_relaxed) == hash.high;
    });
}

std::uint32_t FillTable::claimed() const noexcept
{
    std::uint32_t count = 0;
    for (const FillSection& section : region_->sections) {
        for (const FillPlace& place : section.places) {
            count += state_of(place.word.load(std::memory_order_relaxed)) == FillState::claimed;
        }
    }
    return count;
}

std::uint64_t FillTable::repair(std::uint32_t dead_row) noexcept
{
    std::uint64_t wake = 0;
    const std::uint64_t bit = std::uint64_t{1} << dead_row;
    for (FillSection& section : region_->sections) {
        if (is_locked_by(section.lock, dead_row)) {
            break_lock(section.lock);
        }
        for (FillPlace& place : section.places) {
            const std::uint64_t word = place.word.load(std::memory_order_acquire);
            if (owner_of(word) == dead_row && place.waiters.load(std::memory_order_relaxed) + (word & 0xff00) != 0) {
                if (state_of(word) == FillState::claimed) {
                    place.word.store(next_word(word, FillState::free, dead_row), std::memory_order_seq_cst);
                }
                wake |= place.waiters.exchange(0, std::memory_order_seq_cst); // it may have died before it took them
            } else if ((place.waiters.load(std::memory_order_relaxed) & bit) != 0) {
                place.waiters.fetch_and(~bit, std::memory_order_relaxed);
            }
        }
    }
    return wake & ~bit;
}

} // namespace ladle::shm
