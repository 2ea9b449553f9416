// SPDX-License-Identifier: Apache-2.0
//
// Hedge: a request that has waited for its server's answer for longer than most (`hedge` of its upstream) is sent to a second
// server as well. Two requests then wait: the client's own, in its turn, and a second one (second_request.h) whose task this runs.
// The first response that is no failure is the client's; the other attempt is given up with its turn, so that its connection is
// closed or its stream reset, and its place at the server is free. Lives in the frame of the step that asks: whatever ends that, a
// client that leaves too, ends the second request.
//
// One for a request at most. The second server is chosen as any, among those in order that have room now: nothing waits for it.
// The time counts from when the first connection is at hand, as the times do that it is measured by.
#pragma once

#include "worker/upstream/receive.h"
#include "worker/upstream/second_request.h"

#include <memory>
#include <optional>

namespace ladle::worker {

class Hedge {
public:
    /// Whether the request may be sent twice at the same time, as far as it alone decides that.
    static bool may_hedge(const Request& request, const Turn& turn);

    /// Waits for its time. `tried`: servers that the request is not to be sent to; that of `turn` is another one.
    Hedge(Request& request, Turn& turn, const Tried& tried);
    Hedge(const Hedge&) = delete;
    Hedge& operator=(const Hedge&) = delete;

    /// Whether the second server has answered well: nobody need wait for the first.
    bool has_won() const noexcept { return is_over_ && !failed_ && !is_failing(second_->request); }
    /// The first attempt has ended: waits for the second where that may do better, and makes its response the request's if so.
    /// `tried` gets the server whose answer is not taken.
    loop::Task<Received> settle(Received first, Tried& tried);

private:
    bool is_running() const noexcept { return second_ && !is_over_; }
    bool was_sent() const noexcept { return second_ && second_->request.attempts > 0; }
    bool is_failing(const Request& request) const noexcept;
    bool is_worth_waiting(const Received& first) const noexcept;
    void wait();
    void begin();
    void give_up_second();
    void adopt_second(Tried& tried);
    loop::Task<void> run();
    loop::Task<void> send_rest();
    static void on_time(void* self);
    static void on_begin(void* self);

    Request& request_;
    Turn& turn_;
    const Tried tried_;
    loop::Timer timer_;
    loop::Posted begin_;
    std::unique_ptr<SecondRequest> second_;
    std::optional<Answer> failed_; ///< how the second one ended
    bool is_over_ = false;         ///< it has ended
    loop::Task<void> main_;        ///< run(): destroyed first
};

} // namespace ladle::worker
