// SPDX-License-Identifier: Apache-2.0
//
// One client's HTTP/1 connection: its socket, what was received and not used, what is to be sent. Owned by the Session; an exchange
// borrows it. All waiting of a session and its exchange goes through `wake`, all time limits through `alarm`.
#pragma once

#include "common/shm/rows.h"
#include "worker/net/alarm.h"
#include "worker/net/body_reader.h"
#include "worker/net/input.h"
#include "worker/net/socket.h"

#include <sys/socket.h>

#include <string>

namespace ladle::worker {

class ClientConnection {
public:
    ClientConnection(loop::Loop& loop, shm::ProcessRow& row) noexcept : wake(loop), alarm(wake), row_(row) {}

    /// Sends what stands in `out`, as far as the socket takes it. False = the client is gone.
    bool flush(Follows follows = Follows::nothing);

    /// Sends what stands in `out`, then bytes of memory that stays as it is, as far as the socket takes both; how many of those it
    /// took.
    std::size_t flush_with(const iovec* vectors, int count);
    /// Sends up to `size` bytes of a file, once `out` is empty; how many were taken. 0 = wait, or the client is gone.
    std::size_t flush_file(int file, std::uint64_t offset, std::size_t size);

    /// Whether the client has reset the connection: asked while waiting for a server. (A client that only finished sending is still
    /// waiting for its answer.)
    bool has_left() noexcept;

    /// Whether everything written so far has been handed to the kernel.
    bool is_flushed() const noexcept { return out.empty(); }

    loop::Wake wake;
    Alarm alarm;
    Socket socket;
    Input input;
    BodyReader body;      ///< of the request under way
    Chain out;
    std::uint64_t sent_bytes = 0; ///< on this connection
    std::string peer_text; ///< address without port: "192.0.2.1", "2001:db8::1", "unix:"
    sockaddr_storage peer{};
    bool is_gone = false;  ///< a write failed: nothing more can be said to this client

private:
    void count(const Io& io) noexcept;

    shm::ProcessRow& row_;
};

} // namespace ladle::worker
