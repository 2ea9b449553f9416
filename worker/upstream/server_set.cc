// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/server_set.h"

#include "worker/upstream/h2_pool.h"

#include <utility>

namespace ladle::worker {

Server::Server(loop::Loop& loop, shm::ProcessRow& row, std::uint32_t index, std::string text) noexcept
    : loop_(loop), row_(row), index_(index), text_(std::move(text))
{
}

Server::~Server()
{
    close_kept();
}

H2Pool& Server::h2()
{
    if (!h2_) {
        h2_ = std::make_unique<H2Pool>(loop_, row_);
    }
    return *h2_;
}

void Server::close_kept()
{
    if (h2_) {
        h2_->leave();
    }
    while (newest_ != nullptr) {
        ServerConnection* connection = newest_;
        unlink(*connection);
        delete connection;
    }
}

void Server::unlink(ServerConnection& connection) noexcept
{
    (connection.newer_ != nullptr ? connection.newer_->older_ : newest_) = connection.older_;
    (connection.older_ != nullptr ? connection.older_->newer_ : oldest_) = connection.newer_;
    connection.newer_ = connection.older_ = nullptr;
    --kept_;
    row_.subtract(shm::Metric::server_connections_idle);
}

std::unique_ptr<ServerConnection> Server::take_kept(std::string_view announced)
{
    for (ServerConnection* at = newest_; at != nullptr;) {
        ServerConnection* const older = at->older_;
        if (at->announced == announced) {
            std::unique_ptr<ServerConnection> connection(at);
            unlink(*connection);
            connection->idle_news_.cancel();
            connection->idle_deadline_.clear();
            connection->socket.set_news(nullptr);
            // Its end, or bytes that nobody asked for, may have come in this very turn.
            if (!connection->socket.may_read() || connection->socket.is_silent()) {
                return connection;
            }
        }
        at = older;
    }
    return nullptr;
}

void Server::keep(std::unique_ptr<ServerConnection> connection, std::uint32_t most, std::chrono::milliseconds timeout)
{
    // What came with the response's last bytes (the end, or bytes too many) is not announced again.
    if (most == 0 || (connection->socket.may_read() && !connection->socket.is_silent())) {
        return;
    }
    ServerConnection* kept = connection.release();
    kept->older_ = newest_;
    (newest_ != nullptr ? newest_->newer_ : oldest_) = kept;
    newest_ = kept;
    ++kept_;
    row_.add(shm::Metric::server_connections_idle);
    kept->input.release_if_empty();
    kept->socket.set_news(&kept->idle_news_);
    kept->idle_deadline_.set(loop_.now() + loop::to_nanos(timeout));
    if (kept_ > most) {
        ServerConnection* oldest = oldest_;
        unlink(*oldest);
        delete oldest;
    }
}

std::shared_ptr<Server> ServerSet::find(std::uint32_t index, const std::string& text)
{
    std::shared_ptr<Server>& server = servers_[index];
    if (server && server->text() != text) {
        server->close_kept();
        server.reset();
    }
    if (!server) {
        server = std::make_shared<Server>(loop_, row_, index, text);
    }
    return server;
}

void ServerSet::close_kept()
{
    for (auto& [index, server] : servers_) {
        server->close_kept();
    }
}

} // namespace ladle::worker
