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
    UpFlow(ClientStream& client, ServerStream& server) noexcept : client_(client), server_(server) {}

    /// Moves what is at hand; false = nothing moved.
    bool step()
    {
        bool moved = false;
        Chain& waiting = server_.out;
        if (!client_.body.is_complete() && waiting.bytes() < kWaitingMost && client_.ready().may_pull) {
            const BodyReader::Pull pull = client_.pull_body(waiting, kReadMost);
            moved = pull == BodyReader::Pull::progress;
            has_failed = has_failed || (!moved && pull != BodyReader::Pull::blocked);
        }
        const Io io = server_.flush();
        has_failed = has_failed || io.state == IoState::failed;
        moved = moved || io.bytes > 0;
        if (client_.body.is_complete() && waiting.empty() && !is_finished) {
            is_finished = true;
            server_.finish_body();
            server_.flush();
            moved = true;
        }
        return moved;
    }

    bool is_finished = false; ///< its end has been passed on
    bool has_failed = false;

private:
    ClientStream& client_;
    ServerStream& server_;
};

/// From the server to the client.
class DownFlow {
public:
    DownFlow(ServerStream& server, ClientStream& client) noexcept : server_(server), client_(client)
    {
        body.begin({http::BodyKind::until_close, 0});
    }

    /// Moves what is at hand; false = nothing moved.
    bool step()
    {
        bool moved = false;
        if (!body.is_complete() && client_.out.bytes() < kWaitingMost && server_.may_pull()) {
            const std::size_t before = client_.out.bytes();
            const BodyReader::Pull pull = server_.pull_body(body, client_.out, kReadMost);
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
            client_.finish_body();
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
    ServerStream& server_;
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
    UpFlow up(client, *turn.stream);
    DownFlow down(*turn.stream, client);
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
    row.add(shm::Metric::bytes_from_servers, down.body.received());
    client.body.begin({}); // nothing is due any more
    request.body_sent = down.passed;
    turn.drop();
}

} // namespace ladle::worker
