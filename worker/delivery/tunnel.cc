// SPDX-License-Identifier: Apache-2.0
#include "worker/delivery/tunnel.h"

#include "worker/response/response_writer.h"

namespace ladle::worker {

namespace {

constexpr std::size_t kWaitingMost = 64 << 10;
constexpr std::size_t kReadMost = 16 << 10;

/// One direction.
class Flow {
public:
    Flow(Socket& from, Input& left_over, Socket& to, Chain& waiting) noexcept
        : from_(from), left_over_(left_over), to_(to), waiting_(waiting)
    {
    }

    /// Moves what is at hand; false = nothing moved.
    bool step()
    {
        bool moved = false;
        if (!left_over_.empty()) {
            waiting_.append_part(left_over_.block(), left_over_.unread());
            left_over_.consume(left_over_.unread().size());
            left_over_.release_if_empty();
            moved = true;
        }
        if (!has_ended_ && waiting_.bytes() < kWaitingMost && from_.may_read()) {
            const Io io = from_.read(waiting_, kReadMost);
            moved = moved || io.state == IoState::done;
            received += io.bytes;
            has_ended_ = io.state == IoState::end;
            if (waiting_.empty()) {
                waiting_.clear(); // an idle tunnel holds no block
            }
            has_failed = has_failed || io.state == IoState::failed;
        }
        if (!waiting_.empty() && to_.may_write()) {
            const Io io = to_.write(waiting_);
            moved = moved || io.bytes > 0;
            sent += io.bytes;
            has_failed = has_failed || io.state == IoState::failed;
        }
        if (has_ended_ && waiting_.empty() && !is_finished) {
            is_finished = true;
            to_.finish_writing();
            moved = true;
        }
        return moved;
    }

    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    bool is_finished = false; ///< its end has been passed on
    bool has_failed = false;

private:
    Socket& from_;
    Input& left_over_;
    Socket& to_;
    Chain& waiting_;
    bool has_ended_ = false;
};

} // namespace

loop::Task<void> tunnel(Request& request, Turn& turn)
{
    ClientConnection& client = request.client;
    ServerConnection& server = *turn.connection;
    shm::ProcessRow& row = request.parts.row;
    request.after = After::close;
    write_response_head(request, BodyForm::none, 0);
    row.add(shm::Metric::tunnels);
    row.add(shm::Metric::tunnels_open);
    Chain to_server;
    Flow up(client.socket, client.input, server.socket, to_server);
    Flow down(server.socket, server.input, client.socket, client.out);
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
    row.add(shm::Metric::bytes_from_clients, up.received);
    row.add(shm::Metric::bytes_to_servers, up.sent);
    row.add(shm::Metric::bytes_from_servers, down.received);
    row.add(shm::Metric::bytes_to_clients, down.sent);
    request.body_sent = down.sent;
    turn.connection.reset();
    turn.lease.end();
}

} // namespace ladle::worker
