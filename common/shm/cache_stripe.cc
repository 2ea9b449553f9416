// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_stripe.h"

namespace ladle::shm {

namespace {

constexpr std::uint64_t kStepsPerTurn = 8192; ///< of SIEVE's hand under one hold of the lock: about 0.1 ms

} // namespace

std::uint32_t StripeWriter::take_entry(std::uint8_t flags) noexcept
{
    std::uint32_t index = s_.unused_head.load(std::memory_order_relaxed);
    if (index != 0) {
        journal_.set(s_.unused_head, parts_.entry(index).next.load(std::memory_order_relaxed));
    } else {
        index = s_.entries_touched.load(std::memory_order_relaxed);
        if (index >= s_.entry_count) {
            return 0;
        }
        journal_.set(s_.entries_touched, index + 1);
    }
    CacheEntry& entry = parts_.entry(index);
    // The owner stands before the state says that it has one: repair reads them without the lock.
    journal_.add(entry.generation, 1u);
    journal_.set(entry.owner, static_cast<std::uint8_t>(row_));
    journal_.set(entry.first_cell, kNoCell);
    journal_.set(entry.place, static_cast<std::uint8_t>(static_cast<unsigned>(CacheList::none) | unsigned{flags} << 4));
    journal_.set(entry.state, CacheState::building);
    journal_.set(entry.next, 0u);
    journal_.set(entry.prev, 0u);
    journal_.commit();
    entry.visited.store(0, std::memory_order_relaxed);
    return index;
}

void StripeWriter::charge_file(CacheEntry& entry, std::uint64_t pages) noexcept
{
    RecordFile& file = parts_.file(entry);
    const std::uint64_t old = file.pages.load(std::memory_order_relaxed);
    journal_.set(s_.file_pages, s_.file_pages.load(std::memory_order_relaxed) - old + pages);
    journal_.set(file.pages, static_cast<std::uint32_t>(pages));
    journal_.commit();
}

void StripeWriter::set_file(CacheEntry& entry, std::uint64_t number) noexcept
{
    journal_.set(parts_.file(entry).number, number);
    journal_.commit();
}

void StripeWriter::set_list(CacheEntry& entry, CacheList list) noexcept
{
    journal_.set(entry.place, static_cast<std::uint8_t>(static_cast<unsigned>(list) | unsigned{entry.flags()} << 4));
}

void StripeWriter::free_entry(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    journal_.set(entry.first_cell, kNoCell);
    journal_.set(entry.state, CacheState::free);
    set_list(entry, CacheList::unused);
    journal_.set(entry.prev, 0u);
    journal_.set(entry.next, s_.unused_head.load(std::memory_order_relaxed));
    journal_.set(s_.unused_head, index);
}

void StripeWriter::queue_push(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    const std::uint32_t newest = s_.newest.load(std::memory_order_relaxed);
    journal_.set(entry.prev, 0u);
    journal_.set(entry.next, newest);
    if (newest != 0) {
        journal_.set(parts_.entry(newest).prev, index);
    } else {
        journal_.set(s_.oldest, index);
    }
    journal_.set(s_.newest, index);
    set_list(entry, CacheList::queue);
}

void StripeWriter::queue_remove(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    const std::uint32_t prev = entry.prev.load(std::memory_order_relaxed);
    const std::uint32_t next = entry.next.load(std::memory_order_relaxed);
    if (prev != 0) {
        journal_.set(parts_.entry(prev).next, next);
    } else {
        journal_.set(s_.newest, next);
    }
    if (next != 0) {
        journal_.set(parts_.entry(next).prev, prev);
    } else {
        journal_.set(s_.oldest, prev);
    }
    if (s_.hand.load(std::memory_order_relaxed) == index) {
        journal_.set(s_.hand, prev);
    }
    journal_.set(entry.prev, 0u);
    journal_.set(entry.next, 0u);
}

void StripeWriter::write_slot(CacheBucket& bucket, std::uint32_t slot, std::uint32_t index, std::uint16_t tag) noexcept
{
    const std::uint32_t seq = bucket.seq.load(std::memory_order_relaxed);
    bucket.seq.store(seq + 1, std::memory_order_relaxed); // not journalled: repair makes an odd one even
    std::atomic_thread_fence(std::memory_order_release);
    cache_step();
    journal_.set(bucket.tags[slot], tag);
    journal_.set(bucket.entries[slot], index);
    bucket.seq.store(seq + 2, std::memory_order_release);
    cache_step();
}

bool StripeWriter::put_slot(std::uint32_t bucket_index, std::uint32_t index, std::uint16_t tag) noexcept
{
    CacheBucket& bucket = parts_.bucket(bucket_index);
    for (std::uint32_t slot = 0; slot < kBucketSlots; ++slot) {
        if (bucket.entries[slot].load(std::memory_order_relaxed) == 0) {
            write_slot(bucket, slot, index, tag);
            return true;
        }
    }
    return false;
}

void StripeWriter::leave_slot(std::uint32_t index) noexcept
{
    CacheBucket& bucket = parts_.bucket(parts_.entry(index).bucket.load(std::memory_order_relaxed));
    for (std::uint32_t slot = 0; slot < kBucketSlots; ++slot) {
        if (bucket.entries[slot].load(std::memory_order_relaxed) == index) {
            write_slot(bucket, slot, 0, 0);
            return;
        }
    }
}

void StripeWriter::leave_index(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    // A zombie first, whatever becomes of it: repair looks without the lock, and on no list it would be its owner's.
    set_list(entry, CacheList::zombie);
    queue_remove(index);
    journal_.subtract(s_.objects, 1u);
    // A reader pins, then looks whether it is linked; here it is the other way round: one of the two sees the other.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (entry.pins.load(std::memory_order_relaxed) != 0) {
        zombie_push(index);
    } else {
        journal_.set(entry.owner, static_cast<std::uint8_t>(row_));
        set_list(entry, CacheList::none);
    }
}

