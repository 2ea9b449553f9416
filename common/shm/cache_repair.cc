// SPDX-License-Identifier: Apache-2.0
//
// What is put right after others: removing, files of dead objects, the caretaker's sweep, the master's repair.
#include "common/shm/cache_store.h"
#include "common/shm/cache_stripe.h"
#include "common/shm/cache_uses.h"

#include <sys/mman.h>

#include <algorithm>

namespace ladle::shm {

namespace {

constexpr std::uint32_t kLargeBlocksPerTurn = 4;
constexpr std::uint32_t kLargeOrder = kCellOrders - 1;
constexpr std::chrono::milliseconds kRepairPatience{50};

/// Gives the pages of some free blocks of 1 MiB back to the kernel; the lock is held.
void release_large_blocks(const StripeParts& parts, std::uint32_t& block, std::uint32_t most) noexcept
{
    const std::size_t bytes = std::size_t{kCellBytes} << kLargeOrder;
    for (; most > 0 && block < parts.stripe.free_blocks[kLargeOrder].bits; ++block) {
        if (parts.is_free_block(kLargeOrder, block)) {
            ::madvise(parts.cell(block << kLargeOrder), bytes, MADV_REMOVE);
            --most;
        }
    }
}

std::uint64_t dead_file_number(const CacheEntry& entry) noexcept
{
    return entry.first_cell.load(std::memory_order_relaxed) | std::uint64_t{entry.bucket.load(std::memory_order_relaxed)} << 32;
}

} // namespace

bool CacheStore::remove(const CacheRef& ref) noexcept
{
    CacheStripe& stripe = arena_.stripe(ref.stripe);
    CacheLock lock(stripe.lock, row_);
    ++locks_taken_;
    if (!lock) {
        return false;
    }
    StripeWriter writer(arena_, stripe, row_);
    const CacheEntry& entry = writer.parts().entry(ref.entry);
    if (entry.generation.load(std::memory_order_relaxed) == ref.generation && entry.is_linked()) {
        writer.unlink(ref.entry);
    }
    return true;
}

std::optional<CacheDeadFile> CacheStore::next_dead_file() noexcept
{
    for (std::uint32_t i = 0; i < arena_.header().stripe_count; ++i) {
        CacheStripe& stripe = arena_.stripe(i);
        if (stripe.dead_files.load(std::memory_order_relaxed) == 0) {
            continue;
        }
        CacheLock lock(stripe.lock, row_);
        ++locks_taken_;
        const std::uint32_t index = lock ? stripe.dead_file_head.load(std::memory_order_relaxed) : 0;
        if (index != 0) {
            const CacheEntry& entry = StripeParts(stripe).entry(index);
            return CacheDeadFile{dead_file_number(entry), {i, index, entry.generation.load(std::memory_order_relaxed)}};
        }
    }
    return {};
}

bool CacheStore::confirm(const CacheDeadFile& file) noexcept
{
    CacheStripe& stripe = arena_.stripe(file.ref.stripe);
    CacheLock lock(stripe.lock, row_);
    ++locks_taken_;
    if (!lock) {
        return false;
    }
    StripeWriter writer(arena_, stripe, row_);
    const CacheEntry& entry = writer.parts().entry(file.ref.entry);
    // Only the first is ever given out. If it was postponed since it is given out once more, and is gone already then.
    if (stripe.dead_file_head.load(std::memory_order_relaxed) == file.ref.entry && dead_file_number(entry) == file.number &&
        entry.generation.load(std::memory_order_relaxed) == file.ref.generation) {
        writer.bury_file();
    }
    return true;
}

void CacheStore::sweep_entry(std::uint32_t number, std::uint32_t index) noexcept
{
    CacheStripe& stripe = arena_.stripe(number);
    const CacheEntry& entry = StripeParts(stripe).entry(index);
    const auto is_left = [&entry] {
        const CacheList list = entry.list();
        return entry.state.load(std::memory_order_acquire) == CacheState::aborted &&
               (list == CacheList::none || list == CacheList::queue);
    };
    if (!is_left()) {
        return;
    }
    CacheLock lock(stripe.lock, row_);
    ++locks_taken_;
    if (!lock || !is_left()) {
        return;
    }
    StripeWriter writer(arena_, stripe, row_);
    if (entry.is_linked()) {
        writer.unlink(index);
    } else {
        writer.dispose(index);
    }
}

std::uint32_t CacheStore::sweep(std::uint32_t entries) noexcept
{
    const CacheHeader& header = arena_.header();
    std::uint32_t freed = 0;
    for (std::uint32_t turn = 0; turn < header.stripe_count && entries > 0; ++turn) {
        CacheStripe& stripe = arena_.stripe(sweep_stripe_);
        const std::uint32_t end = stripe.entries_touched.load(std::memory_order_acquire);
        for (; entries > 0 && sweep_entry_ < end; --entries) {
            sweep_entry(sweep_stripe_, sweep_entry_++);
        }
        if (stripe.zombies.load(std::memory_order_relaxed) != 0) {
            CacheLock lock(stripe.lock, row_);
            ++locks_taken_;
            freed += lock ? StripeWriter(arena_, stripe, row_).reclaim(256) : 0;
        }
        if (sweep_entry_ < end) {
            break;
        }
        if (stripe.dead_files.load(std::memory_order_relaxed) > 1) {
            CacheLock lock(stripe.lock, row_);
            ++locks_taken_;
            if (lock) {
                StripeWriter(arena_, stripe, row_).postpone_file();
            }
        }
        // Files are charged to the same budget as cells: what cells no longer use must be the kernel's again.
        for (std::uint32_t block = 0; stripe.file_budget_pages == 0 && stripe.file_pages.load(std::memory_order_relaxed) != 0 &&
                                      block < stripe.free_blocks[kLargeOrder].bits;) {
            CacheLock lock(stripe.lock, row_);
            ++locks_taken_;
            if (!lock) {
                break;
            }
            release_large_blocks(StripeParts(stripe), block, kLargeBlocksPerTurn);
        }
        sweep_entry_ = 1;
        sweep_stripe_ = (sweep_stripe_ + 1) % header.stripe_count;
    }
    return freed;
}

std::uint64_t CacheStore::repair_stripe(CacheStripe& stripe, std::uint32_t dead_row) noexcept
{
    const StripeParts parts(stripe);
    if (is_locked_by(stripe.lock, dead_row)) {
        undo_journal(arena_, dead_row);
        for (std::uint32_t i = 0; i < stripe.bucket_count; ++i) {
            auto& seq = parts.bucket(i).seq;
            if (const std::uint32_t value = seq.load(std::memory_order_relaxed); (value & 1) != 0) {
                seq.store(value + 1, std::memory_order_release);
            }
        }
        break_lock(stripe.lock);
    }
    std::uint64_t wake = 0;
    const std::uint64_t bit = std::uint64_t{1} << dead_row;
    const std::uint32_t end = std::min(stripe.entries_touched.load(std::memory_order_acquire), stripe.entry_count);
    for (std::uint32_t index = 1; index < end; ++index) {
        CacheEntry& entry = parts.entry(index);
        // Without the lock: an entry that the dead process owned and that is not aborted yet can become no one else's, and one that
        // is another's has another generation than the one read first (take_entry() writes it before the owner).
        const std::uint32_t generation = entry.generation.load(std::memory_order_acquire);
        CacheState state = entry.state.load(std::memory_order_acquire);
        const CacheList list = entry.list(std::memory_order_acquire);
        const bool is_dead_ones = entry.owner.load(std::memory_order_acquire) == dead_row;
        const bool is_cut_off = state == CacheState::building || state == CacheState::filling ||
                                (list == CacheList::none && state != CacheState::free && state != CacheState::aborted);
        if (is_dead_ones && is_cut_off && entry.generation.load(std::memory_order_acquire) == generation) {
            wake |= entry.pins.load(std::memory_order_seq_cst);
            entry.state.compare_exchange_strong(state, CacheState::aborted);
        }
        if ((entry.pins.load(std::memory_order_relaxed) & bit) != 0) {
            entry.pins.fetch_and(~bit, std::memory_order_seq_cst);
        }
    }
    CacheLock lock(stripe.lock, row_, kRepairPatience);
    ++locks_taken_;
    if (!lock) {
        return wake & ~bit; // the sweep frees what is aborted
    }
    StripeWriter writer(arena_, stripe, row_);
    for (std::uint32_t index = 1; index < end; ++index) {
        const CacheEntry& entry = parts.entry(index);
        const CacheList list = entry.list();
        if (entry.state.load(std::memory_order_relaxed) != CacheState::aborted) {
            continue;
        }
        if (list == CacheList::queue) {
            writer.unlink(index);
        } else if (list == CacheList::none) {
            writer.dispose(index);
        }
    }
    writer.reclaim(stripe.zombies.load(std::memory_order_relaxed));
    return wake & ~bit;
}

std::uint64_t CacheStore::repair(std::uint32_t dead_row) noexcept
{
    std::uint64_t wake = 0;
    if (!arena_.is_whole()) {
        return 0; // who died overwrote it, perhaps: the master must not follow it
    }
    purges_.repair(dead_row);
    for (std::uint32_t i = 0; i < arena_.header().stripe_count; ++i) {
        CacheStripe& stripe = arena_.stripe(i);
        wake |= is_laid_out(stripe, arena_.header().stripe_bytes) ? repair_stripe(stripe, dead_row) : 0;
    }
    return wake | fills_.repair(dead_row);
}

} // namespace ladle::shm
