// SPDX-License-Identifier: Apache-2.0
#include "master/control/server.h"

#include "common/os/log.h"
#include "common/os/socket.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace ladle::master {

namespace {
constexpr std::size_t kMaxRequest = 64 * 1024;
constexpr std::size_t kMaxConnections = 64;

/// The locked file; -1 if another process has it.
Result<os::Fd> take_lock(const std::string& path)
{
    for (;;) {
        os::Fd lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!lock) {
            return fail_errno("lock", errno);
        }
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
            return os::Fd();
        }
        // A master that ends removes the file: a lock on one that has no name any more keeps nobody out.
        struct stat held {};
        struct stat named {};
        if (::fstat(lock.get(), &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino) {
            return lock;
        }
    }
}
} // namespace

struct ControlServer::Connection {
    ControlServer* owner = nullptr;
    Id id = 0;
    os::Fd socket;
    std::string input;
    bool is_asked = false; ///< the request has been handed on
    std::string output;
    loop::Watch watch; ///< after socket: stops before it closes
};

ControlServer::ControlServer(loop::Loop& loop, OnRequest on_request)
    : loop_(loop), on_request_(std::move(on_request)),
      free_finished_([](void* self) { static_cast<ControlServer*>(self)->finished_.clear(); }, this)
{
}

ControlServer::~ControlServer() = default;

Result<void> ControlServer::open(const std::string& path)
{
    const auto cannot = [&path](std::string_view what, int code) {
        return std::unexpected(Error{code, Origin::local, Retry::no,
                                     fmt::format("cannot {} {}: {}{}", what, path, strerrordesc_np(code),
                                                 ::geteuid() == 0 ? "" : ": run as root, or set server.admin to a path of yours")});
    };
    sockaddr_storage address{};
    const auto length = os::unix_address(path, address);
    if (!length) {
        return fail(Origin::local, "server.admin: " + length.error().detail);
    }
    ::mkdir(std::filesystem::path(path).parent_path().c_str(), 0755);
    auto lock = take_lock(path + ".lock");
    if (!lock) {
        return cannot("make the control socket", lock.error().code);
    }
    if (!*lock) {
        return fail(Origin::local, fmt::format("already running (its control socket is {})", path));
    }
    struct stat left {};
    if (::lstat(path.c_str(), &left) == 0 && S_ISSOCK(left.st_mode)) {
        ::unlink(path.c_str()); // we hold the lock: whoever made it is dead
    }
    auto socket = os::bind_stream(address, *length, os::Sharing::alone);
    if (!socket) {
        return cannot("make the control socket", socket.error().code);
    }
    ::chmod(path.c_str(), 0600);
    if (auto listening = os::start_listening(socket->get()); !listening) {
        return cannot("listen on", listening.error().code);
    }
    return adopt(path, std::move(*socket), std::move(*lock));
}

Result<void> ControlServer::adopt(const std::string& path, os::Fd socket, os::Fd lock)
{
    path_ = path;
    socket_ = std::move(socket);
    lock_ = std::move(lock);
    return watch_.start(
        loop_, socket_.get(), loop::WatchMode::level_read,
        [](void* self, loop::Ready) { static_cast<ControlServer*>(self)->on_acceptable(); }, this);
}

void ControlServer::close()
{
    watch_.stop();
    if (socket_) {
        ::unlink(path_.c_str());
        ::unlink((path_ + ".lock").c_str());
    }
    socket_.reset();
    lock_.reset();
}

void ControlServer::on_acceptable()
{
    os::Fd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket && connections_.size() < kMaxConnections) {
        adopt_connection(std::move(socket));
    }
}

ControlServer::Id ControlServer::adopt_connection(os::Fd socket)
{
    auto connection = std::make_unique<Connection>();
    connection->owner = this;
    connection->id = ++last_id_;
    connection->socket = std::move(socket);
    Connection& added = *connection;
    connections_.push_back(std::move(connection));
    const auto started = added.watch.start(
        loop_, added.socket.get(), loop::WatchMode::edges,
        [](void* self, loop::Ready) {
            auto& c = *static_cast<Connection*>(self);
            c.owner->on_ready(c);
        },
        &added);
    if (!started) {
        remove(added.id);
        return 0;
    }
    return last_id_;
}

void ControlServer::on_ready(Connection& connection)
{
    if (!connection.output.empty()) {
        return write_answer(connection);
    }
    read_request(connection);
}

void ControlServer::read_request(Connection& connection)
{
    char block[4096];
    for (;;) {
        const ssize_t n = ::recv(connection.socket.get(), block, sizeof block, 0);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n <= 0 || connection.input.size() > kMaxRequest) {
            return remove(connection.id);
        }
        connection.input.append(block, static_cast<std::size_t>(n));
    }
    const std::size_t end = connection.input.find('\n');
    if (end == std::string::npos || connection.is_asked) {
        return;
    }
    connection.is_asked = true;
    const auto request = parse_json(connection.input.substr(0, end));
    if (!request.is_object() || !request.contains("command") || !request["command"].is_string()) {
        return answer(connection.id, {{"ok", false}, {"message", "the request is not understood"}});
    }
    on_request_(connection.id, request);
}

void ControlServer::answer(Id id, const nlohmann::json& answer)
{
    if (Connection* connection = find(id)) {
        connection->output = answer.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
        write_answer(*connection);
    }
}

void ControlServer::answer_now(Id id, const nlohmann::json& text)
{
    answer(id, text);
    while (Connection* connection = find(id)) {
        pollfd p{connection->socket.get(), POLLOUT, 0};
        if (::poll(&p, 1, 1000) != 1) {
            return;
        }
        write_answer(*connection);
    }
}

void ControlServer::write_answer(Connection& connection)
{
    while (!connection.output.empty()) {
        const ssize_t n = ::send(connection.socket.get(), connection.output.data(), connection.output.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        if (n <= 0) {
            break;
        }
        connection.output.erase(0, static_cast<std::size_t>(n));
    }
    remove(connection.id);
}

int ControlServer::descriptor(Id id)
{
    const Connection* connection = find(id);
    return connection != nullptr ? connection->socket.get() : -1;
}

ControlServer::Connection* ControlServer::find(Id id)
{
    const auto it = std::find_if(connections_.begin(), connections_.end(), [id](const auto& c) { return c->id == id; });
    return it == connections_.end() ? nullptr : it->get();
}

void ControlServer::remove(Id id)
{
    const auto it = std::find_if(connections_.begin(), connections_.end(), [id](const auto& c) { return c->id == id; });
    if (it == connections_.end()) {
        return;
    }
    (*it)->watch.stop();
    (*it)->socket.reset();
    finished_.push_back(std::move(*it));
    connections_.erase(it);
    free_finished_.post(loop_);
}

} // namespace ladle::master
