// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/forward.h"

#include "worker/upstream/hedge.h"
#include "worker/upstream/receive.h"
#include "worker/upstream/upload.h"

namespace ladle::worker {

namespace {

/// How long may nothing move.
std::chrono::milliseconds patience(const Request& request) noexcept
{
    return request.is_grpc ? request.timeouts().tunnel : request.timeouts().stall;
}

Forwarded server_gone(const Turn& turn) noexcept
{
    return {Answer{502, Reason::server_reset}, turn.interim == 0 ? Repeat::if_idempotent : Repeat::never};
}

Forwarded unprocessed() noexcept
{
    return {Answer{502, Reason::server_refused}, Repeat::always};
}

/// The end of the step when the body was never asked for.
Forwarded without_body(Continue said, const Turn& turn)
{
    switch (said) {
    case Continue::client_gone: return {Answer{499, Reason::client_left}};
    case Continue::server_gone: return server_gone(turn);
    case Continue::unprocessed: return unprocessed();
    default: return {};
    }
}

} // namespace

loop::Task<Forwarded> forward(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    ServerStream& server = *turn.stream;
    Upload upload(request);
    turn.request_complete = false;
    turn.interim = 0;
    request.response.clear();
    upload.begin(server);
    if (request.expects_continue) {
        upload.hold_body();
    }
    client.alarm.set(patience(request));
    for (;;) {
        const bool moved = upload.step(server);
        if (upload.holds_only_body(server)) {
            const Continue said = co_await await_continue(request, turn);
            if (said != Continue::go_on) {
                co_return without_body(said, turn);
            }
            upload.continue_body();
            client.alarm.set(patience(request));
            continue;
        }
        if (upload.is_done(server)) {
            turn.request_complete = true;
            turn.sent = turn.upstream->are_answers_timed() ? loop::clock_now() : 0;
            co_return Forwarded{};
        }
        if (upload.client_failure()) {
            co_return Forwarded{upload.client_failure()};
        }
        const Heard heard = hear_early(request, turn);
        if (heard == Heard::answer) {
            // It answers before it has read everything. In HTTP/1 its connection is of no more use after that.
            if (server.is_framed && !upload.has_failed()) {
                turn.upload = std::make_unique<Upload>(std::move(upload));
            }
            co_return Forwarded{};
        }
        if (heard == Heard::unprocessed) {
            co_return unprocessed();
        }
        if (heard == Heard::end || upload.has_failed()) {
            co_return server_gone(turn);
        }
        if (moved) {
            client.alarm.set(patience(request));
            client.wake.kick_later(); // take turns with the other connections
        }
        co_await client.wake.wait();
        if (client.has_left()) {
            co_return Forwarded{Answer{499, Reason::client_left}};
        }
        if (turn.hedge != nullptr && turn.hedge->has_won()) {
            co_return Forwarded{Answer{504, Reason::server_stalled}, Repeat::never, true};
        }
        if (client.alarm.rang()) {
            const bool client_is_slow = request.body && !client.body.is_complete() && server.out.empty();
            co_return Forwarded{client_is_slow ? Answer{408, Reason::body_timeout} : Answer{504, Reason::server_stalled}};
        }
    }
}

} // namespace ladle::worker
