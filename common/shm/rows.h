// SPDX-License-Identifier: Apache-2.0
//
// Process rows: what each process of the proxy says about itself, in the shared arena.
//
//   arena ─► │ header │ row 0 │ row 1 │ … │ row 63 │ retired row, rows_end │ server table (server_table.h) │
//            │ ticket keys (ticket_keys.h) │ sticky key (sticky_key.h) │ staples (staples.h) │ early hellos (early_hellos.h) │
//   row   ─► │ identity · heartbeat · note │ metrics[] │ in_flight[], unanswered[], waiting[server] │ client_…_kib[bucket] (2) │
//            page-aligned
//
// Who writes: the process that owns the row, alone, with relaxed stores; so no locks, and a death at any instruction leaves
// nothing half done. The master writes identity before the fork and, once the owner is reaped, adds its counters to the retired row
// and zeroes it: no counter runs backwards, no in-flight count or budget leaks. Readers sum over rows; sums may be a moment old.
// Two generations of workers live at once during an upgrade: rows belong to processes, not to worker numbers.
#pragma once

#include "common/shm/metrics_table.h"

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace ladle::shm {

inline constexpr std::uint32_t kMaxProcesses = 64;
inline constexpr std::uint32_t kMaxServers = 1024;      ///< entries of the server table
inline constexpr std::uint32_t kClientBuckets = 4096;   ///< client addresses hash into these; a collision only tightens a budget
inline constexpr std::uint32_t kNoteBytes = 256;

enum class Role : std::uint8_t { none, master, worker, caretaker };
enum class State : std::uint8_t { none, starting, ready, draining };

struct alignas(4096) ProcessRow {
    std::atomic<std::uint32_t> pid;          ///< 0 = free
    std::atomic<Role> role;
    std::atomic<State> state;
    std::uint16_t number;                    ///< worker number, from 0
    std::uint32_t generation;                ///< of the binary: counts upgrades
    std::atomic<std::uint64_t> started_ns;   ///< CLOCK_MONOTONIC
    std::atomic<std::uint64_t> heartbeat_ns; ///< CLOCK_MONOTONIC at the last loop turn; at least every 100 ms
    std::atomic<std::uint64_t> config_generation;
    char note[kNoteBytes];                   ///< last words of an assertion, NUL-terminated

    std::atomic<std::uint64_t> metrics[kMetricCount];
    std::atomic<std::uint32_t> in_flight[kMaxServers]; ///< requests this process has under way, by server table index
    std::atomic<std::uint32_t> unanswered[kMaxServers]; ///< of those, not answered yet; counted where `adaptive` is on
    std::atomic<std::uint32_t> waiting[kMaxServers];   ///< ticket of its oldest that waits, by an upstream's first server; 0 = none
    std::atomic<std::uint32_t> client_spool_kib[kClientBuckets]; ///< spooled for clients, by hash of the address
    std::atomic<std::uint32_t> client_request_kib[kClientBuckets]; ///< what their HTTP/2 requests hold beside that

    void add(Metric m, std::uint64_t n = 1) noexcept
    {
        auto& cell = metrics[static_cast<std::uint32_t>(m)];
        cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
    void subtract(Metric m, std::uint64_t n = 1) noexcept
    {
        auto& cell = metrics[static_cast<std::uint32_t>(m)];
        cell.store(cell.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
    }
    std::uint64_t value(Metric m) const noexcept
    {
        return metrics[static_cast<std::uint32_t>(m)].load(std::memory_order_relaxed);
    }
};

static_assert(std::is_standard_layout_v<ProcessRow>);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

} // namespace ladle::shm
