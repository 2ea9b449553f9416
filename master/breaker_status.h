// SPDX-License-Identifier: Apache-2.0
//
// What `ladle status` tells of the breakers of upstreams: their state, since when, and why; and the order to close one. Runs in the
// master, but for render_breakers, which is the command's.
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"
#include "common/shm/server_table.h"

#include <string>

namespace ladle::master {

/// "upstream", "state" (closed, open, half_open), "for_ms", "why" and the like, where the upstream has a breaker.
void add_breaker(nlohmann::json& breakers, const shm::ServerTable& table, const config::Upstream& upstream);

/// Does one request of the control socket, `ladle upstream NAME breaker close`; the answer.
nlohmann::json order_breaker(shm::ServerTable& table, const config::Config& config, const nlohmann::json& request);

/// The section of the text; empty where there is no breaker.
std::string render_breakers(const nlohmann::json& breakers);

} // namespace ladle::master
