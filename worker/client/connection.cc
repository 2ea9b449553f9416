// SPDX-License-Identifier: Apache-2.0
#include "worker/client/connection.h"

namespace ladle::worker {

bool ClientConnection::flush(Follows follows)
{
    if (is_gone || !socket.is_open()) {
        out.clear();
        return !is_gone;
    }
    if (out.empty() || !socket.may_write()) {
        return true;
    }
    count(socket.write(out, follows));
    return !is_gone;
}

void ClientConnection::count(const Io& io) noexcept
{
    sent_bytes += io.bytes;
    row_.add(shm::Metric::bytes_to_clients, io.bytes);
    if (io.state == IoState::failed) {
        is_gone = true;
        out.clear();
    }
}

std::size_t ClientConnection::flush_with(const iovec* vectors, int count_of_vectors)
{
    if (is_gone || !socket.may_write()) {
        return 0;
    }
    Socket::More more{vectors, count_of_vectors};
    count(socket.write(out, more));
    return more.sent;
}

std::size_t ClientConnection::flush_file(int file, std::uint64_t offset, std::size_t size)
{
    if (!flush(Follows::more) || !out.empty() || !socket.may_write()) {
        return 0;
    }
    const Io io = socket.write_file(file, offset, size);
    count(io);
    return io.bytes;
}

bool ClientConnection::has_left() noexcept
{
    is_gone = is_gone || (socket.is_open() && socket.may_read() && socket.take_error() != 0);
    return is_gone;
}

} // namespace ladle::worker
