// SPDX-License-Identifier: Apache-2.0
//
// How writers of the cache's arena die without harm: an undo journal per process row, and locks that name their owner.
//
//   journal ─► │ count │ {where and size, old value} × 1023 │      16 KiB a row
//
// Under a lock, every store to what the lock protects goes through JournalWriter::set(), which first notes the old value; commit()
// is the store count := 0. Whoever dies between is undone by the master, in reverse order; then its lock, which carries its row, is
// released. Program order is enough (a compiler barrier): this is about processes that die, not about power. A process holds at
// most one lock of the arena at a time. Waiters spin, then sleep on a futex, never longer than they say; nobody ever steals a lock.
#pragma once

#include "common/shm/cache_arena.h"

#include <atomic>
#include <chrono>
#include <cstdint>

namespace ladle::shm {

inline constexpr std::uint32_t kJournalEntries = 1023;

struct JournalUndo {
    std::uint64_t where; ///< offset in the arena | bytes << 56
    std::uint64_t old;
};

struct CacheJournal {
    std::atomic<std::uint64_t> count; ///< 0 = nothing to undo
    std::uint64_t unused;
    JournalUndo undo[kJournalEntries];
};
static_assert(sizeof(CacheJournal) == 16384);

/// For tests: ends this process (exit code 99) at the n-th step of writing from now; 0 = never. Steps are: a lock taken, each note,
/// each store, each commit, a lock about to be released.
extern std::uint64_t cache_die_at_step;
[[noreturn]] void cache_die() noexcept;

inline void cache_step() noexcept
{
    if (__builtin_expect(cache_die_at_step != 0, 0) && --cache_die_at_step == 0) {
        cache_die();
    }
}

class JournalWriter {
public:
    JournalWriter(CacheArena& arena, std::uint32_t row) noexcept;
    JournalWriter(const JournalWriter&) = delete;
    JournalWriter& operator=(const JournalWriter&) = delete;

    template <typename T>
    void set(std::atomic<T>& at, T value) noexcept
    {
        static_assert(sizeof(T) <= 8 && sizeof(std::atomic<T>) == sizeof(T));
        note(&at, static_cast<std::uint64_t>(at.load(std::memory_order_relaxed)), sizeof(T));
        at.store(value, std::memory_order_release);
        cache_step();
    }
    template <typename T>
    void add(std::atomic<T>& at, T value) noexcept
    {
        set(at, static_cast<T>(at.load(std::memory_order_relaxed) + value));
    }
    template <typename T>
    void subtract(std::atomic<T>& at, T value) noexcept
    {
        set(at, static_cast<T>(at.load(std::memory_order_relaxed) - value));
    }
    /// What was set since the last commit stays.
    void commit() noexcept;

private:
    void note(const void* at, std::uint64_t old, std::uint64_t bytes) noexcept;

    std::byte* base_;
    CacheJournal* journal_;
};

/// Undoes what the dead process of `row` left. Its lock must still be held by it (or by nobody).
void undo_journal(CacheArena& arena, std::uint32_t row) noexcept;

inline constexpr std::uint32_t kLockWaiters = 0x8000'0000;
inline constexpr std::chrono::microseconds kLockPatience{2000};

/// Holds a lock of the arena, if it could be had in time.
class CacheLock {
public:
    CacheLock(CacheLockWord& word, std::uint32_t row, std::chrono::microseconds patience = kLockPatience) noexcept;
    CacheLock(const CacheLock&) = delete;
    CacheLock& operator=(const CacheLock&) = delete;
    ~CacheLock() { release(); }

    explicit operator bool() const noexcept { return word_ != nullptr; }
    void release() noexcept;

private:
    CacheLockWord* word_ = nullptr;
};

/// Whether the process of `row` holds the lock.
bool is_locked_by(const CacheLockWord& word, std::uint32_t row) noexcept;
/// Opens the lock of a dead process whose journal has been undone.
void break_lock(CacheLockWord& word) noexcept;

} // namespace ladle::shm
