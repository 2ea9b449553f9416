// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_purge.h"

#include "common/shm/cache_journal.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace ladle::shm {

namespace {

constexpr int kPurgeTries = 1000;
constexpr std::uint64_t kExportMagic = 0x6c61646c70757267; // "ladlpurg"

std::uint64_t latest(const PurgeMark& mark) noexcept
{
    return std::max(mark.hard.load(std::memory_order_relaxed), mark.soft.load(std::memory_order_relaxed));
}

PurgeState state_after(const PurgeMark& mark, std::uint64_t object_epoch, PurgeState so_far) noexcept
{
    if (mark.hard.load(std::memory_order_relaxed) > object_epoch) {
        return PurgeState::hard;
    }
    return mark.soft.load(std::memory_order_relaxed) > object_epoch ? PurgeState::soft : so_far;
}

/// What the place of `subject` in its set says, under the set's seqlock.
PurgeState state_of_subject(const PurgeSet& set, std::uint64_t subject, std::uint64_t object_epoch, PurgeState so_far) noexcept
{
    for (int tries = 0; tries < kPurgeTries; ++tries) {
        const std::uint32_t seq = set.seq.load(std::memory_order_acquire);
        PurgeState state = so_far;
        for (const PurgePlace& place : set.places) {
            if (place.subject.load(std::memory_order_relaxed) == subject) {
                state = state_after(place.mark, object_epoch, so_far);
            }
        }
        std::atomic_thread_fence(std::memory_order_acquire);
        if ((seq & 1) == 0 && set.seq.load(std::memory_order_relaxed) == seq) {
            return state;
        }
    }
    return PurgeState::hard;
}

const PurgeSet& set_of(const PurgeRegion& region, std::uint64_t subject) noexcept
{
    return region.sets[subject >> 32 & (kPurgeSets - 1)];
}

void raise(JournalWriter& journal, std::atomic<std::uint64_t>& at, std::uint64_t value) noexcept
{
    if (at.load(std::memory_order_relaxed) < value) {
        journal.set(at, value);
    }
}

/// The floor rises to what is given up.
void give_up(JournalWriter& journal, PurgeRegion& region, const PurgeMark& mark) noexcept
{
    raise(journal, region.floor.hard, mark.hard.load(std::memory_order_relaxed));
    raise(journal, region.floor.soft, mark.soft.load(std::memory_order_relaxed));
}

void set_mark(JournalWriter& journal, PurgeMark& mark, PurgeKind kind, std::uint64_t epoch) noexcept
{
    raise(journal, kind == PurgeKind::hard ? mark.hard : mark.soft, epoch);
}

void place_subject(JournalWriter& journal, PurgeRegion& region, std::uint64_t subject, PurgeKind kind, std::uint64_t epoch) noexcept
{
    auto& set = const_cast<PurgeSet&>(set_of(region, subject));
    PurgePlace* place = nullptr;
    for (PurgePlace& candidate : set.places) {
        const std::uint64_t found = candidate.subject.load(std::memory_order_relaxed);
        if (found == subject) {
            place = &candidate;
            break;
        }
        if (place == nullptr || latest(candidate.mark) < latest(place->mark)) {
            place = &candidate;
        }
    }
    const std::uint32_t seq = set.seq.load(std::memory_order_relaxed);
    if (place->subject.load(std::memory_order_relaxed) != subject) {
        give_up(journal, region, place->mark); // an empty place has epochs 0
    }
    set.seq.store(seq + 1, std::memory_order_relaxed); // not journalled: repair makes an odd one even
    std::atomic_thread_fence(std::memory_order_release);
    cache_step();
    if (place->subject.load(std::memory_order_relaxed) != subject) {
        journal.set(place->subject, subject);
        journal.set(place->mark.hard, std::uint64_t{0});
        journal.set(place->mark.soft, std::uint64_t{0});
    }
    set_mark(journal, place->mark, kind, epoch);
    set.seq.store(seq + 2, std::memory_order_release);
    cache_step();
}

/// Notes that prefixes of this length are in use; the least recent length goes into the floor when there are too many.
void place_length(JournalWriter& journal, PurgeRegion& region, std::uint64_t bytes, PurgeKind kind, std::uint64_t epoch) noexcept
{
    PurgePrefixLength* place = nullptr;
    for (PurgePrefixLength& candidate : region.lengths) {
        const std::uint64_t found = candidate.bytes.load(std::memory_order_relaxed);
        if (found == bytes || found == 0) {
            place = &candidate;
            break;
        }
        if (place == nullptr || latest(candidate.last) < latest(place->last)) {
            place = &candidate;
        }
    }
    if (place->bytes.load(std::memory_order_relaxed) != bytes) {
        give_up(journal, region, place->last);
        journal.set(place->last.hard, std::uint64_t{0});
        journal.set(place->last.soft, std::uint64_t{0});
        journal.set(place->bytes, bytes);
    }
    set_mark(journal, place->last, kind, epoch);
    const auto index = static_cast<std::uint32_t>(place - region.lengths);
    if (index >= region.lengths_used.load(std::memory_order_relaxed)) {
        journal.set(region.lengths_used, index + 1);
    }
}

} // namespace

