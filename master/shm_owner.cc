// SPDX-License-Identifier: Apache-2.0
#include "master/shm_owner.h"

#include "common/loop/loop.h"

#include <fmt/format.h>

#include <string_view>

namespace ladle::master {

int claim_row(shm::Regions& regions, const RowClaim& claim) noexcept
{
    const int index = shm::find_free_row(regions);
    if (index < 0) {
        return -1;
    }
    shm::ProcessRow& row = regions.rows[index];
    const std::uint64_t now = loop::clock_now();
    row.role.store(claim.role, std::memory_order_relaxed);
    row.state.store(shm::State::starting, std::memory_order_relaxed);
    row.number = static_cast<std::uint16_t>(claim.number);
    row.generation = claim.generation;
    row.started_ns.store(now, std::memory_order_relaxed);
    row.heartbeat_ns.store(now, std::memory_order_relaxed);
    row.config_generation.store(claim.config_generation, std::memory_order_relaxed);
    row.note[0] = '\0';
    return index;
}

void set_row_pid(shm::Regions& regions, int row, pid_t pid) noexcept
{
    const auto end = static_cast<std::uint32_t>(row) + 1;
    if (regions.rows_end.load(std::memory_order_relaxed) < end) {
        regions.rows_end.store(end, std::memory_order_release); // before the row counts
    }
    regions.rows[row].pid.store(static_cast<std::uint32_t>(pid), std::memory_order_release);
}

void reserve_row(shm::Regions& regions, int row, pid_t pid) noexcept
{
    regions.rows[row].role.store(shm::Role::none, std::memory_order_relaxed);
    set_row_pid(regions, row, pid);
}

void repair_after(shm::Regions& regions, int row) noexcept
{
    const bool was_caretaker = regions.rows[row].role.load(std::memory_order_relaxed) == shm::Role::caretaker;
    shm::retire_row(regions, static_cast<std::uint32_t>(row));
    if (was_caretaker) {
        shm::repair_after_caretaker(regions.servers);
    }
}

Result<void> assign_servers(shm::Regions& regions, const config::Config& config)
{
    for (const config::Upstream& upstream : config.upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            const int index = shm::find_or_assign_server(regions.servers, upstream.name, server.text);
            if (index < 0) {
                return fail(Origin::local, fmt::format("no room for server {} of upstream \"{}\": at most {} servers in all",
                                                       server.text, upstream.name, shm::kMaxServers));
            }
            std::uint64_t never = 0;
            regions.servers.entries[index].health.known_ns.compare_exchange_strong(never, loop::clock_now());
            if (!server.host_name.empty()) {
                auto literal = shm::NameState::literal;
                regions.servers.entries[index].name_state.compare_exchange_strong(literal, shm::NameState::unresolved);
            }
        }
    }
    return {};
}

void free_unnamed_servers(shm::Regions& regions, const config::Config& config) noexcept
{
    bool named[shm::kMaxServers] = {};
    for (const config::Upstream& upstream : config.upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            if (const int index = shm::find_server(regions.servers, upstream.name, server.text); index >= 0) {
                named[index] = true;
            }
        }
    }
    for (std::uint32_t i = 0; i < shm::kMaxServers; ++i) {
        if (!named[i] && regions.servers.entries[i].used.load(std::memory_order_relaxed) == 1 && shm::in_flight(regions, i) == 0) {
            shm::free_server(regions.servers, i);
        }
    }
}

} // namespace ladle::master
