// SPDX-License-Identifier: Apache-2.0
//
// The listening sockets, all of which the master owns. One SO_REUSEPORT socket per slot and TCP address, one socket per Unix
// address; each stays open while its address is configured, whatever happens to workers: a connection waiting in it is never lost.
// Sockets of one group are bound by one user, with the same options. Only a change of configuration goes through the phases:
//
//   prepare (bound) ──listen_pending──► (listening) ──commit──► active ──commit of another configuration──► leaving ──close_left──►
//   gone
#pragma once

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/os/fd.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace ladle::master {

struct BoundAddress {
    config::BindAddress bind;
    std::vector<os::Fd> slots;
};

/// Every address the configuration listens on, once each.
std::vector<config::BindAddress> bind_addresses(const config::Config& config);

class ListenerSet {
public:
    /// Takes a socket that listens already (of a former master, or from systemd) for whoever configures its address.
    void offer(os::Fd socket);
    /// Closes what nobody wanted.
    void drop_offered();

    /// Binds the addresses of `config` that are not active, with `slots` sockets each. On failure nothing has changed; `detail` is
    /// one line for the user.
    Result<void> prepare(const config::Config& config, std::uint32_t slots);
    /// Lets the prepared sockets listen. On failure they are dropped.
    Result<void> listen_pending();
    void drop_pending();
    /// Prepared addresses become active; active ones that `config` does not name begin to leave.
    void commit(const config::Config& config);
    /// Opens further slots for every active TCP address until it has `slots`. Returns the new sockets, borrowed.
    struct Grown {
        std::string text;
        std::vector<int> sockets;
    };
    Result<std::vector<Grown>> grow(std::uint32_t slots);
    /// Closes a leaving address: every worker has left it.
    void close_left(const std::string& text);
    /// Closes everything: this proxy ends. Unix sockets' files are removed.
    void close_all();

    const std::vector<BoundAddress>& active() const { return active_; }
    const std::vector<BoundAddress>& pending() const { return pending_; }
    const std::vector<BoundAddress>& leaving() const { return leaving_; }
    /// Most slots of any address, at least 1: never fewer later.
    std::uint32_t slots() const { return slots_; }
    /// For adoption after an upgrade.
    void adopt_active(BoundAddress address);

private:
    bool is_active(const std::string& text) const;
    bool holds_port(const config::BindAddress& bind) const;
    Result<BoundAddress> bind_all_slots(const config::BindAddress& bind, std::uint32_t slots) const;
    void take_offered(BoundAddress& address);

    std::vector<BoundAddress> active_;
    std::vector<BoundAddress> pending_;
    std::vector<BoundAddress> leaving_;
    std::vector<os::Fd> offered_;
    std::uint32_t slots_ = 1;
};

} // namespace ladle::master
