// SPDX-License-Identifier: Apache-2.0
//
// H2Pool: all HTTP/2 connections of one worker to one server, and the requests that wait for a place on one. There are no more
// connections than the requests in flight need: a new one is made only when those that there are, or are being made, have no place
// for all who wait. Owned by the Server.
#pragma once

#include "common/loop/task.h"
#include "worker/upstream/h2_server_connection.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace ladle::worker {

/// How the first words with a server went; of the request that has made the connection.
struct H2Greeting {
    explicit H2Greeting(loop::Wake& of) noexcept : wake(of) {}
    H2Greeting(const H2Greeting&) = delete;
    H2Greeting& operator=(const H2Greeting&) = delete;
    ~H2Greeting();
    void on_ready() noexcept;
    void on_failure(std::string_view why);

    loop::Wake& wake;
    H2ServerConnection* connection = nullptr; ///< while it is under way
    std::string failure; ///< empty = none so far
    bool is_over = false;
};

class H2Pool {
public:
    H2Pool(loop::Loop& loop, shm::ProcessRow& row) noexcept;
    ~H2Pool();
    H2Pool(const H2Pool&) = delete;
    H2Pool& operator=(const H2Pool&) = delete;

    /// A request that waits for a place, oldest first.
    class Waiter : public loop::Link {
    public:
        Waiter(H2Pool& pool, loop::Wake& wake) noexcept;
        ~Waiter() { leave(); }
        bool is_first() const noexcept { return pool_.waiters_.next == this; }
        /// Waits no longer; the next one has a look.
        void leave() noexcept;

    private:
        friend class H2Pool;
        H2Pool& pool_;
        loop::Wake& wake_;
    };
    /// Counts a connection as being made from construction to destruction.
    class Making {
    public:
        explicit Making(H2Pool& pool) noexcept : pool_(pool) { ++pool_.making_; }
        Making(const Making&) = delete;
        Making& operator=(const Making&) = delete;
        ~Making()
        {
            --pool_.making_;
            pool_.stir(1);
        }

    private:
        H2Pool& pool_;
    };

    /// A stream on a connection for which `is_good` says yes; null = none has room. `has_carried`: whether that had carried another
    /// request before. Connections that are not good any more leave.
    std::unique_ptr<ServerStream> open(const H2Terms& terms, const std::function<bool(ServerConnection&)>& is_good,
                                       bool& has_carried);
    /// Whether those who wait need one more connection than are being made.
    bool needs_another() const noexcept { return !is_resting() && waiting_ > making_ * streams_each_; }
    /// Whether the server has shown that it takes no streams, and nothing under way may change that: to wait is of no use.
    bool is_hopeless() const noexcept;
    /// Begins to speak HTTP/2 on a new connection.
    void adopt(std::unique_ptr<ServerConnection> transport, const H2Terms& terms, H2Greeting& greeting);
    /// All connections leave: the worker drains.
    void leave() noexcept;

    // For connections.
    /// Up to so many of the oldest waiters look again.
    void stir(std::size_t count) noexcept;
    /// The server allows so many streams on a connection.
    void on_settings(std::uint32_t streams) noexcept;
    std::size_t count_idle() const noexcept;
    /// A connection takes no streams, and never has. Where a second one in a row is so, no other is made for a while.
    void on_fruitless() noexcept;
    /// A response has come.
    void on_answer() noexcept { fruitless_ = 0; }

    static constexpr loop::Nanos kRest = 1'000'000'000; ///< after REFUSED_STREAM
    /// It has ended: destroyed in the loop's next turn.
    void retire(H2ServerConnection& connection) noexcept;

private:
    static void on_reap(void* self);
    bool is_resting() const noexcept { return loop_.now() < rests_until_; }

    loop::Loop& loop_;
    shm::ProcessRow& row_;
    loop::Link connections_;
    loop::Link ended_;
    loop::Link waiters_;
    std::size_t waiting_ = 0;
    std::size_t making_ = 0;
    std::size_t streams_each_ = H2ServerConnection::kMostStreams; ///< what a connection is expected to carry
    unsigned fruitless_ = 0;        ///< connections in a row
    loop::Nanos rests_until_ = 0;
    loop::Posted reap_;
};

} // namespace ladle::worker
