// SPDX-License-Identifier: Apache-2.0
#include "common/ipc/messages.h"

#include "common/base/assert.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

namespace ladle::ipc {

namespace {

constexpr std::size_t kMaxDescriptors = 250; // SCM_MAX_FD is 253
constexpr std::size_t kMaxText = 64 * 1024;

/// What stands at the head of every datagram.
struct Wire {
    std::uint32_t type;
    std::uint32_t text_bytes;
    std::uint64_t generation;
    std::uint64_t number;
};

void put_descriptors(msghdr& header, char* room, const std::vector<os::Fd>& descriptors)
{
    header.msg_control = room;
    header.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    for (std::size_t i = 0; i < descriptors.size(); ++i) {
        const int fd = descriptors[i].get();
        std::memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof fd);
    }
}

void take_descriptors(msghdr& header, std::vector<os::Fd>& out)
{
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            out.emplace_back(fd);
        }
    }
}

} // namespace

Result<void> send(int channel, const Message& message)
{
    LADLE_ASSERT(message.descriptors.size() <= kMaxDescriptors);
    const std::size_t text_bytes = std::min(message.text.size(), kMaxText);
    Wire wire{static_cast<std::uint32_t>(message.type), static_cast<std::uint32_t>(text_bytes), message.generation, message.number};
    iovec parts[2] = {{&wire, sizeof wire}, {const_cast<char*>(message.text.data()), text_bytes}};
    msghdr header{};
    header.msg_iov = parts;
    header.msg_iovlen = 2;
    alignas(cmsghdr) char room[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
    if (!message.descriptors.empty()) {
        put_descriptors(header, room, message.descriptors);
    }
    for (;;) {
        if (::sendmsg(channel, &header, MSG_NOSIGNAL) >= 0) {
            return {};
        }
        const int code = errno;
        if (code == EAGAIN) {
            // A peer that does not read (stopped) is given a moment, not the master's life.
            pollfd p{channel, POLLOUT, 0};
            if (::poll(&p, 1, 1000) == 1) {
                continue;
            }
        } else if (code == EINTR) {
            continue;
        }
        return fail_errno("the peer does not take messages", code);
    }
}

bool is_peer_dead(const Error& error) noexcept
{
    return error.code == EPIPE || error.code == ECONNRESET;
}

Result<Message> receive(int channel)
{
    Wire wire{};
    static char text[kMaxText];
    iovec parts[2] = {{&wire, sizeof wire}, {text, sizeof text}};
    alignas(cmsghdr) char room[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
    msghdr header{};
    header.msg_iov = parts;
    header.msg_iovlen = 2;
    header.msg_control = room;
    header.msg_controllen = sizeof room;
    ssize_t n = -1;
    do {
        n = ::recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != ECONNRESET) {
        return std::unexpected(Error{errno == EWOULDBLOCK ? EAGAIN : errno, Origin::local, Retry::no, strerrordesc_np(errno)});
    }
    if (n <= 0) {
        return std::unexpected(Error{EPIPE, Origin::local, Retry::no, "the peer is gone"});
    }
    Message message;
    take_descriptors(header, message.descriptors);
    LADLE_ASSERT(static_cast<std::size_t>(n) == sizeof wire + wire.text_bytes);
    LADLE_ASSERT((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0);
    message.type = static_cast<MessageType>(wire.type);
    message.generation = wire.generation;
    message.number = wire.number;
    message.text.assign(text, wire.text_bytes);
    return message;
}

} // namespace ladle::ipc
