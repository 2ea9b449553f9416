// SPDX-License-Identifier: Apache-2.0
//
// The servers as one worker knows them: their kept connections. Keyed by place in the shared server table, so a reload that renames
// nothing keeps every connection. What all workers share of a server (in-flight counts, addresses, health) is in common/shm.
#pragma once

#include "common/shm/arena.h"
#include "worker/upstream/server_connection.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace ladle::worker {

class H2Pool;

class Server {
public:
    Server(loop::Loop& loop, shm::ProcessRow& row, std::uint32_t index, std::string text) noexcept;
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    std::uint32_t index() const noexcept { return index_; }
    const std::string& text() const noexcept { return text_; }
    /// Of the connections that began with this PROXY header (empty: with none) the one used last that is still good; null if there
    /// is none.
    std::unique_ptr<ServerConnection> take_kept(std::string_view announced);
    /// Keeps a connection whose response is complete; closes the oldest beyond `most`.
    void keep(std::unique_ptr<ServerConnection> connection, std::uint32_t most, std::chrono::milliseconds timeout);
    std::unique_ptr<ServerConnection> make_connection() { return std::make_unique<ServerConnection>(loop_, *this, row_); }
    void close_kept();
    /// The HTTP/2 connections, of a server that speaks it.
    H2Pool& h2();

    std::uint32_t next_address = 0; ///< where the next connect begins among the addresses of a name

private:
    friend class ServerConnection;
    void unlink(ServerConnection& connection) noexcept;

    loop::Loop& loop_;
    shm::ProcessRow& row_;
    std::uint32_t index_;
    std::string text_; ///< upstream and server: who has this place in the table
    std::uint32_t kept_ = 0;
    ServerConnection* newest_ = nullptr;
    ServerConnection* oldest_ = nullptr;
    std::unique_ptr<H2Pool> h2_; ///< null = none was asked for
};

class ServerSet {
public:
    ServerSet(loop::Loop& loop, shm::ProcessRow& row) noexcept : loop_(loop), row_(row) {}
    /// The worker's state of the server `text` that has that place in the table. If the place was another server's, that one's kept
    /// connections are closed; whoever still works with it keeps it alive.
    std::shared_ptr<Server> find(std::uint32_t index, const std::string& text);
    /// Closes all kept connections: the worker drains.
    void close_kept();
    loop::Loop& loop() const noexcept { return loop_; }

private:
    loop::Loop& loop_;
    shm::ProcessRow& row_;
    std::unordered_map<std::uint32_t, std::shared_ptr<Server>> servers_;
};

} // namespace ladle::worker
