// SPDX-License-Identifier: Apache-2.0
#include "worker/net/socket.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ladle::worker {

namespace {

constexpr loop::Nanos kDoubtAfter = 200'000'000;
constexpr std::size_t kFilePiece = 64 << 10; // of a file that is encrypted, at once

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
        socket.may_read_ = socket.may_receive_ = true;
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
    socket.may_read_ = socket.may_receive_ = true;
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

Io Socket::receive(char* at, std::size_t size)
{
    if (!may_receive_) {
        return {IoState::would_block, 0, 0};
    }
    iovec vector{at, size};
    may_read_ = true;
    const Io io = read_vectors(&vector, 1, size);
    may_receive_ = may_read_;
    return io;
}

Handshake Socket::shake_hands()
{
    const Handshake state = encryption_->shake_hands();
    may_read_ = state != Handshake::under_way; // what has come with its end, and what it left to be sent, waits for a read
    return state;
}

Io Socket::read_decrypted(char* at, std::size_t size)
{
    const Io io = encryption_->read(at, size);
    may_read_ = io.state == IoState::done ? may_receive_ || encryption_->has_unread() : io.state != IoState::would_block;
    return io;
}

Io Socket::read_decrypted(Chain& into, std::size_t most)
{
    std::size_t total = 0;
    while (total < most) {
        const auto [at, size] = into.room(2048);
        const Io io = read_decrypted(at, std::min(size, most - total));
        if (io.state != IoState::done) { // an end is told again by the next read
            return total > 0 ? Io{IoState::done, total, 0} : io;
        }
        into.filled(io.bytes);
        total += io.bytes;
        if (!encryption_->has_unread()) {
            break;
        }
    }
    return {IoState::done, total, 0};
}

Io Socket::read(char* at, std::size_t size)
{
    if (encryption_) {
        return read_decrypted(at, size);
    }
    iovec vector{at, size};
    return read_vectors(&vector, 1, size);
}

Io Socket::read(Chain& into, std::size_t most)
{
    if (encryption_) {
        return read_decrypted(into, most);
    }
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
    if (encryption_) {
        return write_encrypted(from, nullptr, follows);
    }
    return send(from, follows);
}

Io Socket::send(Chain& from, Follows follows)
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

Io Socket::write_encrypted(Chain& from, More* more, Follows follows)
{
    constexpr int kMost = 64;
    iovec vectors[kMost + kMoreVectors];
    std::size_t total = 0;
    for (;;) {
        int count = from.vectors(vectors, kMost);
        std::size_t wanted = 0;
        for (int i = 0; i < count; ++i) {
            wanted += vectors[i].iov_len;
        }
        const bool reaches_more = more != nullptr && wanted == from.bytes();
        for (int i = 0; reaches_more && i < more->count; ++i) {
            vectors[count++] = more->vectors[i];
            wanted += more->vectors[i].iov_len;
        }
        const Io io = encryption_->write(vectors, count, follows);
        const std::size_t of_chain = std::min(io.bytes, from.bytes());
        if (more != nullptr) {
            more->sent = io.bytes - of_chain;
        }
        from.consume(of_chain);
        total += io.bytes;
        if (io.state == IoState::failed) {
            return {IoState::failed, total, io.code};
        }
        if (io.bytes < wanted || more != nullptr || from.empty()) {
            return {total > 0 ? IoState::done : IoState::would_block, total, 0};
        }
    }
}

/// The kernel does not encrypt for us: the file is read, and passes through the encryption like other bytes. What of it was
/// encrypted and has to wait is read again with the next call, and passed over.
Io Socket::write_file_encrypted(int file, std::uint64_t offset, std::size_t size)
{
    static char piece[kFilePiece];
    std::size_t total = 0;
    while (total < size) {
        const ssize_t n = ::pread(file, piece, std::min(size - total, kFilePiece), static_cast<off_t>(offset + total));
        if (n <= 0 && total == 0) {
            return {n == 0 ? IoState::end : IoState::failed, 0, n == 0 ? 0 : errno};
        }
        if (n <= 0) {
            break; // the next call finds the same
        }
        const iovec vector{piece, static_cast<std::size_t>(n)};
        const Io io = encryption_->write(&vector, 1, total + vector.iov_len < size ? Follows::more : Follows::nothing);
        total += io.bytes;
        if (io.state == IoState::failed) {
            return {IoState::failed, total, io.code};
        }
        if (io.bytes < vector.iov_len) {
            break;
        }
    }
    return {total > 0 ? IoState::done : IoState::would_block, total, 0};
}

Io Socket::write(Chain& from, More& more)
{
    if (encryption_) {
        return write_encrypted(from, &more, Follows::nothing);
    }
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
    if (encryption_) {
        return write_file_encrypted(file, offset, size);
    }
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
    if (encryption_) { // a session ticket is no word to us; whatever is one ends the connection, so that it may be taken
        return read_decrypted(&byte, 1).state == IoState::would_block;
    }
    const bool silent = ::recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    if (silent) {
        may_read_ = false;
        doubt_->clear();
    }
    return silent;
}

Io Socket::peek(char* at, std::size_t size) noexcept
{
    const ssize_t n = ::recv(fd_.get(), at, size, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0) {
        return {IoState::done, static_cast<std::size_t>(n), 0};
    }
    if (n == 0) {
        peer_closed_ = true;
        return {IoState::end, 0, 0};
    }
    return errno == EAGAIN || errno == EINTR ? Io{IoState::would_block, 0, 0} : Io{IoState::failed, 0, errno};
}

int Socket::take_error() noexcept
{
    int code = 0;
    socklen_t length = sizeof code;
    return ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &code, &length) != 0 ? errno : code;
}

void Socket::finish_writing() noexcept
{
    if (encryption_) {
        encryption_->finish_writing();
    }
    if (fd_) {
        ::shutdown(fd_.get(), SHUT_WR);
    }
}

void Socket::abort() noexcept
{
    encryption_.reset(); // the peer must not take this for an orderly end
    if (fd_) {
        const linger reset{1, 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    close();
}

void Socket::close() noexcept
{
    if (encryption_ && fd_) {
        encryption_->finish_writing();
    }
    encryption_.reset();
    watch_.stop();
    doubt_.reset();
    news_ = nullptr;
    fd_.reset();
}

} // namespace ladle::worker
