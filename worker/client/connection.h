// SPDX-License-Identifier: Apache-2.0
//
// One client's connection as HTTP/1 uses it: its socket, what was received and not used, what is to be sent. It is the stream of
// one exchange after the other. Owned by the Session; an exchange borrows it.
#pragma once

#include "common/shm/rows.h"
#include "worker/client/stream.h"
#include "worker/net/input.h"
#include "worker/net/socket.h"

namespace ladle::worker {

class ClientConnection final : public ClientStream {
public:
    ClientConnection(loop::Loop& loop, shm::ProcessRow& row) noexcept : ClientStream(loop), row_(row) { transport = &socket; }

    void finish_head(HeadText& text, const HeadEnd& end) override;
    void finish_body(std::string trailers) override;
    bool flush() override;
    std::size_t send_memory(const iovec* vectors, int count) override;
    std::size_t send_file(int file, std::uint64_t offset, std::size_t size) override;
    Readiness ready() const noexcept override { return {socket.may_write(), !input.empty() || socket.may_read()}; }
    BodyReader::Pull pull_body(Chain& into, std::size_t most) override { return body.pull(socket, input, into, most); }
    /// Whether the client has reset the connection.
    bool has_left() noexcept override;
    bool pursue_handshake() override;

    Socket socket;
    Input input;

private:
    void write_out(Follows follows);
    void count(const Io& io) noexcept;

    shm::ProcessRow& row_;
    bool is_tunnel_ = false; ///< a 101 was sent: the end of the body is the end of the connection
};

} // namespace ladle::worker
