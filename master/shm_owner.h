// SPDX-License-Identifier: Apache-2.0
//
// The master's part in the shared arena: which row and which server entry belongs to whom. Everything here is done before a fork
// or after a reap, so no child can be in the middle of using what is given or taken.
#pragma once

#include "common/config/config.h"
#include "common/shm/arena.h"

#include <cstdint>

namespace ladle::master {

struct RowClaim {
    shm::Role role = shm::Role::none;
    std::uint32_t number = 0;
    std::uint32_t generation = 0; ///< of the binary
    std::uint64_t config_generation = 0;
};

/// Takes a free row for a process about to be forked; its pid is set by set_row_pid(). -1 if all are taken.
int claim_row(shm::Regions& regions, const RowClaim& claim) noexcept;
void set_row_pid(shm::Regions& regions, int row, pid_t pid) noexcept;

/// Keeps the row of this index from being given to a process, because one of an arena before has it in the cache.
void reserve_row(shm::Regions& regions, int row, pid_t pid) noexcept;

/// Repairs what a reaped process leaves: its counters are kept, all else is undone.
void repair_after(shm::Regions& regions, int row) noexcept;

/// Gives every server of the configuration its entry, before the bundle goes out. Fails when the table is full.
Result<void> assign_servers(shm::Regions& regions, const config::Config& config);

/// Frees entries that `config` does not name and where nothing is in flight. Called now and then: a removed server may still
/// answer requests that began before.
void free_unnamed_servers(shm::Regions& regions, const config::Config& config) noexcept;

} // namespace ladle::master
