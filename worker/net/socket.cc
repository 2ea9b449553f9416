// SPDX-License-Identifier: Apache-2.0
#include "worker/net/socket.h"

#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kDoubtAfter = 200'000'000;

} // namespace

Result<void> Socket::start(loop::Loop& loop, os::Fd fd, sa_family_t family, loop::Posted* news)
{
    fd_ = std::move(fd);
    loop_ = &loop;
    news_ = news;
    trusts_short_read_ = family != AF_UNIX;
    doubt_.emplace(loop, &Socket::on_doubt, this);
    const loop::WatchMode mode = watches_writes_ ? loop::WatchMode::edges : loop::WatchMode::read_edges;
    return watch_.start(loop, fd_.get(), mode, &Socket::on_ready, this);
}

void Socket::on_ready(void* self, loop::Ready what)
{
    auto& socket = *static_cast<Socket*>(self);
    if (loop::is_closed(what)) {
        socket.peer_closed_ = true;
    }
    if (loop::is_readable(what) || loop::is_closed(what)) {
        socket.may_read_ = true;
    }
    if (loop::is_writable(what)) {
        socket.may_write_ = true;
    }
    if (socket.news_ != nullptr) {
        socket.news_->post(*socket.loop_);
    }
}

void Socket::on_doubt(void* self)
{
    auto& socket = *static_cast<Socket*>(self);
    socket.may_read_ = true;
    if (socket.news_ != nullptr) {
        socket.news_->post(*socket.loop_);
    }
}

Io Socket::read_vectors(iovec* vectors, int count, std::size_t wanted)
{
    ssize_t n = 0;
    do {
        n = count == 1 ? ::recv(fd_.get(), vectors[0].iov_base, vectors[0].iov_len, 0) : ::readv(fd_.get(), vectors, count);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        const auto got = static_cast<std::size_t>(n);
        may_read_ = got == wanted || peer_closed_ || !trusts_short_read_;
        if (!may_read_) {
            doubt_->set(loop_->now() + kDoubtAfter);
        }
        return {IoState::done, got, 0};
    }
    if (n == 0) {
        return {IoState::end, 0, 0};
    }
    if (errno == EAGAIN) {
        may_read_ = false;
        doubt_->clear();
        return {IoState::would_block, 0, 0};
    }
    return {IoState::failed, 0, errno};
}

Io Socket::read(char* at, std::size_t size)
{
    iovec vector{at, size};
    return read_vectors(&vector, 1, size);
}

Io Socket::read(Chain& into, std::size_t most)
{
    const auto [at, size] = into.room(2048);
    if (size < most) {
        return read_pieces(into, at, size, most);
    }
    iovec vector{at, most};
    const Io io = read_vectors(&vector, 1, most);
    into.filled(io.bytes);
    return io;
}

/// The first piece goes into what room the last block has; what does not fit there, into fresh blocks.
Io Socket::read_pieces(Chain& into, char* at, std::size_t size, std::size_t most)
{
    constexpr int kPieces = 8;
    iovec vectors[kPieces];
    BlockRef fresh[kPieces];
    vectors[0] = {at, size};
    std::size_t wanted = size;
    int count = 1;
    while (count < kPieces && wanted < most) {
        fresh[count] = BlockRef::make();
        vectors[count] = {fresh[count]->data, std::min<std::size_t>(fresh[count]->capacity, most - wanted)};
        wanted += vectors[count].iov_len;
        ++count;
    }
    const Io io = read_vectors(vectors, count, wanted);
    std::size_t left = io.bytes - std::min(io.bytes, size);
    into.filled(io.bytes - left);
    for (int i = 1; i < count && left > 0; ++i) {
        const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(left, fresh[i]->capacity));
        fresh[i]->used = n;
        left -= n;
        into.append(Slice{std::move(fresh[i]), 0, n});
    }
    return io;
}

