// SPDX-License-Identifier: Apache-2.0
//
// ServerConnection: one connection to a server. Where HTTP/1 is spoken it is the stream of one exchange after the other: in use it
// belongs to a Turn; kept, to its Server. Where HTTP/2 is spoken it belongs to an H2ServerConnection, which uses its socket and
// input.
#pragma once

#include "common/shm/rows.h"
#include "worker/net/input.h"
#include "worker/net/socket.h"
#include "worker/upstream/server_stream.h"

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>

namespace ladle::worker {

class Server;

class ServerConnection final : public ServerStream {
public:
    ServerConnection(loop::Loop& loop, Server& server, shm::ProcessRow& row);
    ~ServerConnection() override;

    void set_news(loop::Posted* news) noexcept override { socket.set_news(news); }
    void finish_head(Coding coding) override { coding_ = coding; }
    void finish_body(std::string trailers) override;
    Io flush() override;
    HeadStep receive_head(http::ResponseHead& head, const http::HeadLimits& limits) override;
    BlockRef take_head(const http::ResponseHead& head) override;
    bool may_pull() const noexcept override { return !input.empty() || socket.may_read(); }
    BodyReader::Pull pull_body(BodyReader& body, Chain& into, std::size_t most) override
    {
        return body.pull(socket, input, into, most);
    }
    void hand_back(std::unique_ptr<ServerStream> self, Reuse reuse, const config::Upstream& settings) override;

    Socket socket;
    Input input;
    Server& server;
    sockaddr_storage address{};        ///< what it is connected to
    std::uint32_t address_version = 0; ///< of the server's entry, when that address was last known to be one of its own
    std::string announced;             ///< the PROXY header that it began with: whose it is; empty = anybody's

private:
    friend class Server;
    static void on_idle_news(void* self);
    static void on_idle_deadline(void* self);

    shm::ProcessRow& row_;
    bool is_tunnel_ = false;         ///< the server has switched to another protocol
    bool has_said_all_ = false;      ///< of a tunnel: its end follows when `out` is empty
    loop::Posted idle_news_;
    loop::Deadline idle_deadline_;
    ServerConnection* newer_ = nullptr; ///< neighbours in the server's list of kept connections
    ServerConnection* older_ = nullptr;
};

} // namespace ladle::worker
