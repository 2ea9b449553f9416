// SPDX-License-Identifier: Apache-2.0
#include "worker/client/connection.h"

namespace ladle::worker {

void ClientConnection::finish_head(HeadText& text, const HeadEnd& end)
{
    is_chunked_ = end.form == BodyForm::chunked;
    is_tunnel_ = end.status == 101;
    if (is_tunnel_) {
        text << "Connection: upgrade\r\nUpgrade: " << end.upgrade << "\r\n";
    } else if (end.status >= 200) {
        if (is_chunked_) {
            text << "Transfer-Encoding: chunked\r\n";
        }
        if (end.after != After::keep) {
            text << "Connection: close\r\n";
        } else if (end.version == http::Version::http_1_0) {
            text << "Connection: keep-alive\r\n";
        }
    }
    text.finish();
}

void ClientConnection::finish_body(std::string trailers)
{
    if (is_chunked_) {
        append_last_chunk(out, trailers);
    } else if (is_tunnel_) {
        socket.finish_writing();
    }
}

void ClientConnection::write_out(Follows follows)
{
    if (!out.empty() && socket.may_write()) {
        count(socket.write(out, follows));
    }
}

bool ClientConnection::flush()
{
    has_finished = socket.peer_has_finished();
    if (is_gone || !socket.is_open()) {
        out.clear();
        return !is_gone;
    }
    write_out(Follows::nothing);
    return !is_gone;
}

void ClientConnection::count(const Io& io) noexcept
{
    row_.add(shm::Metric::bytes_to_clients, io.bytes);
    if (io.state == IoState::failed) {
        is_gone = true;
        out.clear();
    }
}

std::size_t ClientConnection::send_memory(const iovec* vectors, int count_of_vectors)
{
    if (is_gone || !socket.may_write()) {
        return 0;
    }
    Socket::More more{vectors, count_of_vectors};
    count(socket.write(out, more));
    return more.sent;
}

std::size_t ClientConnection::send_file(int file, std::uint64_t offset, std::size_t size)
{
    if (is_gone || !socket.is_open()) {
        return 0;
    }
    write_out(Follows::more);
    if (is_gone || !out.empty() || !socket.may_write()) {
        return 0;
    }
    const Io io = socket.write_file(file, offset, size);
    count(io);
    return io.bytes;
}

bool ClientConnection::pursue_handshake()
{
    is_gone = is_gone || socket.shake_hands() == Handshake::failed;
    return !is_gone;
}

bool ClientConnection::has_left() noexcept
{
    is_gone = is_gone || (socket.is_open() && socket.may_read() && socket.take_error() != 0);
    return is_gone;
}

} // namespace ladle::worker
