// SPDX-License-Identifier: Apache-2.0
//
// What `ladle status` shows, gathered in the master from its own state and the shared arena; the CLI prints it for people or as it
// is.
#pragma once

#include "common/base/json.h"
#include "master/cache_owner.h"
#include "master/listeners.h"
#include "master/reload.h"
#include "master/running.h"
#include "master/supervisor.h"
#include "master/tls_status.h"

#include <ctime>
#include <optional>
#include <string>

namespace ladle::master {

struct StatusParts {
    const shm::Regions& regions;
    const Running& running;
    const ListenerSet& listeners;
    const Supervisor& supervisor;
    const CacheOwner& cache;
    const std::optional<ReloadResult>& last_reload;
    const CertificateBook& certificates;
    std::string state; ///< "starting", "serving", "upgrading", "stopping"
    std::string config_path;
    std::time_t started_at = 0;
};

/// The whole answer. Members are only ever added: scripts read it.
nlohmann::json make_status(const StatusParts& parts);

/// The same for people.
std::string render_status(const nlohmann::json& status);

/// "2026-11-23T06:25:10Z"
std::string to_iso(std::time_t time);

} // namespace ladle::master