/// The kernel took no more: an edge will tell when it does again.
void Socket::wait_for_room() noexcept
{
    may_write_ = false;
    if (!watches_writes_) {
        watches_writes_ = true;
        watch_.add_write_edges();
    }
}

Io Socket::write(Chain& from, Follows follows)
{
    const int flags = MSG_NOSIGNAL | (follows == Follows::more ? MSG_MORE : 0);
    std::size_t total = 0;
    while (!from.empty()) {
        constexpr int kMost = 64;
        iovec vectors[kMost];
        const int count = from.vectors(vectors, kMost);
        std::size_t wanted = 0;
        for (int i = 0; i < count; ++i) {
            wanted += vectors[i].iov_len;
        }
        msghdr message{};
        message.msg_iov = vectors;
        message.msg_iovlen = static_cast<std::size_t>(count);
        const ssize_t n = count == 1 ? ::send(fd_.get(), vectors[0].iov_base, vectors[0].iov_len, flags)
                                     : ::sendmsg(fd_.get(), &message, flags);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno == EAGAIN) {
                wait_for_room();
                return {total > 0 ? IoState::done : IoState::would_block, total, 0};
            }
            return {IoState::failed, total, errno};
        }
        from.consume(static_cast<std::size_t>(n));
        total += static_cast<std::size_t>(n);
        if (static_cast<std::size_t>(n) < wanted) { // the buffer is full
            wait_for_room();
            break;
        }
    }
    return {IoState::done, total, 0};
}

Io Socket::write(Chain& from, More& more)
{
    constexpr int kMost = 32;
    iovec vectors[kMost + kMoreVectors];
    int count = from.vectors(vectors, kMost);
    std::size_t wanted = 0;
    for (int i = 0; i < count; ++i) {
        wanted += vectors[i].iov_len;
    }
    const bool reaches_more = wanted == from.bytes();
    for (int i = 0; reaches_more && i < more.count; ++i) {
        vectors[count++] = more.vectors[i];
        wanted += more.vectors[i].iov_len;
    }
    msghdr message{};
    message.msg_iov = vectors;
    message.msg_iovlen = static_cast<std::size_t>(count);
    const ssize_t n = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return {IoState::failed, 0, errno};
        }
        wait_for_room();
        return {IoState::would_block, 0, 0};
    }
    const auto sent = static_cast<std::size_t>(n);
    const std::size_t of_chain = std::min(sent, from.bytes());
    more.sent = sent - of_chain;
    from.consume(of_chain);
    if (sent < wanted) { // the buffer is full
        wait_for_room();
    }
    return {IoState::done, sent, 0};
}

Io Socket::write_file(int file, std::uint64_t offset, std::size_t size) noexcept
{
    off_t at = static_cast<off_t>(offset);
    const ssize_t n = ::sendfile(fd_.get(), file, &at, size);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            return {IoState::failed, 0, errno};
        }
        wait_for_room();
        return {IoState::would_block, 0, 0};
    }
    if (static_cast<std::size_t>(n) < size) {
        wait_for_room();
    }
    return {n == 0 ? IoState::end : IoState::done, static_cast<std::size_t>(n), 0};
}

bool Socket::is_silent() noexcept
{
    char byte = 0;
    const bool silent = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    if (silent) {
        may_read_ = false;
        doubt_->clear();
    }
    return silent;
}

int Socket::take_error() noexcept
{
    int code = 0;
    socklen_t length = sizeof code;
    return ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &code, &length) != 0 ? errno : code;
}

void Socket::finish_writing() noexcept
{
    if (fd_) {
        ::shutdown(fd_.get(), SHUT_WR);
    }
}

void Socket::abort() noexcept
{
    if (fd_) {
        const linger reset{1, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    close();
}

void Socket::close() noexcept
{
    watch_.stop();
    doubt_.reset();
    news_ = nullptr;
    fd_.reset();
}

} // namespace ladle::worker
