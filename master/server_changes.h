// SPDX-License-Identifier: Apache-2.0
//
// `ladle upstream NAME server ADDRESS add|remove`: servers beside those of the file. The master keeps what was ordered, by name,
// also in a file beside the control socket, so that it outlives reloads, upgrades and crashes; it goes with a stop, as other orders
// do. It comes into force as a reload of what runs already (Reload::rebuild), all workers or none. Runs in the master; owned by it.
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"
#include "common/config/server_changes.h"

#include <string>
#include <vector>

namespace ladle::master {

class ServerChanges {
public:
    /// Where they are kept; reads what a master before us, which was replaced or has crashed, left there.
    void open(std::string path);
    /// Forgets all of them, the file too: the service stops.
    void close();

    /// As config::DiskFiles takes them; empty = none.
    std::string text() const { return config::to_text(changes_); }

    /// Notes one request of the control socket, checked against what runs: {"ok", "message"}. Not kept before commit().
    nlohmann::json propose(const config::Config& config, const nlohmann::json& request);
    /// Whether the configuration has become as it was proposed: what does not fit is passed over.
    bool are_in(const config::Config& config) const;
    /// What was proposed is in force; false = it could not be written to the file (errno).
    bool commit();
    /// What was proposed could not be put in force.
    void take_back();

private:
    std::string path_;
    std::vector<config::ServerChange> changes_;
    std::vector<config::ServerChange> before_;
    config::ServerChange proposed_; ///< its server as it is known in an upstream
};

} // namespace ladle::master
