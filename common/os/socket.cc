// SPDX-License-Identifier: Apache-2.0
#include "common/os/socket.h"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace ladle::os {

namespace {

constexpr int kBacklog = 4096;

bool turn_on(int fd, int level, int option) noexcept
{
    const int one = 1;
    return ::setsockopt(fd, level, option, &one, sizeof one) == 0;
}

bool set_tcp_options(int fd, int family, Sharing sharing) noexcept
{
    return turn_on(fd, SOL_SOCKET, SO_REUSEADDR) && turn_on(fd, IPPROTO_TCP, TCP_NODELAY) &&
           turn_on(fd, SOL_SOCKET, SO_KEEPALIVE) && (sharing == Sharing::alone || turn_on(fd, SOL_SOCKET, SO_REUSEPORT)) &&
           (family != AF_INET6 || turn_on(fd, IPPROTO_IPV6, IPV6_V6ONLY));
}

} // namespace

Result<Fd> bind_stream(const sockaddr_storage& address, socklen_t length, Sharing sharing)
{
    const int family = address.ss_family;
    Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd || (family != AF_UNIX && !set_tcp_options(fd.get(), family, sharing)) ||
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
        const int code = errno;
        return std::unexpected(Error{code, Origin::local, Retry::no, strerrordesc_np(code)});
    }
    return fd;
}

Result<void> start_listening(int fd)
{
    if (::listen(fd, kBacklog) != 0) {
        const int code = errno;
        return std::unexpected(Error{code, Origin::local, Retry::no, strerrordesc_np(code)});
    }
    return {};
}

Result<std::pair<Fd, Fd>> make_channel()
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        return fail_errno("cannot make a channel", errno);
    }
    return std::pair(Fd(ends[0]), Fd(ends[1]));
}

std::string to_text(const sockaddr_storage& address, socklen_t length)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &address, sizeof in);
        ::inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
        return fmt::format("{}:{}", host, ntohs(in.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, &address, sizeof in);
        ::inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof host);
        return fmt::format("[{}]:{}", host, ntohs(in.sin6_port));
    }
    sockaddr_un un{};
    std::memcpy(&un, &address, sizeof un);
    const std::size_t offset = offsetof(sockaddr_un, sun_path);
    const std::size_t n = length > offset ? ::strnlen(un.sun_path, std::min<std::size_t>(length - offset, sizeof un.sun_path)) : 0;
    return "unix:" + std::string(un.sun_path, n);
}

Result<socklen_t> unix_address(const std::string& path, sockaddr_storage& out)
{
    sockaddr_un un{};
    if (path.empty() || path.size() >= sizeof un.sun_path) {
        return fail(Origin::local, fmt::format("\"{}\" is no path for a Unix socket: 1 to {} bytes", path, sizeof un.sun_path - 1));
    }
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.c_str(), path.size() + 1);
    std::memset(&out, 0, sizeof out);
    std::memcpy(&out, &un, sizeof un);
    return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
}

} // namespace ladle::os
