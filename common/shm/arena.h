// SPDX-License-Identifier: Apache-2.0
//
// The shared arena: one memfd made by the master, sealed against resizing, mapped before the first fork and inherited by every
// process. Frozen prefix {magic, layout version, ABI hash} so that a later binary can tell whether it may adopt it: on an upgrade
// with another ABI hash the new master makes a new arena and the old one goes with the last old worker.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"
#include "common/shm/early_hellos.h"
#include "common/shm/rows.h"
#include "common/shm/server_table.h"
#include "common/shm/staples.h"
#include "common/shm/sticky_key.h"
#include "common/shm/ticket_keys.h"

#include <cstdint>
#include <memory>

namespace ladle::shm {

struct ArenaHeader {
    std::uint64_t magic;
    std::uint32_t layout_version;
    std::uint32_t abi_hash;     ///< of sizes and offsets of all regions
    std::uint64_t seed;         ///< random, for hashes keyed against strangers
    std::uint64_t created_ns;   ///< CLOCK_REALTIME
};

struct Regions {
    alignas(4096) ArenaHeader header;
    ProcessRow rows[kMaxProcesses];
    ProcessRow retired; ///< counters of the dead
    std::atomic<std::uint32_t> rows_end; ///< rows from here on are free; 0 = not known. The master's word, never too low
    ServerTable servers;
    TicketKeys tickets;
    StickyKey sticky;
    StapleTable staples;
    EarlyHellos early_hellos;
};

class Arena {
public:
    /// Makes a new one (master).
    static Result<Arena> make();
    /// Maps one inherited over an exec; fails if its layout is not ours.
    static Result<Arena> adopt(os::Fd fd);

    Regions& regions() const noexcept { return *regions_; }
    int fd() const noexcept { return fd_.get(); }

    Arena(Arena&&) noexcept;
    Arena& operator=(Arena&&) noexcept;
    ~Arena();

private:
    Arena(os::Fd fd, Regions* regions) noexcept;
    os::Fd fd_;
    Regions* regions_ = nullptr;
};

/// Sum of a metric over all rows and, for counters, the retired row.
std::uint64_t total(const Regions& regions, Metric metric) noexcept;

/// Rows from here on are free.
std::uint32_t rows_end(const Regions& regions) noexcept;

/// Requests in flight on a server, all processes together.
std::uint32_t in_flight(const Regions& regions, std::uint32_t server) noexcept;

/// Of those the ones whose response has not begun; of servers whose limit finds itself (server_limit.h).
std::uint32_t unanswered(const Regions& regions, std::uint32_t server) noexcept;

/// A free row's index, or -1. Master only.
int find_free_row(const Regions& regions) noexcept;

/// Adds a reaped process's counters to the retired row and frees its row. Master only.
void retire_row(Regions& regions, std::uint32_t row) noexcept;

} // namespace ladle::shm
