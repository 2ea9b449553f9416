// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/hedge.h"

#include "common/os/log.h"
#include "worker/upstream/ask_servers.h"
#include "worker/upstream/limit_samples.h"

#include <algorithm>

namespace ladle::worker {

bool Hedge::may_hedge(const Request& request, const Turn& turn)
{
    // Idempotent is not enough: of two DELETEs under way one may be quick to say 404, and a PUT that was given up may still be
    // done after the client's next one. A client that is kept to a server has its session there: another one would be quick to
    // answer that it knows no such client.
    const bool is_kept = request.sticky_member == turn.member;
    const bool has_body = request.body.has_value();
    return http::is_safe(request.head.method) && request.hedged == Hedged::no && !request.wants_upgrade && !request.is_grpc &&
           !request.client.is_early() && !is_kept &&
           (!has_body || (request.client.body.is_complete() && request.body->keeps_whole()));
}

Hedge::Hedge(Request& request, Turn& turn, const Tried& tried)
    : request_(request), turn_(turn), tried_(tried), begin_(&Hedge::on_begin, this)
{
    wait();
}

void Hedge::wait()
{
    if (!timer_.start(request_.parts.loop, turn_.upstream->hedge_after(), loop::Timer::Repeat::once, &Hedge::on_time, this)) {
        os::log(os::Level::error, "no timer for a hedge", {}); // it is one request's chance to be quicker
    }
}

/// Coroutines run in no event's callback.
void Hedge::on_time(void* self)
{
    auto& hedge = *static_cast<Hedge*>(self);
    hedge.begin_.post(hedge.request_.parts.loop);
}

void Hedge::on_begin(void* self)
{
    static_cast<Hedge*>(self)->begin();
}

void Hedge::begin()
{
    Upstream& upstream = *turn_.upstream;
    const loop::Nanos now = request_.parts.loop.now();
    Tried tried = tried_;
    tried.add(turn_.member);
    if (request_.body && !request_.body->may_be_shared()) {
        return wait(); // its last part is being written to disk
    }
    // What is only slow is no outage: backups are for that.
    const bool is_backup = upstream.members()[turn_.member].settings->is_backup;
    const bool has_server = upstream.has_other(tried, now, is_backup ? Upstream::Backups::too : Upstream::Backups::not_they);
    const bool is_closed = !upstream.settings().breaker || upstream.read_breaker(now).phase == shm::BreakerPhase::closed;
    if (request_.response_begun || !has_server || !is_closed || !upstream.take_hedge(now)) {
        return;
    }
    second_ = std::make_unique<SecondRequest>(request_, RequestKind::hedge, request_.upstream);
    main_ = run();
    main_.start();
    if (was_sent()) {
        ++request_.attempts;
        request_.hedged = Hedged::lost;
        request_.parts.row.add(shm::Metric::server_hedges);
    }
}

loop::Task<void> Hedge::run()
{
    Tried tried = tried_;
    tried.add(turn_.member);
    std::optional<Answer> failed = co_await ask_servers(second_->request, second_->turn, &tried);
    failed_ = failed;
    if (!failed_ && second_->turn.upload) {
        co_await send_rest();
    }
    is_over_ = true;
    request_.client.wake.kick_later();
}

/// The server has answered before it had the whole body, which only this request can send on.
loop::Task<void> Hedge::send_rest()
{
    Turn& turn = second_->turn;
    ClientStream& nobody = second_->nobody;
    nobody.alarm.set(request_.timeouts().stall);
    while (!turn.upload->is_done(*turn.stream)) {
        if (turn.upload->step(*turn.stream)) {
            nobody.alarm.set(request_.timeouts().stall);
            nobody.wake.kick_later();
            continue;
        }
        if (turn.upload->has_failed() || nobody.alarm.rang()) {
            break; // what that means is said by what is received
        }
        co_await nobody.wake.wait();
    }
    turn.request_complete = turn.upload->is_done(*turn.stream);
    turn.upload.reset();
}

/// A response that another server's is better than.
bool Hedge::is_failing(const Request& request) const noexcept
{
    const std::vector<std::uint16_t>& statuses = turn_.upstream->settings().retry.on_status;
    return std::find(statuses.begin(), statuses.end(), request.response.status) != statuses.end();
}

bool Hedge::is_worth_waiting(const Received& first) const noexcept
{
    return is_running() && (first.failed ? first.failed->reason != Reason::client_left : is_failing(request_));
}

/// How long its server takes is not known, only that it is no less.
void Hedge::give_up_second()
{
    if (was_sent() && !is_over_ && second_->request.times.connected != 0) {
        const loop::Nanos now = loop::clock_now();
        turn_.upstream->report_unanswered(second_->turn.member, now - second_->request.times.connected, now);
        note_abandoned(second_->turn, now);
    }
    main_ = {};
    second_.reset();
}

void Hedge::adopt_second(Tried& tried)
{
    const Request& second = second_->request;
    tried.add(turn_.member);
    turn_.drop();
    turn_ = std::move(second_->turn);
    turn_.stream->set_news(&request_.client.wake.news());
    request_.response.assign(second.response);
    request_.response_block = second.response_block;
    request_.server_text = second.server_text;
    request_.times.response = second.times.response;
    request_.hedged = Hedged::won;
    request_.parts.row.add(shm::Metric::server_hedges_won);
    main_ = {};
    second_.reset();
}

loop::Task<Received> Hedge::settle(Received first, Tried& tried)
{
    timer_.stop();
    begin_.cancel();
    ClientStream& client = request_.client;
    if (is_worth_waiting(first) && first.failed) {
        turn_.drop(); // the first server is free
    }
    while (is_worth_waiting(first)) {
        co_await client.wake.wait();
        if (client.has_left()) {
            first = Received{Answer{499, Reason::client_left}};
        }
    }
    // Of two failures a server's own answer is better than ours.
    const bool is_better = has_won() ? first.failed || is_failing(request_) : is_over_ && !failed_ && first.failed;
    const bool has_client = !first.failed || first.failed->reason != Reason::client_left;
    if (is_better && has_client) {
        adopt_second(tried);
        co_return Received{};
    }
    if (was_sent()) {
        tried.add(second_->turn.member);
    }
    give_up_second();
    co_return first;
}

} // namespace ladle::worker
