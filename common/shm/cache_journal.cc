// SPDX-License-Identifier: Apache-2.0
#include "common/shm/cache_journal.h"

#include "common/base/assert.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

namespace ladle::shm {

namespace {

constexpr int kSpins = 200;

CacheJournal* journal_of(CacheArena& arena, std::uint32_t row) noexcept
{
    return reinterpret_cast<CacheJournal*>(arena.base() + arena.header().journals_offset) + row;
}

void futex_wait(CacheLockWord& word, std::uint32_t value, std::chrono::nanoseconds timeout) noexcept
{
    const timespec wait{static_cast<time_t>(timeout.count() / 1'000'000'000), static_cast<long>(timeout.count() % 1'000'000'000)};
    ::syscall(SYS_futex, &word, FUTEX_WAIT, value, &wait, nullptr, 0);
}

void futex_wake(CacheLockWord& word, int count) noexcept
{
    ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

void pause_briefly() noexcept
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

bool try_take(CacheLockWord& word, std::uint32_t tag) noexcept
{
    std::uint32_t free = 0;
    return word.compare_exchange_strong(free, tag, std::memory_order_acquire, std::memory_order_relaxed);
}

} // namespace

std::uint64_t cache_die_at_step = 0;

void cache_die() noexcept
{
    ::_exit(99);
}

JournalWriter::JournalWriter(CacheArena& arena, std::uint32_t row) noexcept : base_(arena.base()), journal_(journal_of(arena, row))
{
}

void JournalWriter::note(const void* at, std::uint64_t old, std::uint64_t bytes) noexcept
{
    const std::uint64_t count = journal_->count.load(std::memory_order_relaxed);
    LADLE_ASSERT(count < kJournalEntries);
    const auto where = static_cast<std::uint64_t>(static_cast<const std::byte*>(at) - base_);
    journal_->undo[count] = {where | bytes << 56, old};
    std::atomic_signal_fence(std::memory_order_seq_cst);
    journal_->count.store(count + 1, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    cache_step();
}

void JournalWriter::commit() noexcept
{
    std::atomic_signal_fence(std::memory_order_seq_cst);
    journal_->count.store(0, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    cache_step();
}

void undo_journal(CacheArena& arena, std::uint32_t row) noexcept
{
    CacheJournal& journal = *journal_of(arena, row);
    for (std::uint64_t i = std::min<std::uint64_t>(journal.count.load(std::memory_order_acquire), kJournalEntries); i > 0; --i) {
        const JournalUndo& undo = journal.undo[i - 1];
        const std::uint64_t offset = undo.where & ((std::uint64_t{1} << 56) - 1);
        if (offset > arena.bytes() - sizeof(std::uint64_t)) {
            continue; // who died wrote anywhere before: the master, which does this, must not follow it
        }
        std::byte* const at = arena.base() + offset;
        switch (undo.where >> 56) {
        case 1:
            reinterpret_cast<std::atomic<std::uint8_t>*>(at)->store(static_cast<std::uint8_t>(undo.old), std::memory_order_release);
            break;
        case 2:
            reinterpret_cast<std::atomic<std::uint16_t>*>(at)->store(static_cast<std::uint16_t>(undo.old),
                                                                     std::memory_order_release);
            break;
        case 4:
            reinterpret_cast<std::atomic<std::uint32_t>*>(at)->store(static_cast<std::uint32_t>(undo.old),
                                                                     std::memory_order_release);
            break;
        default:
            reinterpret_cast<std::atomic<std::uint64_t>*>(at)->store(undo.old, std::memory_order_release);
        }
    }
    journal.count.store(0, std::memory_order_release);
}

CacheLock::CacheLock(CacheLockWord& word, std::uint32_t row, std::chrono::microseconds patience) noexcept
{
    const std::uint32_t tag = row + 1;
    for (int i = 0; i < kSpins; ++i) {
        if (word.load(std::memory_order_relaxed) == 0 && try_take(word, tag)) {
            word_ = &word;
            cache_step();
            return;
        }
        pause_briefly();
    }
    const auto give_up = std::chrono::steady_clock::now() + patience;
    for (;;) {
        // Whoever slept cannot know whether others still do: it keeps the waiters' flag.
        if (try_take(word, tag | kLockWaiters)) {
            word_ = &word;
            cache_step();
            return;
        }
        const std::chrono::nanoseconds left = give_up - std::chrono::steady_clock::now();
        if (left.count() <= 0) {
            return;
        }
        std::uint32_t value = word.load(std::memory_order_relaxed);
        if (value == 0 || ((value & kLockWaiters) == 0 && !word.compare_exchange_strong(value, value | kLockWaiters))) {
            continue;
        }
        futex_wait(word, value | kLockWaiters, left);
    }
}

void CacheLock::release() noexcept
{
    if (word_ != nullptr) {
        cache_step();
        CacheLockWord& word = *std::exchange(word_, nullptr);
        if ((word.exchange(0, std::memory_order_release) & kLockWaiters) != 0) {
            futex_wake(word, 1);
        }
    }
}

bool is_locked_by(const CacheLockWord& word, std::uint32_t row) noexcept
{
    return (word.load(std::memory_order_acquire) & ~kLockWaiters) == row + 1;
}

void break_lock(CacheLockWord& word) noexcept
{
    word.store(0, std::memory_order_release);
    futex_wake(word, INT_MAX);
}

} // namespace ladle::shm
