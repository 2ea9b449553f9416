// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/receive.h"

#include "common/os/log.h"
#include "worker/response/response_writer.h"

#include <tuple>

namespace ladle::worker {

namespace {

constexpr unsigned kMostInterim = 16;
constexpr std::chrono::milliseconds kContinueWait{1000};

/// Reads and parses up to the end of one head.
enum class HeadStep : std::uint8_t { complete, blocked, refused, ended };

HeadStep read_head(Request& request, Turn& turn)
{
    ServerConnection& connection = *turn.connection;
    const http::HeadLimits limits{request.live->config->request_limits.head_bytes, 0};
    bool got_part = false;
    for (;;) {
        if (!connection.input.empty()) {
            const http::Progress progress = request.response.parse(connection.input.unread(), limits);
            if (progress != http::Progress::incomplete) {
                return progress == http::Progress::complete ? HeadStep::complete : HeadStep::refused;
            }
        }
        // A reset that came in one event with these bytes is announced by nothing else: after a part, ask until the kernel says no.
        if (!connection.socket.may_read() && !got_part) {
            return HeadStep::blocked;
        }
        const Io io = connection.input.fill(connection.socket, limits.head_bytes);
        got_part = true;
        request.parts.row.add(shm::Metric::bytes_from_servers, io.bytes);
        connection.input.release_if_empty();
        if (io.state == IoState::would_block) {
            return HeadStep::blocked;
        }
        if (io.state != IoState::done) {
            return HeadStep::ended;
        }
    }
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
    return {Answer{502, reason}, false};
}

/// Handles a complete interim head; a failure, or nothing: go on with the next head.
std::optional<Received> pass_interim(Request& request, Turn& turn)
{
    const auto framing = http::response_framing(request.response, request.head.method);
    if (!framing) {
        return bad_response(request, Reason::server_bad_interim, http::name_of(framing.error()));
    }
    const bool is_for_client = (request.response.status != 100 || request.expects_continue) && !request.response_begun;
    if (is_for_client && request.head.version == http::Version::http_1_1) {
        request.expects_continue = request.expects_continue && request.response.status != 100;
        write_interim(request);
        request.client.flush();
    }
    turn.connection->input.consume(request.response.size());
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
    ServerConnection& connection = *turn.connection;
    const auto framing = http::response_framing(request.response, request.head.method);
    if (!framing) {
        return bad_response(request, Reason::server_bad_framing, http::name_of(framing.error()));
    }
    request.times.response = loop::clock_now();
    request.response_block = connection.input.block();
    connection.input.consume(request.response.size());
    turn.body.begin(*framing);
    const bool is_persistent = request.response.version == http::Version::http_1_1
                                   ? !request.response.fields.list_has(http::FieldName::connection, "close")
                                   : request.response.fields.list_has(http::FieldName::connection, "keep-alive");
    turn.may_keep = is_persistent && framing->kind != http::BodyKind::until_close && request.response.status != 101;
    return {};
}

} // namespace

loop::Task<Received> receive(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    client.alarm.set(request.timeouts().response);
    request.response.clear();
    for (;;) {
        const HeadStep step = read_head(request, turn);
        if (step == HeadStep::blocked) {
            if (!client.is_flushed()) {
                client.flush();
            }
            if (client.alarm.rang()) {
                co_return Received{Answer{504, Reason::server_timeout}, false};
            }
            co_await client.wake.wait();
            if (client.has_left()) {
                co_return Received{Answer{499, Reason::client_left}, false};
            }
            continue;
        }
        if (step == HeadStep::ended) {
            const bool silent = turn.connection->input.empty() && turn.interim == 0;
            if (silent) {
                co_return Received{Answer{502, Reason::server_reset}, true};
            }
            co_return bad_response(request, Reason::server_bad_head, "ended in the middle of the head");
        }
        if (step == HeadStep::refused) {
            co_return bad_response(request, Reason::server_bad_head, http::name_of(request.response.error));
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
        case HeadStep::ended: return turn.connection->input.empty() ? Heard::end : Heard::answer; // receive() says what is wrong
        case HeadStep::refused: return Heard::answer;
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
            co_return heard == Heard::answer ? Continue::final_answer : Continue::server_gone;
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