void StripeWriter::unlink(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    leave_slot(index);
    leave_index(index);
    journal_.commit();
    if (entry.list() == CacheList::none) {
        dispose(index);
    }
}

void StripeWriter::zombie_push(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    const std::uint32_t tail = s_.zombie_tail.load(std::memory_order_relaxed);
    journal_.set(entry.next, 0u);
    set_list(entry, CacheList::zombie);
    if (tail != 0) {
        journal_.set(parts_.entry(tail).next, index);
    } else {
        journal_.set(s_.zombie_head, index);
    }
    journal_.set(s_.zombie_tail, index);
    journal_.add(s_.zombies, 1u);
}

std::uint32_t StripeWriter::reclaim(std::uint32_t most) noexcept
{
    std::uint32_t freed = 0;
    for (std::uint32_t n = s_.zombies.load(std::memory_order_relaxed); n > 0 && most > 0; --n, --most) {
        const std::uint32_t index = s_.zombie_head.load(std::memory_order_relaxed);
        CacheEntry& entry = parts_.entry(index);
        const std::uint32_t next = entry.next.load(std::memory_order_relaxed);
        const bool is_held = entry.pins.load(std::memory_order_seq_cst) != 0;
        if (is_held && next == 0) {
            return freed;
        }
        journal_.set(s_.zombie_head, next);
        if (next == 0) {
            journal_.set(s_.zombie_tail, 0u);
        }
        journal_.subtract(s_.zombies, 1u);
        if (is_held) {
            zombie_push(index);
            journal_.commit();
            continue;
        }
        journal_.set(entry.owner, static_cast<std::uint8_t>(row_));
        set_list(entry, CacheList::none);
        journal_.set(entry.next, 0u);
        journal_.commit();
        dispose(index);
        ++freed;
    }
    return freed;
}

