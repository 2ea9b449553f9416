// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/begin_connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace ladle::worker {

int begin_connect(loop::Loop& loop, ServerConnection& connection, const sockaddr_storage& address, socklen_t length,
                  loop::Posted& news)
{
    os::Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
        return errno;
    }
    if (address.ss_family != AF_UNIX) {
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    const int result = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length);
    const int code = result == 0 ? 0 : errno;
    if (code != 0 && code != EINPROGRESS) {
        return code; // a full backlog of a Unix socket says EAGAIN: as good as refused
    }
    if (code == EINPROGRESS) {
        connection.socket.expect_writable();
    }
    const auto started = connection.socket.start(loop, std::move(fd), address.ss_family, &news);
    return started ? 0 : started.error().code;
}

bool is_own_want(int code) noexcept
{
    return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM || code == EADDRNOTAVAIL;
}

} // namespace ladle::worker