PurgeTable::PurgeTable(CacheArena& arena, std::uint32_t row) noexcept
    : arena_(arena), region_(reinterpret_cast<PurgeRegion*>(arena.base() + arena.header().purge_offset)), row_(row)
{
}

std::uint64_t PurgeTable::subject(char kind, std::string_view text) const noexcept
{
    const std::uint64_t seed = arena_.seed() + static_cast<unsigned char>(kind) * 0x9e3779b97f4a7c15u;
    return std::max<std::uint64_t>(XXH3_64bits_withSeed(text.data(), text.size(), seed), 1);
}

std::uint64_t PurgeTable::tag_subject(std::string_view tag) const noexcept
{
    return subject('t', tag);
}

bool PurgeTable::purge(std::uint64_t subject, std::uint64_t prefix_bytes, PurgeKind kind) noexcept
{
    CacheLock lock(region_->lock, row_, std::chrono::milliseconds(100)); // rare, and somebody waits for it to have happened
    if (!lock) {
        return false;
    }
    JournalWriter journal(arena_, row_);
    const std::uint64_t epoch = region_->epoch.load(std::memory_order_relaxed) + 1;
    if (subject == 0) {
        set_mark(journal, region_->all, kind, epoch);
    } else {
        if (prefix_bytes != 0) {
            place_length(journal, *region_, prefix_bytes, kind, epoch);
        }
        place_subject(journal, *region_, subject, kind, epoch);
    }
    // Last: a lookup that sees this epoch sees all of the above.
    journal.set(region_->epoch, epoch);
    journal.commit();
    return true;
}

bool PurgeTable::purge_all(PurgeKind kind) noexcept
{
    return purge(0, 0, kind);
}

bool PurgeTable::purge_url(std::string_view url, PurgeKind kind) noexcept
{
    return purge(subject('u', url), 0, kind);
}

bool PurgeTable::purge_prefix(std::string_view prefix, PurgeKind kind) noexcept
{
    return prefix.empty() ? purge_all(kind) : purge(subject('p', prefix), prefix.size(), kind);
}

bool PurgeTable::purge_tag(std::string_view tag, PurgeKind kind) noexcept
{
    return purge(tag_subject(tag), 0, kind);
}

bool PurgeTable::advance(std::uint64_t epoch) noexcept
{
    CacheLock lock(region_->lock, row_, std::chrono::milliseconds(100));
    if (!lock) {
        return false;
    }
    JournalWriter journal(arena_, row_);
    raise(journal, region_->epoch, epoch);
    journal.commit();
    return true;
}

PurgeState PurgeTable::state(std::string_view url, std::span<const std::uint64_t> tags, std::uint64_t object_epoch) const noexcept
{
    if (object_epoch >= epoch()) {
        return PurgeState::none;
    }
    PurgeState state = PurgeState::none;
    const auto look_at = [&](std::uint64_t subject) {
        state = state_of_subject(set_of(*region_, subject), subject, object_epoch, state);
        return state != PurgeState::hard;
    };
    if (!look_at(subject('u', url))) {
        return state;
    }
    for (const std::uint64_t tag : tags) {
        if (!look_at(tag)) {
            return state;
        }
    }
    const std::uint32_t lengths = region_->lengths_used.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < lengths; ++i) {
        const std::uint64_t bytes = region_->lengths[i].bytes.load(std::memory_order_relaxed);
        if (bytes != 0 && bytes <= url.size() && !look_at(subject('p', url.substr(0, bytes)))) {
            return state;
        }
    }
    // Last, for what was given up while we looked stands here then.
    std::atomic_thread_fence(std::memory_order_acquire);
    state = state_after(region_->all, object_epoch, state);
    return state == PurgeState::hard ? state : state_after(region_->floor, object_epoch, state);
}

