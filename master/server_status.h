// SPDX-License-Identifier: Apache-2.0
//
// What `ladle status` tells of a server's health: whether it is used, and if not, why, since when, and when it is looked at again.
// Runs in the master (add_health) and in the command (render_servers).
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"
#include "common/shm/server_table.h"

#include <string>

namespace ladle::master {

/// "state" (up, down, full, ejected, draining, drained, off), "why", "check", "agent", "failures", "latency_ms" and the like.
void add_health(nlohmann::json& server, const config::Upstream& upstream, const config::UpstreamServer& settings,
                const shm::ServerHealth& health);

/// "limit", of a server whose limit finds itself. Precondition: upstream.adaptive.
void add_limit(nlohmann::json& server, const config::Upstream& upstream, const config::UpstreamServer& settings,
               const shm::ServerEntry& entry, std::uint32_t unanswered);

/// What can be said only of all servers together: shares of the traffic, and upstreams in which every server is out. `servers` are
/// those of the configuration, in order.
void add_shares(nlohmann::json& servers);

/// The section of the text.
std::string render_servers(const nlohmann::json& servers);

} // namespace ladle::master
