// SPDX-License-Identifier: Apache-2.0
#include "worker/request/await_handshake.h"

namespace ladle::worker {

namespace {

bool is_harmless(const Request& request)
{
    const http::Method method = request.head.method;
    const bool is_safe = method == http::Method::get || method == http::Method::head || method == http::Method::options;
    const bool is_alone = request.framing.kind == http::BodyKind::none && !request.wants_upgrade;
    const bool is_allowed = request.site->tls && request.site->tls->takes_early_data;
    return is_safe && is_alone && is_allowed;
}

} // namespace

loop::Task<std::optional<Answer>> await_handshake(Request& request, Replay replay)
{
    if (replay == Replay::harmless_if_safe && is_harmless(request)) {
        co_return std::nullopt;
    }
    ClientStream& client = request.client;
    request.parts.row.add(shm::Metric::tls_early_waited);
    client.alarm.set(request.timeouts().handshake);
    while (client.is_early()) {
        if (!client.pursue_handshake()) {
            co_return Answer{499, Reason::client_left};
        }
        if (!client.is_early()) {
            break;
        }
        if (client.alarm.rang()) {
            co_return Answer{425, Reason::too_early};
        }
        co_await client.wake.wait();
        if (client.has_left()) {
            co_return Answer{499, Reason::client_left};
        }
    }
    co_return std::nullopt;
}

} // namespace ladle::worker
