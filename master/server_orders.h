// SPDX-License-Identifier: Apache-2.0
//
// What the operator has ordered of single servers: `ladle upstream NAME server ADDRESS drain|down|resume|up|weight N`. An order is
// a word in the server's entry of the shared table, so that every worker obeys it with its next choice; here it is remembered by
// name, also in a file beside the control socket, so that it outlives reloads, upgrades and crashes. It goes with a stop: a start
// begins with what the configuration says. Runs in the master; owned by it.
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"
#include "common/shm/arena.h"

#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace ladle::master {

class ServerOrders {
public:
    /// Where they are kept; reads what a master before us, which was replaced or has crashed, left there.
    void open(std::string path);
    /// Forgets all of them, the file too: the service stops.
    void close();

    /// Puts the orders into the entries of `config`, which were assigned before.
    void apply(shm::Regions& regions, const config::Config& config) const;
    /// Does one request of the control socket; the answer.
    nlohmann::json give(shm::Regions& regions, const config::Config& config, const nlohmann::json& request);

private:
    struct Order {
        shm::ServerOrder order = shm::ServerOrder::none;
        std::uint32_t weight = 0; ///< 0 = as configured
    };
    using Name = std::pair<std::string, std::string>; ///< upstream, server

    static void put(shm::Regions& regions, const Name& name, const Order& order);
    bool save() const;

    std::string path_;
    std::map<Name, Order> orders_;
};

} // namespace ladle::master
