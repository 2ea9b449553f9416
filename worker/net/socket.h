// SPDX-License-Identifier: Apache-2.0
//
// A connected, non-blocking socket with edge-triggered readiness: try first, wait only after the kernel said "would block". Owned
// by a session (client side) or a server connection; events are posted to whoever works with it at the moment. With encrypt() what
// is read and written passes through TLS, and everything else stays as it is.
#pragma once

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "common/loop/task.h"
#include "common/os/fd.h"
#include "worker/net/blocks.h"
#include "worker/net/encryption.h"
#include "worker/net/io.h"

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace ladle::worker {

class Socket {
public:
    Socket() = default;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    /// Takes the descriptor over and begins to watch it.
    Result<void> start(loop::Loop& loop, os::Fd fd, sa_family_t family, loop::Posted* news);
    /// What is posted at events from now on; null = nothing (readiness is still remembered).
    void set_news(loop::Posted* news) noexcept { news_ = news; }
    /// Posts that: something that this socket's user waits for has happened elsewhere.
    void tell_news() noexcept
    {
        if (news_ != nullptr) {
            news_->post(*loop_);
        }
    }

    /// From now on everything passes through `encryption`, which was made for this socket. Its handshake comes first.
    void encrypt(std::unique_ptr<Encryption> encryption) noexcept { encryption_ = std::move(encryption); }
    /// Null = plain.
    Encryption* encryption() const noexcept { return encryption_.get(); }
    /// Goes on with the handshake. Precondition: encrypt().
    Handshake shake_hands();

    /// Reads into the chain's tail: up to about `most` bytes in one system call.
    Io read(Chain& into, std::size_t most);
    /// Reads into plain memory.
    Io read(char* at, std::size_t size);
    /// Writes from the chain's front and consumes what was taken.
    Io write(Chain& from, Follows follows = Follows::nothing);

    /// The same, and behind them bytes that stand elsewhere, in one system call: `more.sent` of those were taken.
    struct More {
        const iovec* vectors = nullptr; ///< at most kMoreVectors
        int count = 0;
        std::size_t sent = 0;
    };
    static constexpr int kMoreVectors = 16;
    Io write(Chain& from, More& more);
    /// Writes up to `size` bytes of a file from `offset` on, without copying them.
    Io write_file(int file, std::uint64_t offset, std::size_t size) noexcept;

    /// Bytes on the wire, which stay there. `end` and `failed` as of a read.
    Io peek(char* at, std::size_t size) noexcept;

    /// The bytes on the wire, below the encryption and for it alone; before it, for what precedes it.
    Io receive(char* at, std::size_t size);
    Io send(Chain& from, Follows follows);

    /// Whether a read may bring something: false only after the kernel said there is nothing and before its next event.
    bool may_read() const noexcept { return may_read_; }
    bool may_write() const noexcept { return may_write_; }
    /// Whether the peer has announced its end (it may still be reading).
    bool peer_has_finished() const noexcept { return peer_closed_; }
    /// Before a connect() whose end will be announced as writability.
    void expect_writable() noexcept
    {
        may_write_ = false;
        watches_writes_ = true;
    }
    /// Whether nothing at all waits to be read, not even the end: asks the kernel. For idle connections.
    bool is_silent() noexcept;
    /// Takes the socket's pending error (of a connect() that has ended, or a reset that came); 0 = none.
    int take_error() noexcept;

    /// No more will be written; the peer sees the end.
    void finish_writing() noexcept;
    /// Closes so that the peer sees a reset, not an end: for answers that must not look whole.
    void abort() noexcept;
    void close() noexcept;
    bool is_open() const noexcept { return static_cast<bool>(fd_); }
    int fd() const noexcept { return fd_.get(); }

private:
    static void on_ready(void* self, loop::Ready what);
    static void on_doubt(void* self);
    Io read_pieces(Chain& into, char* at, std::size_t size, std::size_t most);
    void wait_for_room() noexcept;
    Io read_vectors(iovec* vectors, int count, std::size_t wanted);
    Io read_decrypted(char* at, std::size_t size);
    Io read_decrypted(Chain& into, std::size_t most);
    Io write_encrypted(Chain& from, More* more, Follows follows);
    Io write_file_encrypted(int file, std::uint64_t offset, std::size_t size);

    os::Fd fd_;
    std::unique_ptr<Encryption> encryption_;
    loop::Watch watch_;
    loop::Loop* loop_ = nullptr;
    loop::Posted* news_ = nullptr;
    /// A reset that came in one event with data cannot be told from data (libevent reports both as readable and writable), and
    /// comes with no further edge: some time after a short read one more is tried.
    std::optional<loop::Deadline> doubt_;
    bool may_read_ = true;
    bool may_receive_ = true; ///< the same of the bytes on the wire, where they are encrypted
    bool may_write_ = true;
    bool watches_writes_ = false;   ///< write edges are asked for: from the first write that had to wait
    bool peer_closed_ = false;      ///< the peer's end was announced: read until it is seen
    bool trusts_short_read_ = true; ///< a short read means drained; not so on Unix sockets, whose end comes without notice
};

} // namespace ladle::worker
