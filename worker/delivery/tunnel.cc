// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/tunnel.h"

#include "worker/response/response_writer.h"

namespace ladle::worker {

namespace {

constexpr std::size_t kWaitingMost = 64 << 10;
constexpr std::size_t kReadMost = 16 << 10;

/// From the client to the server.
class UpFlow {
public:
    UpFlow(ClientStream& client, Socket& server) noexcept : client_(client), server_(server) {}

    /// Moves what is at hand; false = nothing moved.
    bool step()
    {
        bool moved = false;
        if (!client_.body.is_complete() && waiting_.bytes() < kWaitingMost && client_.ready().may_pull) {
            const BodyReader::Pull pull = client_.pull_body(waiting_, kReadMost);
            moved = pull == BodyReader::Pull::progress;
            has_failed = has_failed || (!moved && pull != BodyReader::Pull::blocked);
            if (waiting_.empty()) {
                waiting_.clear(); // an idle tunnel holds no block
            }
        }
        if (!waiting_.empty() && server_.may_write()) {
            const Io io = server_.write(waiting_);
            moved = moved || io.bytes > 0;
            sent += io.bytes;
            has_failed = has_failed || io.state == IoState::failed;
        }
        if (client_.body.is_complete() && waiting_.empty() && !is_finished) {
            is_finished = true;
            server_.finish_writing();
            moved = true;
        }
        return moved;
    }

    std::uint64_t sent = 0;
    bool is_finished = false; ///< its end has been passed on
    bool has_failed = false;

private:
    ClientStream& client_;
    Socket& server_;
    Chain waiting_;
};

/// From the server to the client.
class DownFlow {
public:
    DownFlow(ServerConnection& server, ClientStream& client) noexcept : server_(server), client_(client)
    {
        body.begin({http::BodyKind::until_close, 0});
    }

    /// Moves what is at hand; false = nothing moved.
    bool step()
    {
        bool moved = false;
        if (!body.is_complete() && client_.out.bytes() < kWaitingMost && (!server_.input.empty() || server_.socket.may_read())) {
            const std::size_t before = client_.out.bytes();
            const BodyReader::Pull pull = body.pull(server_.socket, server_.input, client_.out, kReadMost);
            passed += client_.out.bytes() - before;
            moved = pull == BodyReader::Pull::progress;
            has_failed = has_failed || (!moved && pull != BodyReader::Pull::blocked);
        }
        const std::size_t before = client_.out.bytes();
        has_failed = !client_.flush() || has_failed;
        moved = moved || client_.out.bytes() != before;
        if (client_.out.empty()) {
            client_.out.clear(); // an idle tunnel holds no block
        }
        if (body.is_complete() && client_.is_flushed() && !is_finished) {
            is_finished = true;
            client_.finish_body(nullptr);
            client_.flush();
            moved = true;
        }
        return moved;
    }

    BodyReader body; ///< all that the server sends
    std::uint64_t passed = 0;
    bool is_finished = false; ///< its end has been passed on
    bool has_failed = false;

private:
    ServerConnection& server_;
    ClientStream& client_;
};

} // namespace

loop::Task<void> tunnel(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    shm::ProcessRow& row = request.parts.row;
    request.after = After::close;
    write_response_head(request, BodyForm::none, 0);
    row.add(shm::Metric::tunnels);
    row.add(shm::Metric::tunnels_open);
    client.body.begin({http::BodyKind::until_close, 0});
    UpFlow up(client, turn.connection->socket);
    DownFlow down(*turn.connection, client);
    request.reason = Reason::tunnel_closed;
    client.alarm.set(request.timeouts().tunnel);
    for (;;) {
        const bool moved_up = up.step();
        const bool moved_down = down.step();
        if (up.has_failed || down.has_failed || (up.is_finished && down.is_finished)) {
            break;
        }
        if (moved_up || moved_down) {
            client.alarm.set(request.timeouts().tunnel);
            client.wake.kick_later();
        }
        co_await client.wake.wait();
        if (client.alarm.rang()) {
            request.reason = Reason::tunnel_idle;
            break;
        }
    }
    row.subtract(shm::Metric::tunnels_open);
    row.add(shm::Metric::bytes_from_clients, client.body.received());
    row.add(shm::Metric::bytes_to_servers, up.sent);
    row.add(shm::Metric::bytes_from_servers, down.body.received());
    client.body.begin({}); // nothing is due any more
    request.body_sent = down.passed;
    turn.connection.reset();
    turn.lease.end();
}

} // namespace ladle::worker
