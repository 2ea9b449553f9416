// SPDX-License-Identifier: Apache-2.0
//
// A connected, non-blocking socket with edge-triggered readiness: try first, wait only after the kernel said "would block". Owned
// by a session (client side) or a server connection; events are posted to whoever works with it at the moment.
#pragma once

#include "common/base/error.h"
#include "common/loop/loop.h"
#include "common/loop/task.h"
#include "common/os/fd.h"
#include "worker/net/blocks.h"

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace ladle::worker {

/// Whether more is written at once behind something: then a short packet waits for it.
enum class Follows : std::uint8_t { nothing, more };

enum class IoState : std::uint8_t { done, would_block, end, failed };

struct Io {
    IoState state;
    std::size_t bytes; ///< moved, with `done`
    int code;          ///< errno, with `failed`
};

class Socket {
public:
    Socket() = default;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    /// Takes the descriptor over and begins to watch it.
    Result<void> start(loop::Loop& loop, os::Fd fd, sa_family_t family, loop::Posted* news);
    /// What is posted at events from now on; null = nothing (readiness is still remembered).
    void set_news(loop::Posted* news) noexcept { news_ = news; }

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

    os::Fd fd_;
    loop::Watch watch_;
    loop::Loop* loop_ = nullptr;
    loop::Posted* news_ = nullptr;
    /// A reset that came in one event with data cannot be told from data (libevent reports both as readable and writable), and
    /// comes with no further edge: some time after a short read one more is tried.
    std::optional<loop::Deadline> doubt_;
    bool may_read_ = true;
    bool may_write_ = true;
    bool watches_writes_ = false;   ///< write edges are asked for: from the first write that had to wait
    bool peer_closed_ = false;      ///< the peer's end was announced: read until it is seen
    bool trusts_short_read_ = true; ///< a short read means drained; not so on Unix sockets, whose end comes without notice
};

} // namespace ladle::worker