void StripeWriter::dead_file_push(std::uint32_t index, std::uint64_t number, std::uint32_t pages) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    const std::uint32_t tail = s_.dead_file_tail.load(std::memory_order_relaxed);
    set_list(entry, CacheList::dead_file);
    journal_.set(entry.first_cell, static_cast<std::uint32_t>(number));
    journal_.set(entry.bucket, static_cast<std::uint32_t>(number >> 32));
    journal_.set(entry.prev, pages);
    journal_.set(entry.next, 0u);
    if (tail != 0) {
        journal_.set(parts_.entry(tail).next, index);
    } else {
        journal_.set(s_.dead_file_head, index);
    }
    journal_.set(s_.dead_file_tail, index);
    journal_.add(s_.dead_files, 1u);
    journal_.add(s_.dead_file_pages, std::uint64_t{pages});
}

void StripeWriter::dispose(std::uint32_t index) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    if (entry.pins.load(std::memory_order_seq_cst) != 0) {
        zombie_push(index);
        journal_.commit();
        return;
    }
    // A piece by a transaction, from the front: an interruption leaves a shorter record, disposed of again by repair. Before its
    // body a record is one piece, so with that piece a file's entry becomes one of a dead file.
    const bool is_own_file = (entry.flags() & kCacheInFile) != 0;
    for (std::uint32_t first = entry.first_cell.load(std::memory_order_relaxed); first != kNoCell;) {
        const CachePiece& piece = parts_.piece(first);
        const CellRun run{first, piece.cells.load(std::memory_order_relaxed)};
        first = piece.next.load(std::memory_order_relaxed);
        if (is_own_file && parts_.file(entry).number.load(std::memory_order_relaxed) != 0) {
            const RecordFile& file = parts_.file(entry);
            dead_file_push(index, file.number.load(std::memory_order_relaxed), file.pages.load(std::memory_order_relaxed));
            put_run(run);
            journal_.commit();
            return;
        }
        journal_.set(entry.first_cell, first);
        put_run(run);
        journal_.commit();
    }
    free_entry(index);
    journal_.commit();
}

void StripeWriter::bury_file() noexcept
{
    const std::uint32_t index = s_.dead_file_head.load(std::memory_order_relaxed);
    const CacheEntry& entry = parts_.entry(index);
    const std::uint32_t next = entry.next.load(std::memory_order_relaxed);
    const std::uint64_t pages = entry.prev.load(std::memory_order_relaxed);
    journal_.set(s_.dead_file_head, next);
    if (next == 0) {
        journal_.set(s_.dead_file_tail, 0u);
    }
    journal_.subtract(s_.file_pages, pages);
    journal_.subtract(s_.dead_file_pages, pages);
    journal_.subtract(s_.dead_files, 1u);
    free_entry(index);
    journal_.commit();
}

void StripeWriter::postpone_file() noexcept
{
    const std::uint32_t index = s_.dead_file_head.load(std::memory_order_relaxed);
    const std::uint32_t tail = s_.dead_file_tail.load(std::memory_order_relaxed);
    if (index == tail) {
        return;
    }
    CacheEntry& entry = parts_.entry(index);
    journal_.set(s_.dead_file_head, entry.next.load(std::memory_order_relaxed));
    journal_.set(entry.next, 0u);
    journal_.set(parts_.entry(tail).next, index);
    journal_.set(s_.dead_file_tail, index);
    journal_.commit();
}

