// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/server_connection.h"

#include "worker/upstream/server_set.h"

namespace ladle::worker {

ServerConnection::ServerConnection(loop::Loop& loop, Server& of, shm::ProcessRow& row)
    : server(of), row_(row), idle_news_(&ServerConnection::on_idle_news, this),
      idle_deadline_(loop, &ServerConnection::on_idle_deadline, this)
{
    row_.add(shm::Metric::server_connections_open);
}

ServerConnection::~ServerConnection()
{
    idle_news_.cancel();
    socket.close();
    row_.subtract(shm::Metric::server_connections_open);
}

/// Anything that happens on a kept connection but a writable edge means that it is of no more use.
void ServerConnection::on_idle_news(void* self)
{
    auto& connection = *static_cast<ServerConnection*>(self);
    if (!connection.socket.is_silent()) {
        connection.server.unlink(connection);
        delete &connection;
    }
}

void ServerConnection::on_idle_deadline(void* self)
{
    auto& connection = *static_cast<ServerConnection*>(self);
    connection.server.unlink(connection);
    delete &connection;
}

void ServerConnection::finish_body(std::string trailers)
{
    if (is_tunnel_) {
        has_said_all_ = true;
    } else if (coding_ == Coding::chunked) {
        append_last_chunk(out, trailers);
    }
}

Io ServerConnection::flush()
{
    Io io{IoState::would_block, 0, 0};
    if (!out.empty() && socket.may_write()) {
        io = socket.write(out);
        row_.add(shm::Metric::bytes_to_servers, io.bytes);
    }
    if (out.empty()) {
        out.clear(); // a connection that waits holds no block
        if (has_said_all_) {
            has_said_all_ = false;
            socket.finish_writing();
        }
    }
    return io;
}

HeadStep ServerConnection::receive_head(http::ResponseHead& head, const http::HeadLimits& limits)
{
    bool got_part = false;
    for (;;) {
        if (!input.empty()) {
            const http::Progress progress = head.parse(input.unread(), limits);
            if (progress != http::Progress::incomplete) {
                return progress == http::Progress::complete ? HeadStep::complete : HeadStep::refused;
            }
        }
        // A reset that came in one event with these bytes is announced by nothing else: after a part, ask until the kernel says no.
        if (!socket.may_read() && !got_part) {
            return HeadStep::blocked;
        }
        const Io io = input.fill(socket, limits.head_bytes);
        got_part = true;
        row_.add(shm::Metric::bytes_from_servers, io.bytes);
        input.release_if_empty();
        if (io.state == IoState::would_block) {
            return HeadStep::blocked;
        }
        if (io.state != IoState::done) {
            return input.empty() ? HeadStep::ended : HeadStep::cut;
        }
    }
}

BlockRef ServerConnection::take_head(const http::ResponseHead& head)
{
    is_tunnel_ = head.status == 101;
    BlockRef block = input.block();
    input.consume(head.size());
    return block;
}

void ServerConnection::hand_back(std::unique_ptr<ServerStream> self, Reuse reuse, const config::Upstream& settings)
{
    if (!input.empty()) {
        row_.add(shm::Metric::server_bad_responses); // bytes after the end: never reused, never shown
    } else if (reuse == Reuse::yes) {
        self.release();
        server.keep(std::unique_ptr<ServerConnection>(this), settings.keepalive_idle, settings.keepalive_timeout);
    }
}

} // namespace ladle::worker
