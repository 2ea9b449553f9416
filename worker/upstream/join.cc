// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/join.h"

#include "worker/upstream/h2_pool.h"

namespace ladle::worker {

namespace {

constexpr const char* kTakesNone = "the server's HTTP/2 connections take no streams";

H2Terms terms_of(const Request& request, const Turn& turn) noexcept
{
    const config::Upstream& settings = turn.upstream->settings();
    return {settings.name, request.server_text, settings.tls.has_value(), settings.keepalive_idle, settings.keepalive_timeout,
            request.live->config->request_limits.head_bytes};
}

/// A place on a connection that there is.
bool take_place(Request& request, Turn& turn)
{
    const Member& member = turn.upstream->members()[turn.member];
    const auto is_good = [&](ServerConnection& connection) { return is_still_of(member, connection); };
    turn.stream = member.server->h2().open(terms_of(request, turn), is_good, turn.is_reused);
    if (!turn.stream) {
        return false;
    }
    turn.stream->set_news(&request.client.wake.news());
    request.parts.row.add(shm::Metric::server_connections_reused, turn.is_reused ? 1 : 0);
    return true;
}

/// Waits until the server has said that it speaks HTTP/2 as well.
loop::Task<Connected> greet(Request& request, Turn& turn, std::unique_ptr<ServerConnection> made)
{
    H2Greeting greeting(request.client.wake);
    turn.server().h2().adopt(std::move(made), terms_of(request, turn), greeting);
    request.client.alarm.set(request.timeouts().connect);
    while (!greeting.is_over) {
        co_await request.client.wake.wait();
        if (request.client.has_left()) {
            co_return Connected{Answer{499, Reason::client_left}, {}};
        }
        if (request.client.alarm.rang()) {
            co_return Connected{Answer{504, Reason::connect_timeout}, "the server did not begin to speak HTTP/2 in time"};
        }
    }
    if (!greeting.failure.empty()) {
        co_return Connected{Answer{502, Reason::server_not_h2}, greeting.failure};
    }
    turn.upstream->report_connected(turn.member);
    co_return Connected{};
}

loop::Task<Connected> make_connection(Request& request, Turn& turn)
{
    H2Pool::Making making(turn.server().h2());
    std::unique_ptr<ServerConnection> made;
    Connected connected = co_await open_connection(request, turn, made);
    if (connected.failed) {
        co_return connected;
    }
    Connected greeted = co_await greet(request, turn, std::move(made));
    co_return greeted;
}

} // namespace

loop::Task<Connected> join(Request& request, Turn& turn)
{
    ClientStream& client = request.client;
    H2Pool& pool = turn.server().h2();
    for (unsigned made = 0;;) {
        H2Pool::Waiter waiter(pool, client.wake);
        client.alarm.set(request.timeouts().connect);
        for (;;) {
            if (waiter.is_first() && take_place(request, turn)) {
                co_return Connected{};
            }
            if (waiter.is_first() && pool.needs_another()) {
                break;
            }
            if (pool.is_hopeless()) {
                co_return Connected{Answer{502, Reason::server_refused}, kTakesNone};
            }
            co_await client.wake.wait();
            if (client.has_left()) {
                co_return Connected{Answer{499, Reason::client_left}, {}};
            }
            if (client.alarm.rang()) {
                co_return Connected{Answer{504, Reason::connect_timeout}, "no place on an HTTP/2 connection in time"};
            }
        }
        if (++made > 2) {
            co_return Connected{Answer{502, Reason::server_refused}, kTakesNone};
        }
        waiter.leave();
        Connected connected = co_await make_connection(request, turn);
        if (connected.failed) {
            co_return connected;
        }
    }
}

} // namespace ladle::worker