void PurgeTable::repair(std::uint32_t dead_row) noexcept
{
    if (is_locked_by(region_->lock, dead_row)) {
        undo_journal(arena_, dead_row);
        for (PurgeSet& set : region_->sets) {
            if (const std::uint32_t seq = set.seq.load(std::memory_order_relaxed); (seq & 1) != 0) {
                set.seq.store(seq + 1, std::memory_order_release);
            }
        }
        break_lock(region_->lock);
    }
}

std::string PurgeTable::export_bytes() const
{
    std::vector<std::uint64_t> words{kExportMagic, arena_.seed(), epoch()};
    const auto add_mark = [&words](const PurgeMark& mark) {
        words.push_back(mark.hard.load(std::memory_order_acquire));
        words.push_back(mark.soft.load(std::memory_order_acquire));
    };
    add_mark(region_->all);
    add_mark(region_->floor);
    for (const PurgePrefixLength& length : region_->lengths) {
        words.push_back(length.bytes.load(std::memory_order_acquire));
        add_mark(length.last);
    }
    for (const PurgeSet& set : region_->sets) {
        for (const PurgePlace& place : set.places) {
            if (place.subject.load(std::memory_order_acquire) != 0) {
                words.push_back(place.subject.load(std::memory_order_relaxed));
                add_mark(place.mark);
            }
        }
    }
    words.push_back(XXH3_64bits(words.data(), words.size() * 8));
    return {reinterpret_cast<const char*>(words.data()), words.size() * 8};
}

Result<void> PurgeTable::import_bytes(std::string_view bytes)
{
    constexpr std::size_t kFixed = 3 + 4 + 3 * kPurgePrefixLengths;
    if (bytes.empty()) {
        return fail(Origin::local, "the record of purges is empty");
    }
    std::vector<std::uint64_t> words(bytes.size() / 8);
    std::memcpy(words.data(), bytes.data(), words.size() * 8);
    if (bytes.size() % 8 != 0 || words.size() < kFixed + 1 || (words.size() - kFixed - 1) % 3 != 0 || words[0] != kExportMagic ||
        words.back() != XXH3_64bits(words.data(), (words.size() - 1) * 8)) {
        return fail(Origin::local, "the record of purges is damaged");
    }
    if (words[1] != arena_.seed()) {
        return fail(Origin::local, "the record of purges was made with another seed");
    }
    CacheLock lock(region_->lock, row_, std::chrono::milliseconds(100));
    if (!lock) {
        return fail(Origin::local, "the purge table is in use");
    }
    JournalWriter journal(arena_, row_);
    const auto take_mark = [&](PurgeMark& mark, std::size_t at) {
        raise(journal, mark.hard, words[at]);
        raise(journal, mark.soft, words[at + 1]);
    };
    // Each step only raises something, so a death between two of them leaves a table that is right, but not whole.
    take_mark(region_->all, 3);
    take_mark(region_->floor, 5);
    for (std::size_t i = 0; i < kPurgePrefixLengths; ++i) {
        const std::size_t at = 7 + 3 * i;
        for (const PurgeKind kind : {PurgeKind::hard, PurgeKind::soft}) {
            if (const std::uint64_t mark = words[at + (kind == PurgeKind::hard ? 1 : 2)]; words[at] != 0 && mark != 0) {
                place_length(journal, *region_, words[at], kind, mark);
            }
        }
        journal.commit();
    }
    for (std::size_t at = kFixed; at + 3 < words.size(); at += 3) {
        for (const PurgeKind kind : {PurgeKind::hard, PurgeKind::soft}) {
            if (const std::uint64_t mark = words[at + (kind == PurgeKind::hard ? 1 : 2)]; mark != 0) {
                place_subject(journal, *region_, words[at], kind, mark);
            }
        }
        journal.commit();
    }
    raise(journal, region_->epoch, words[2]);
    journal.commit();
    return {};
}

} // namespace ladle::shm
