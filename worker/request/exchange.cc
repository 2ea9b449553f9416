// SPDX-License-Identifier: Apache-2.0
#include "worker/request/exchange.h"

#include "worker/cache/use_cache.h"
#include "worker/delivery/deliver.h"
#include "worker/delivery/tunnel.h"
#include "worker/log/finish.h"
#include "worker/mirror/mirror.h"
#include "worker/request/admit.h"
#include "worker/request/await_handshake.h"
#include "worker/request/find_route.h"
#include "worker/request/identify.h"
#include "worker/request/take_body.h"
#include "worker/response/answer.h"
#include "worker/upstream/ask_servers.h"
#include "worker/upstream/passage.h"

namespace ladle::worker {

loop::Task<void> run_exchange(Request& request)
{
    Turn turn;
    bool is_answered = false;
    identify(request);
    std::optional<Answer> refused = admit(request);
    if (!refused) {
        refused = find_route(request);
    }
    if (!refused && request.client.is_early()) {
        refused = co_await await_handshake(request);
    }
    if (!refused && !request.redirect.empty()) {
        co_await answer_redirect(request);
        finish(request);
        co_return;
    }
    if (!refused && request.route->respond) {
        co_await answer_fixed(request);
        finish(request);
        co_return;
    }
    if (!refused && request.route->cache && request.parts.cache) {
        const Cached cached = co_await use_cache(request, turn);
        refused = cached.failed;
        is_answered = cached.is_answered;
    } else if (!refused) {
        refused = refuse_early(request);
        if (!refused) {
            refused = co_await take_body(request);
        }
        if (!refused) {
            mirror(request);
            refused = co_await ask_servers(request, turn);
        }
    }
    if (refused) {
        co_await answer_error(request, *refused);
    } else if (!is_answered && request.response.status == 101) {
        co_await tunnel(request, turn);
    } else if (!is_answered) {
        co_await deliver(request, turn);
    }
    finish(request);
}

loop::Task<void> run_not_tls(Request& request)
{
    identify(request);
    request.after = After::close;
    request.reason = Reason::not_tls;
    co_await answer_text(request, 400, "This port speaks TLS: the URL begins with https://\n");
    finish(request);
}

loop::Task<void> run_refused(Request& request, Answer answer)
{
    identify(request);
    request.after = After::close;
    co_await answer_error(request, answer);
    finish(request);
}

} // namespace ladle::worker
