// SPDX-License-Identifier: Apache-2.0
//
// How much a server can take, as its responses say (ORCA): a word of its ServerHealth, and the moment since when it is kept up to
// date. Any worker writes, the last one wins; a death at any instruction leaves nothing half done.
//
//   │ when, 34 bits of 2^20 ns │ level, 30 bits: the logarithm of the capacity, 24 behind the point, and 32, so that it is not 0 │
//
// Capacity is requests per second by utilisation, errors counted as utilisation, as Envoy's client_side_weighted_round_robin has
// it: what the server would do if it were used up. It is compared with that of the other servers, so its unit does not matter.
#pragma once

#include "common/shm/server_health.h"

#include <cstdint>
#include <optional>

namespace ladle::shm {

/// What a server has said in one response. All finite and not negative.
struct LoadWord {
    double utilization = 0; ///< 1 = all of it; more is possible
    double rps = 0;         ///< requests per second
    double eps = 0;         ///< errors per second
};

/// Requests per second that it could do; nothing where the report does not tell.
std::optional<double> capacity_of(const LoadWord& load, std::uint32_t penalty_percent) noexcept;

/// Times of a configuration's `load_report`, in ns.
struct LoadTimes {
    std::uint64_t blackout;
    std::uint64_t expire;
};
/// Counts a report. One after a pause longer than `expire` is the first of a new row.
void add_load(ServerHealth& health, double capacity, LoadTimes times, std::uint64_t now_ns) noexcept;
/// The last capacity that was reported; nothing where none counts: none came, the last one is too old, or the server has only just
/// begun to report, or come back.
std::optional<double> read_load(const ServerHealth& health, LoadTimes times, std::uint64_t now_ns) noexcept;

/// The last report, whether or not it counts.
struct LastLoad {
    double capacity;
    std::uint64_t age_ns;
};
std::optional<LastLoad> last_load(const ServerHealth& health, std::uint64_t now_ns) noexcept;

} // namespace ladle::shm
