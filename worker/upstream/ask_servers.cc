// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/ask_servers.h"

#include "common/os/log.h"
#include "worker/request/await_handshake.h"
#include "worker/upstream/connect.h"
#include "worker/upstream/forward.h"
#include "worker/upstream/hedge.h"
#include "worker/upstream/limit_samples.h"
#include "worker/upstream/load_report.h"
#include "worker/upstream/passage.h"
#include "worker/upstream/preference.h"
#include "worker/upstream/receive.h"
#include "worker/upstream/sticky.h"

#include <algorithm>
#include <memory>

namespace ladle::worker {

namespace {

constexpr unsigned kMostLost = 4; // places of which another worker took the last, before the request waits

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

loop::Task<std::optional<Answer>> choose(Request& request, Turn& turn, const Tried& tried)
{
    Upstream& upstream = *turn.upstream;
    QueueGuard queue(upstream);
    const Preference preference = preference_of(request, upstream);
    const bool is_copy = request.kind != RequestKind::client;
    const Upstream::Purpose purpose = is_copy ? Upstream::Purpose::copy : Upstream::Purpose::request;
    for (unsigned lost = 0;;) {
        // Who has waited longer goes first, whatever else woke this one.
        const loop::Nanos now = request.parts.loop.now();
        const bool may_choose = upstream.has_turn(queue.place, tried, now) || upstream.may_pass(preference, tried, now);
        const Upstream::Choice choice =
            may_choose ? upstream.choose(tried, now, preference, purpose) : Upstream::Choice{Upstream::Outcome::all_full, 0};
        if (choice.outcome == Upstream::Outcome::chosen) {
            turn.lease = upstream.take(choice, now);
            if (!turn.lease && ++lost < kMostLost) {
                continue; // another worker has taken its last place: it counts as full now
            }
            if (turn.lease) {
                turn.member = choice.member;
                request.server_text = upstream.members()[choice.member].settings->text;
                co_return std::nullopt;
            }
        }
        if (choice.outcome == Upstream::Outcome::none_left) {
            co_return Answer{502, Reason::no_server};
        }
        if (is_copy) {
            co_return Answer{503, Reason::queue_full}; // it waits for nobody, and nobody behind it
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

/// What a failure says about the server; nothing where it is not to blame.
std::optional<shm::ServerFailure> blame(const Turn& turn, Reason reason) noexcept
{
    switch (reason) {
    case Reason::server_reset:
        // A kept connection that ends as a request comes is nobody's fault. In HTTP/2 it would have said which ones it took.
        return turn.is_reused && !(turn.stream && turn.stream->is_framed) ? std::nullopt
                                                                          : std::optional(shm::ServerFailure::reset);
    case Reason::server_timeout:
    case Reason::server_stalled:
        return shm::ServerFailure::timeout;
    case Reason::server_bad_head:
    case Reason::server_bad_framing:
    case Reason::server_bad_interim:
        return shm::ServerFailure::bad_response;
    default:
        return std::nullopt;
    }
}

bool is_bad_status(std::uint16_t status) noexcept
{
    return status == 502 || status == 503 || status == 504;
}

/// After a connect that failed.
void give_up_on(Request& request, Turn& turn, const Connected& connected, Passage& passage)
{
    request.parts.row.add(shm::Metric::server_connect_failures);
    os::log(os::Level::warning, "cannot connect to a server",
            {{"upstream", request.upstream_name},
             {"server", request.server_text},
             {"reason", connected.detail},
             {"id", request.id}});
    if (connected.at_fault == Fault::theirs) {
        report_failure(request, turn, shm::ServerFailure::connect);
        passage.note(shm::ServerFailure::connect);
    }
    turn.lease.end();
}

/// Whether the request may go to one server more after the chosen one may have seen it.
bool may_go_on(const Request& request, const Turn& turn, const Tried& tried) noexcept
{
    return request.kind == RequestKind::client && !request.response_begun && has_whole_body(request) &&
           http::is_idempotent(request.head.method) && tried.size() + 1 < turn.upstream->settings().retry.attempts;
}

/// The same, where there is one.
bool may_ask_another(const Request& request, const Turn& turn, Tried tried) noexcept
{
    const bool may = may_go_on(request, turn, tried);
    tried.add(turn.member);
    return may && turn.upstream->has_other(tried, request.parts.loop.now());
}

/// Whether this answer is worth another server's.
bool is_to_be_asked_again(const Request& request, const Turn& turn, const Tried& tried)
{
    const std::vector<std::uint16_t>& statuses = turn.upstream->settings().retry.on_status;
    return std::find(statuses.begin(), statuses.end(), request.response.status) != statuses.end() &&
           may_ask_another(request, turn, tried) && turn.upstream->take_retry(request.parts.loop.now());
}

/// What to do after a failure that came behind the connect.
enum class Next : std::uint8_t { answer, same_or_other, other };

Next after_failure(const Request& request, const Turn& turn, const Received& received, Freshness freshness, const Tried& tried)
{
    const config::Retry& rules = turn.upstream->settings().retry;
    const bool may_repeat = !request.response_begun && has_whole_body(request) && request.attempts <= rules.attempts;
    if (request.kind != RequestKind::client && !(turn.is_reused && freshness == Freshness::kept_or_fresh)) {
        return Next::answer; // it is sent once, or twice where a kept connection was closed as it was idle
    }
    if (may_repeat && received.repeat == Repeat::always) {
        // It may be about to leave, or has too much to do.
        return turn.upstream->members().size() > 1 ? Next::other : Next::same_or_other;
    }
    if (may_repeat && received.repeat == Repeat::if_idempotent && turn.is_reused && freshness == Freshness::kept_or_fresh &&
        http::is_idempotent(request.head.method)) {
        return Next::same_or_other; // that one was closed as it was idle; once, as in HTTP/2 the next one may be a used one too
    }
    const bool is_late = received.failed->reason == Reason::server_timeout && turn.patience.count() > 0; // its retry is taken
    const bool is_wanted = is_late || (received.repeat == Repeat::if_idempotent && rules.on_reset);
    if (!is_wanted || !may_ask_another(request, turn, tried)) {
        return Next::answer;
    }
    return is_late || turn.upstream->take_retry(request.parts.loop.now()) ? Next::other : Next::answer;
}

void rewind_body(Request& request)
{
    if (request.body && request.body->keeps_all()) {
        request.body->rewind();
    }
}

/// Connects to the chosen server. A failure is counted; `tried` then has the server.
loop::Task<Connected> try_connect(Request& request, Turn& turn, Freshness freshness, Tried& tried, Passage& passage)
{
    request.parts.row.add(shm::Metric::server_retries, request.attempts > 0 ? 1 : 0);
    ++request.attempts;
    turn.sent = 0;
    Connected connected = co_await connect(request, turn, freshness);
    if (!connected.failed) {
        request.times.connected = loop::clock_now();
    } else if (connected.failed->reason != Reason::client_left) { // else nothing that the server is to blame for
        give_up_on(request, turn, connected, passage);
        tried.add(turn.member);
    }
    co_return connected;
}

/// Counts how the server did with what was asked.
void judge(const Request& request, const Turn& turn, const Received& received, Passage& passage)
{
    passage.note_nothing();
    if (received.is_outrun) {
        const loop::Nanos now = loop::clock_now();
        turn.upstream->report_unanswered(turn.member, now - request.times.connected, now);
        note_abandoned(turn, now);
    } else if (received.failed) {
        if (const auto failure = blame(turn, received.failed->reason)) {
            report_failure(request, turn, *failure);
            if (request.client.body.is_complete()) { // else it may be for the client, which takes its time
                passage.note(*failure);
            }
        } else if (received.failed->reason == Reason::client_left && request.kind != RequestKind::copy) {
            note_abandoned(turn, loop::clock_now()); // what a copy's end means its mirror knows
        }
    } else if (is_bad_status(request.response.status)) {
        report_failure(request, turn, shm::ServerFailure::bad_status);
        passage.note(shm::ServerFailure::bad_status);
    } else {
        passage.note(std::nullopt);
        note_answer(request, turn, request.parts.loop.now());
        const loop::Nanos time = request.times.response - request.times.connected;
        if (request.response.status >= 500) {
            turn.upstream->report_error(turn.member, time, request.parts.loop.now());
        } else {
            turn.upstream->report_success(turn.member, time, request.parts.loop.now());
        }
    }
}

/// What sends the request to a second server if the first takes long; null where that may not be.
std::unique_ptr<Hedge> begin_hedge(Request& request, Turn& turn, const Tried& tried)
{
    const bool may = Hedge::may_hedge(request, turn) && may_go_on(request, turn, tried);
    return may ? std::make_unique<Hedge>(request, turn, tried) : nullptr;
}

/// Sends the request and waits for the head of the response.
loop::Task<Received> ask(Request& request, Turn& turn, Tried& tried, Passage& passage)
{
    const std::chrono::milliseconds per_try = turn.upstream->settings().retry.per_try;
    const bool is_short = per_try.count() > 0 && per_try < request.timeouts().response;
    const bool may_end = is_short && (request.kind == RequestKind::hedge || may_ask_another(request, turn, tried));
    turn.patience = may_end ? per_try : std::chrono::milliseconds(0);
    std::unique_ptr<Hedge> hedge;
    if (turn.upstream->hedge_after().count() > 0) {
        hedge = begin_hedge(request, turn, tried);
    }
    turn.hedge = hedge.get();
    Forwarded forwarded = co_await forward(request, turn);
    Received received{forwarded.failed, forwarded.repeat, forwarded.is_outrun};
    if (!forwarded.failed) {
        received = co_await receive(request, turn);
    }
    turn.hedge = nullptr;
    if (!received.failed) {
        turn.lease.settle();
        take_load_report(request, turn, request.response.fields);
    }
    judge(request, turn, received, passage);
    if (hedge) {
        received = co_await hedge->settle(received, tried);
        if (request.hedged == Hedged::won) {
            const bool is_bad = is_bad_status(request.response.status);
            passage.note(is_bad ? std::optional(shm::ServerFailure::bad_status) : std::nullopt);
        }
    }
    co_return received;
}

} // namespace

void report_failure(const Request& request, const Turn& turn, shm::ServerFailure failure)
{
    if (turn.upstream->report_failure(turn.member, failure, request.parts.loop.now())) {
        os::log(os::Level::warning, "a server is left alone for a while",
                {{"upstream", request.upstream_name},
                 {"server", request.server_text},
                 {"failure", name_of(failure)},
                 {"id", request.id}});
    }
}

loop::Task<std::optional<Answer>> ask_servers(Request& request, Turn& turn, const Tried* avoided)
{
    Tried tried;
    if (avoided != nullptr) {
        tried = *avoided;
    }
    turn.upstream = request.live->upstreams[request.upstream].get();
    request.upstream_name = turn.upstream->settings().name;
    const config::Retry& rules = turn.upstream->settings().retry;
    Passage passage(request, *turn.upstream);
    if (passage.is_shut()) {
        co_return passage.refuse();
    }
    std::optional<Answer> unreachable; ///< what is answered when there is no server left: how the last one failed
    Freshness freshness = Freshness::kept_or_fresh;
    for (;;) {
        std::optional<Answer> failed = co_await choose(request, turn, tried);
        if (failed) {
            if (failed->reason == Reason::client_left) {
                passage.note_nothing(); // another server might have done better than the last one
            }
            co_return failed->reason == Reason::no_server&& unreachable ? unreachable : failed;
        }
        if (passage.is_shut()) { // since, as others failed
            turn.drop();
            co_return unreachable ? unreachable : passage.refuse();
        }
        Connected connected = co_await try_connect(request, turn, freshness, tried, passage);
        if (connected.failed) {
            unreachable = connected.failed;
            if (connected.failed->reason == Reason::client_left) {
                passage.note_nothing();
            }
            const bool is_last = !rules.on_connect || tried.size() >= rules.attempts || request.kind != RequestKind::client;
            if (is_last || connected.failed->reason == Reason::client_left) {
                co_return unreachable;
            }
            continue;
        }
        const bool was_early = request.client.is_early();
        Received received = co_await ask(request, turn, tried, passage);
        if (!received.failed && was_early && request.response.status == 425) {
            turn.drop(); // RFC 8470 §5.2: once more, when it is no risk any longer
            std::optional<Answer> refused = co_await await_handshake(request, Replay::refused);
            if (refused) {
                co_return refused;
            }
            continue;
        }
        if (!received.failed && !is_to_be_asked_again(request, turn, tried)) {
            settle_sticky_cookie(request, turn);
            co_return std::nullopt;
        }
        const Next next = received.failed ? after_failure(request, turn, received, freshness, tried) : Next::other;
        turn.drop();
        if (next == Next::answer) {
            co_return received.failed;
        }
        if (next == Next::other) {
            tried.add(turn.member);
            unreachable = received.failed ? received.failed : Answer{502, Reason::no_server};
        }
        freshness = Freshness::fresh;
        rewind_body(request);
    }
}

} // namespace ladle::worker
