// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/receive.h"

#include "common/os/log.h"
#include "worker/response/response_writer.h"
#include "worker/upstream/hedge.h"

#include <tuple>

namespace ladle::worker {

namespace {

constexpr unsigned kMostInterim = 16;
constexpr std::chrono::milliseconds kContinueWait{1000};

HeadStep read_head(Request& request, Turn& turn)
{
    return turn.stream->receive_head(request.response, {request.live->config->request_limits.head_bytes, 0});
}

Received bad_response(Request& request, Reason reason, std::string_view detail)
{
    request.parts.row.add(shm::Metric::server_bad_responses);
    os::log(os::Level::warning, "bad response of a server",
            {{"upstream", request.upstream_name},
             {"server", request.server_text},
             {"reason", name_of(reason)},
             {"detail", detail},
             {"id", request.id}});
    return {Answer{502, reason}};
}

/// Handles a complete interim head; a failure, or nothing: go on with the next head.
std::optional<Received> pass_interim(Request& request, Turn& turn)
{
    const auto framing = http::response_framing(request.response, request.head.method);
    if (!framing) {
        return bad_response(request, Reason::server_bad_interim, http::name_of(framing.error()));
    }
    const bool is_for_client = request.kind == RequestKind::client && !request.response_begun &&
                               (request.response.status != 100 || request.expects_continue);
    if (is_for_client && request.head.version == http::Version::http_1_1) {
        request.expects_continue = request.expects_continue && request.response.status != 100;
        write_interim(request);
        request.client.flush();
    }
    std::ignore = turn.stream->take_head(request.response);
    request.response.clear();
    return std::nullopt;
}

bool is_wanted_upgrade(const Request& request)
{
    return request.wants_upgrade &&
           http::equals_ignoring_case(request.response.fields.value_of(http::FieldName::upgrade), request.upgrade) &&
           request.response.fields.list_has(http::FieldName::connection, "upgrade");
}

/// Takes over a complete final head.
Received accept_head(Request& request, Turn& turn)
{
    const auto framing = http::response_framing(request.response, request.head.method);
    if (!framing) {
        return bad_response(request, Reason::server_bad_framing, http::name_of(framing.error()));
    }
    request.times.response = loop::clock_now();
    request.response_block = turn.stream->take_head(request.response);
    turn.body.begin(*framing);
    const bool is_persistent = request.response.version == http::Version::http_1_1
                                   ? !request.response.fields.list_has(http::FieldName::connection, "close")
                                   : request.response.fields.list_has(http::FieldName::connection, "keep-alive");
    turn.may_keep = is_persistent && framing->kind != http::BodyKind::until_close && request.response.status != 101;
    return {};
}

Continue after(Heard heard) noexcept
{
    switch (heard) {
    case Heard::answer: return Continue::final_answer;
    case Heard::unprocessed: return Continue::unprocessed;
    default: return Continue::server_gone;
    }
}

/// There will be no head.
Received no_head(Request& request, const Turn& turn, HeadStep step)
{
    if (step == HeadStep::unprocessed) {
        return {Answer{502, Reason::server_refused}, Repeat::always};
    }
    if (step == HeadStep::ended && turn.interim == 0) {
        return {Answer{502, Reason::server_reset}, Repeat::if_idempotent};
    }
    if (step != HeadStep::refused) {
        return bad_response(request, Reason::server_bad_head, "ended in the middle of the head");
    }
    const std::string_view detail = turn.stream->detail();
    return bad_response(request, Reason::server_bad_head, detail.empty() ? http::name_of(request.response.error) : detail);
}

} // namespace

loop::Task<Received> receive(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    client.alarm.set(turn.patience.count() > 0 ? turn.patience
                     : request.is_grpc         ? request.timeouts().tunnel
                                               : request.timeouts().response);
    request.response.clear();
    for (;;) {
        const HeadStep step = read_head(request, turn);
        if (step == HeadStep::blocked) {
            if (turn.hedge != nullptr && turn.hedge->has_won()) {
                co_return Received{Answer{504, Reason::server_timeout}, Repeat::never, true};
            }
            if (!client.is_flushed()) {
                client.flush();
            }
            if (client.alarm.rang()) {
                if (turn.patience.count() > 0 && !turn.upstream->take_retry(request.parts.loop.now())) {
                    // Nobody else will be asked, so this one may take its time.
                    client.alarm.set(request.timeouts().response - std::exchange(turn.patience, std::chrono::milliseconds(0)));
                    continue;
                }
                turn.stream->on_timeout();
                co_return Received{Answer{504, Reason::server_timeout}};
            }
            co_await client.wake.wait();
            if (client.has_left()) {
                co_return Received{Answer{499, Reason::client_left}};
            }
            continue;
        }
        if (step != HeadStep::complete) {
            co_return no_head(request, turn, step);
        }
        if (request.response.status >= 200) {
            co_return accept_head(request, turn);
        }
        if (request.response.status == 101) {
            if (!is_wanted_upgrade(request)) {
                co_return bad_response(request, Reason::server_bad_interim, "a 101 that was not asked for");
            }
            co_return accept_head(request, turn);
        }
        if (++turn.interim > kMostInterim) {
            co_return bad_response(request, Reason::server_bad_interim, "too many interim responses");
        }
        std::optional<Received> failed = pass_interim(request, turn);
        if (failed) {
            co_return *failed;
        }
    }
}

Heard hear_early(Request& request, Turn& turn)
{
    for (;;) {
        switch (read_head(request, turn)) {
        case HeadStep::blocked: return Heard::nothing;
        case HeadStep::ended: return Heard::end;
        case HeadStep::unprocessed: return Heard::unprocessed;
        case HeadStep::cut:
        case HeadStep::refused: return Heard::answer; // receive() says what is wrong
        case HeadStep::complete: break;
        }
        const bool is_good_interim = request.response.status < 200 && request.response.status != 101 &&
                                     turn.interim < kMostInterim && http::response_framing(request.response, request.head.method);
        if (!is_good_interim) {
            return Heard::answer;
        }
        ++turn.interim;
        std::ignore = pass_interim(request, turn);
    }
}

loop::Task<Continue> await_continue(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    client.alarm.set(kContinueWait);
    while (request.expects_continue) {
        const Heard heard = hear_early(request, turn);
        if (heard != Heard::nothing) {
            co_return after(heard);
        }
        if (!request.expects_continue) {
            break;
        }
        if (client.alarm.rang()) {
            request.expects_continue = false;
            write_continue(request);
            client.flush();
            break;
        }
        co_await client.wake.wait();
        if (client.has_left()) {
            co_return Continue::client_gone;
        }
    }
    co_return Continue::go_on;
}

} // namespace ladle::worker
