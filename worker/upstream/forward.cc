// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/forward.h"

#include "worker/request/chunked_body.h"
#include "worker/request/take_body.h"
#include "worker/upstream/receive.h"
#include "worker/upstream/request_writer.h"

namespace ladle::worker {

namespace {

constexpr std::size_t kOutMost = 128 << 10;           // bytes lined up for the server's socket

/// How the body goes to the server.
enum class Coding : std::uint8_t { none, plain, chunked };

class Sender {
public:
    Sender(Request& request, Turn& turn) noexcept : request_(request), turn_(turn) {}

    void begin();
    /// Moves what is at hand one step on; false = nothing moved.
    bool step();
    /// Sends the head alone until continue_body().
    void hold_body() noexcept { holds_body_ = true; }
    void continue_body() noexcept { holds_body_ = false; }
    bool holds_only_body() const noexcept { return holds_body_ && out_.empty(); }
    bool is_done() const noexcept { return is_ended_ && out_.empty(); }
    bool waits_for_server() const noexcept { return !out_.empty(); }
    bool has_failed() const noexcept { return has_failed_; }
    std::optional<Answer> client_failure;

private:
    void line_up();

    Request& request_;
    Turn& turn_;
    Chain out_;
    Coding coding_ = Coding::none;
    bool holds_body_ = false;
    bool is_ended_ = false; ///< everything is in out_
    bool has_failed_ = false;
};

void Sender::begin()
{
    RequestBodyForm form = RequestBodyForm::none();
    if (request_.body) {
        const bool is_whole = request_.client.body.is_complete();
        const bool has_trailers = is_whole && request_.trailers && request_.trailers->trailer_bytes().size() > 2;
        if (is_whole && !has_trailers) {
            form = RequestBodyForm::of_length(request_.body->size());
        } else if (request_.framing.kind == http::BodyKind::length) {
            form = RequestBodyForm::of_length(request_.framing.length);
        } else {
            form = RequestBodyForm::chunks();
        }
    } else if (request_.framing.kind == http::BodyKind::length) {
        form = RequestBodyForm::of_length(0);
    }
    coding_ = form.is_chunked ? Coding::chunked : request_.body ? Coding::plain : Coding::none;
    write_request_head(request_, form, out_);
    is_ended_ = coding_ == Coding::none;
}

void Sender::line_up()
{
    while (!is_ended_ && out_.bytes() < kOutMost) {
        Chain part;
        const std::size_t n = request_.body->take(part, kOutMost - out_.bytes());
        if (n > 0) {
            coding_ == Coding::chunked ? append_chunk(out_, std::move(part)) : out_.append(std::move(part));
            continue;
        }
        if (!request_.client.body.is_complete() || !request_.body->is_drained()) {
            return;
        }
        if (coding_ == Coding::chunked) {
            append_last_chunk(out_, request_.trailers ? &*request_.trailers : nullptr);
        }
        is_ended_ = true;
    }
}

bool Sender::step()
{
    bool moved = false;
    if (request_.body && !holds_body_ && !request_.client.body.is_complete() && !client_failure) {
        const BodyStep taken = take_body_part(request_);
        moved = taken.moved;
        client_failure = taken.failed;
        if (client_failure) {
            return moved; // never a clean end of a body that had none
        }
    }
    if (!holds_body_) {
        line_up();
    }
    if (!out_.empty() && turn_.connection->socket.may_write()) {
        const Io io = turn_.connection->socket.write(out_);
        request_.parts.row.add(shm::Metric::bytes_to_servers, io.bytes);
        moved = moved || io.bytes > 0;
        has_failed_ = io.state == IoState::failed;
    }
    if (request_.body) {
        request_.body->settle(out_.bytes());
    }
    return moved;
}

/// The end of the step when the body was never asked for.
Forwarded without_body(Continue said, const Turn& turn)
{
    switch (said) {
    case Continue::client_gone: return {Answer{499, Reason::client_left}, false};
    case Continue::server_gone: return {Answer{502, Reason::server_reset}, turn.interim == 0};
    default: return {};
    }
}

} // namespace

loop::Task<Forwarded> forward(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    Sender sender(request, turn);
    sender.begin();
    turn.request_complete = false;
    turn.interim = 0;
    request.response.clear();
    if (request.expects_continue) {
        sender.hold_body();
    }
    client.alarm.set(request.timeouts().stall);
    for (;;) {
        const bool moved = sender.step();
        if (sender.holds_only_body()) {
            const Continue said = co_await await_continue(request, turn);
            if (said != Continue::go_on) {
                co_return without_body(said, turn);
            }
            sender.continue_body();
            client.alarm.set(request.timeouts().stall);
            continue;
        }
        if (sender.is_done()) {
            turn.request_complete = true;
            co_return Forwarded{};
        }
        if (sender.client_failure) {
            co_return Forwarded{sender.client_failure, false};
        }
        const Heard heard = hear_early(request, turn);
        if (heard == Heard::answer) {
            co_return Forwarded{}; // it answers before it has read everything: its connection is of no more use after that
        }
        if (heard == Heard::end || sender.has_failed()) {
            co_return Forwarded{Answer{502, Reason::server_reset}, turn.interim == 0};
        }
        if (moved) {
            client.alarm.set(request.timeouts().stall);
            client.wake.kick_later(); // take turns with the other connections
        }
        co_await client.wake.wait();
        if (client.has_left()) {
            co_return Forwarded{Answer{499, Reason::client_left}, false};
        }
        if (client.alarm.rang()) {
            const bool client_is_slow = request.body && !client.body.is_complete() && !sender.waits_for_server();
            co_return Forwarded{client_is_slow ? Answer{408, Reason::body_timeout} : Answer{504, Reason::server_stalled}, false};
        }
    }
}

} // namespace ladle::worker
