// SPDX-License-Identifier: Apache-2.0
#include "master/control/client.h"

#include "common/os/socket.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace ladle::master {

Result<os::Fd> connect_control(const std::string& path)
{
    sockaddr_storage address{};
    const auto length = os::unix_address(path, address);
    if (!length) {
        return std::unexpected(length.error());
    }
    os::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), *length) == 0) {
        return socket;
    }
    const int code = errno;
    std::string why;
    if (code == ENOENT || code == ENOTDIR) {
        why = fmt::format("not running (no control socket at {})", path);
    } else if (code == ECONNREFUSED) {
        why = fmt::format("not running (nobody serves the control socket {})", path);
    } else if (code == EACCES || code == EPERM) {
        why = fmt::format("no permission to use the control socket {}: run as root or as its user", path);
    } else {
        why = fmt::format("cannot use the control socket {}: {}", path, strerrordesc_np(code));
    }
    return std::unexpected(Error{code == ENOTDIR ? ENOENT : code, Origin::local, Retry::no, std::move(why)});
}

pid_t peer_pid(int connection)
{
    ucred peer{};
    socklen_t length = sizeof peer;
    return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.pid : 0;
}

Result<nlohmann::json> ask(int connection, const nlohmann::json& request)
{
    const std::string line = request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (::send(connection, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
        return fail_errno("cannot ask ladle", errno);
    }
    std::string answer;
    char block[65536];
    for (;;) {
        const ssize_t n = ::recv(connection, block, sizeof block, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        answer.append(block, static_cast<std::size_t>(n));
    }
    auto parsed = parse_json(answer);
    if (!parsed.is_object()) {
        return std::unexpected(Error{EPIPE, Origin::local, Retry::no, "the running ladle went away without an answer"});
    }
    return parsed;
}

} // namespace ladle::master
