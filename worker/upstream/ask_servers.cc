// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/ask_servers.h"

#include "common/os/log.h"
#include "worker/request/await_handshake.h"
#include "worker/upstream/connect.h"
#include "worker/upstream/forward.h"
#include "worker/upstream/receive.h"

namespace ladle::worker {

namespace {

constexpr std::uint32_t kMostConnects = 3;    // servers tried for one request
constexpr std::uint32_t kMostAttempts = 4;    // connects and sends of one request
constexpr std::uint32_t kMostRemembered = 64; // members that the set of tried ones has a bit for

/// Waits until some member has room, or for the queue's timeout. Nothing = look again.
loop::Task<std::optional<Answer>> wait_in_queue(Request& request, Upstream& upstream, QueuePlace& place)
{
    ClientStream& client = request.client;
    if (!place.is_linked()) {
        place.wake = &client.wake;
        if (!upstream.enqueue(place)) {
            request.parts.row.add(shm::Metric::server_queue_refused);
            co_return Answer{503, Reason::queue_full};
        }
        client.alarm.set(upstream.settings().queue_timeout);
    }
    co_await client.wake.wait();
    if (client.has_left()) {
        co_return Answer{499, Reason::client_left};
    }
    if (client.alarm.rang()) {
        request.parts.row.add(shm::Metric::server_queue_refused);
        co_return Answer{503, Reason::queue_timeout};
    }
    co_return std::nullopt;
}

/// Leaves the queue however the search for a server ends.
struct QueueGuard {
    Upstream& upstream;
    QueuePlace place{};
    explicit QueueGuard(Upstream& of) noexcept : upstream(of) {}
    QueueGuard(const QueueGuard&) = delete;
    QueueGuard& operator=(const QueueGuard&) = delete;
    ~QueueGuard()
    {
        if (place.is_linked()) {
            upstream.leave_queue(place);
            upstream.stir_queue();
        }
    }
};

loop::Task<std::optional<Answer>> choose(Request& request, Turn& turn, std::uint64_t tried)
{
    Upstream& upstream = *turn.upstream;
    QueueGuard queue(upstream);
    for (;;) {
        // Who has waited longer goes first, whatever else woke this one.
        const bool has_turn = !upstream.has_queue() || upstream.is_oldest(queue.place);
        const Upstream::Choice choice = has_turn ? upstream.choose(tried, request.parts.loop.now())
                                                 : Upstream::Choice{Upstream::Outcome::all_full, 0};
        if (choice.outcome == Upstream::Outcome::chosen) {
            turn.member = choice.member;
            turn.lease = Lease(upstream, choice.member);
            request.server_text = upstream.members()[choice.member].settings->text;
            co_return std::nullopt;
        }
        if (choice.outcome == Upstream::Outcome::none_left) {
            co_return Answer{502, Reason::no_server};
        }
        std::optional<Answer> failed = co_await wait_in_queue(request, upstream, queue.place);
        if (failed) {
            co_return failed;
        }
    }
}

/// Whether the body can be sent from its first byte: all of it is kept, or a client that waits for 100 has sent none yet.
bool has_whole_body(const Request& request) noexcept
{
    return !request.body || request.body->keeps_all() || request.body->size() == 0;
}

/// Whether the request may be sent again after a failure that allows it so far.
bool may_repeat(const Request& request, const Turn& turn, Repeat repeat) noexcept
{
    if (request.response_begun || !has_whole_body(request) || request.attempts >= kMostAttempts) {
        return false;
    }
    switch (repeat) {
    case Repeat::always: return true;
    case Repeat::if_idempotent: return turn.is_reused && http::is_idempotent(request.head.method);
    default: return false;
    }
}

/// After a connect that failed: the server rests, for all workers.
void give_up_on(Request& request, Turn& turn, const std::string& why)
{
    Upstream::report_failure(turn.upstream->members()[turn.member], request.parts.loop.now());
    request.parts.row.add(shm::Metric::server_connect_failures);
    os::log(os::Level::warning, "cannot connect to a server",
            {{"upstream", request.upstream_name}, {"server", request.server_text}, {"reason", why}, {"id", request.id}});
    turn.lease.end();
}

} // namespace

loop::Task<std::optional<Answer>> ask_servers(Request& request, Turn& turn)
{
    turn.upstream = request.live->upstreams[request.upstream].get();
    request.upstream_name = turn.upstream->settings().name;
    std::uint64_t tried = 0;
    std::optional<Answer> unreachable; ///< what is answered when there is no server left: how the last one failed
    Freshness freshness = Freshness::kept_or_fresh;
    for (;;) {
        std::optional<Answer> failed = co_await choose(request, turn, tried);
        if (failed) {
            co_return failed->reason == Reason::no_server && unreachable ? unreachable : failed;
        }
        request.parts.row.add(shm::Metric::server_retries, request.attempts > 0 ? 1 : 0);
        ++request.attempts;
        Connected connected = co_await connect(request, turn, freshness);
        if (connected.failed && connected.failed->reason == Reason::client_left) {
            co_return connected.failed; // nothing that the server is to blame for
        }
        if (connected.failed) {
            give_up_on(request, turn, connected.detail);
            unreachable = connected.failed;
            if (request.attempts >= kMostConnects || turn.member >= kMostRemembered) {
                co_return unreachable;
            }
            tried |= std::uint64_t{1} << turn.member;
            continue;
        }
        request.times.connected = loop::clock_now();
        const bool was_early = request.client.is_early();
        Forwarded forwarded = co_await forward(request, turn);
        std::optional<Answer> bad = forwarded.failed;
        Repeat repeat = forwarded.repeat;
        if (!bad) {
            Received received = co_await receive(request, turn);
            bad = received.failed;
            repeat = received.repeat;
        }
        if (!bad && !(was_early && request.response.status == 425)) {
            co_return std::nullopt;
        }
        turn.drop();
        if (!bad) { // RFC 8470 §5.2: once more, when it is no risk any longer
            bad = co_await await_handshake(request, Replay::refused);
            if (bad) {
                co_return bad;
            }
            continue;
        }
        if (!may_repeat(request, turn, repeat)) {
            co_return bad;
        }
        if (repeat == Repeat::always && turn.upstream->members().size() > 1 && turn.member < kMostRemembered) {
            tried |= std::uint64_t{1} << turn.member; // it may be about to leave, or has too much to do
            unreachable = bad;
        }
        freshness = Freshness::fresh;
        if (request.body && request.body->keeps_all()) {
            request.body->rewind();
        }
    }
}

} // namespace ladle::worker