Evicted StripeWriter::evict(std::uint64_t& steps) noexcept
{
    std::uint64_t turn = steps < kStepsPerTurn ? steps : kStepsPerTurn;
    steps -= turn;
    std::uint32_t index = s_.hand.load(std::memory_order_relaxed);
    for (; turn > 0; --turn) {
        if (index == 0) {
            index = s_.oldest.load(std::memory_order_relaxed);
            if (index == 0) {
                return Evicted::none;
            }
        }
        CacheEntry& entry = parts_.entry(index);
        const std::uint32_t newer = entry.prev.load(std::memory_order_relaxed);
        if (entry.state.load(std::memory_order_relaxed) == CacheState::aborted) {
            break;
        }
        if (entry.visited.load(std::memory_order_relaxed) != 0) {
            entry.visited.store(0, std::memory_order_relaxed);
        } else if (entry.pins.load(std::memory_order_relaxed) == 0 &&
                   entry.state.load(std::memory_order_relaxed) != CacheState::filling) {
            break;
        }
        index = newer;
    }
    if (turn == 0) {
        journal_.set(s_.hand, index);
        journal_.commit();
        return steps == 0 ? Evicted::none : Evicted::later;
    }
    steps += turn;
    journal_.set(s_.hand, index);
    unlink(index); // moves the hand on
    count(s_.evictions);
    return Evicted::one;
}

bool StripeWriter::evict_in(std::uint32_t bucket_index) noexcept
{
    CacheBucket& bucket = parts_.bucket(bucket_index);
    std::uint32_t victim = 0;
    for (const auto& slot : bucket.entries) {
        const std::uint32_t index = slot.load(std::memory_order_relaxed);
        const CacheEntry& entry = parts_.entry(index);
        if (index == 0 || entry.pins.load(std::memory_order_relaxed) != 0 ||
            entry.state.load(std::memory_order_relaxed) == CacheState::filling) {
            continue;
        }
        if (victim == 0 || entry.visited.load(std::memory_order_relaxed) == 0) {
            victim = index;
        }
    }
    if (victim != 0) {
        unlink(victim);
        count(s_.evictions);
    }
    return victim != 0;
}

bool StripeWriter::link(std::uint32_t index, const CacheHash& hash, CacheState state, std::uint32_t old, bool move_file) noexcept
{
    CacheEntry& entry = parts_.entry(index);
    std::uint32_t into = parts_.first_bucket(hash.low);
    const std::uint32_t other = parts_.second_bucket(hash.low);
    if (old == 0) {
        const auto used = [this](std::uint32_t number) {
            std::uint32_t count = 0;
            for (const auto& slot : parts_.bucket(number).entries) {
                count += slot.load(std::memory_order_relaxed) != 0;
            }
            return count;
        };
        const std::uint32_t in_first = used(into);
        const std::uint32_t in_other = used(other);
        into = in_other < in_first ? other : into;
        if (in_first == kBucketSlots && in_other == kBucketSlots && !evict_in(into) && !evict_in(into = other)) {
            return false;
        }
    }
    journal_.set(entry.state, state);
    journal_.add(s_.objects, 1u);
    if (old == 0) {
        journal_.set(entry.bucket, into);
        queue_push(index); // linked from here on
        put_slot(into, index, cache_tag(hash));
        journal_.commit();
        return true;
    }
    CacheEntry& replaced = parts_.entry(old);
    const std::uint32_t bucket = replaced.bucket.load(std::memory_order_relaxed);
    entry.visited.store(replaced.visited.load(std::memory_order_relaxed), std::memory_order_relaxed);
    if (move_file) {
        RecordFile& from = parts_.file(replaced);
        RecordFile& to = parts_.file(entry);
        journal_.set(to.number, from.number.load(std::memory_order_relaxed));
        journal_.set(to.pages, from.pages.load(std::memory_order_relaxed));
        journal_.set(from.number, std::uint64_t{0});
        journal_.set(from.pages, 0u);
    }
    journal_.set(entry.bucket, bucket);
    queue_push(index);
    // The new one takes over the old one's slot by one store, so that no reader finds neither.
    for (auto& slot : parts_.bucket(bucket).entries) {
        if (slot.load(std::memory_order_relaxed) == old) {
            journal_.set(slot, index);
        }
    }
    leave_index(old);
    journal_.commit();
    if (replaced.list() == CacheList::none) {
        dispose(old);
    }
    return true;
}

} // namespace ladle::shm
