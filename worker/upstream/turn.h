// SPDX-License-Identifier: Apache-2.0
//
// Turn: one request's turn with one server: the hold on it (in flight), the connection, the body being received. Made by
// ask_servers, used up by deliver or tunnel. A connection that is not handed back with keep() is closed with the turn: never reused
// by accident.
#pragma once

#include "worker/net/body_reader.h"
#include "worker/upstream/upstream.h"

#include <memory>

namespace ladle::worker {

struct Turn {
    Upstream* upstream = nullptr;
    std::uint32_t member = 0;
    Lease lease;
    std::unique_ptr<ServerConnection> connection;
    BodyReader body;              ///< of the response
    unsigned interim = 0;         ///< interim responses of the server so far
    bool is_reused = false;       ///< the connection had carried a request before
    bool request_complete = false; ///< the whole request was sent: the connection may be kept
    bool may_keep = false;         ///< the response allows it too

    Server& server() const noexcept { return *upstream->members()[member].server; }
    /// The server is free again: hands the connection back if both sides allow it, ends the lease.
    void release()
    {
        if (connection && may_keep && request_complete && connection->input.empty()) {
            const config::Upstream& settings = upstream->settings();
            connection->server.keep(std::move(connection), settings.keepalive_idle, settings.keepalive_timeout);
        }
        connection.reset();
        lease.end();
    }
};

} // namespace ladle::worker
