// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/use_cache.h"

#include "worker/cache/look_up.h"
#include "worker/cache/purge.h"
#include "worker/cache/serve.h"
#include "worker/cache/settle.h"
#include "worker/request/take_body.h"
#include "worker/upstream/ask_servers.h"

namespace ladle::worker {

namespace {

constexpr unsigned kMostFailedFills = 3;

} // namespace

loop::Task<Cached> use_cache(Request& request, Turn& turn)
{
    begin_visit(request);
    CacheVisit& visit = *request.cache;
    if (is_purge(request)) {
        std::optional<Answer> failed = co_await purge(request);
        co_return Cached{failed, !failed};
    }
    for (unsigned tries = 0; tries < kMostFailedFills;) {
        const Found found = look_up(request);
        if (found == Found::none) {
            co_return Cached{Answer{504, Reason::only_if_cached}};
        }
        if (found == Found::wait) {
            std::optional<Answer> left = co_await wait_for_others(request);
            if (left) {
                co_return Cached{left};
            }
            continue;
        }
        if (found == Found::ask) {
            request.parts.row.add(shm::Metric::cache_misses);
            prepare_to_ask(request);
            std::optional<Answer> failed = co_await take_body(request);
            if (!failed) {
                failed = co_await ask_servers(request, turn);
            }
            const Settled settled = settle(request, turn, failed);
            if (settled == Settled::pass) {
                co_return Cached{failed};
            }
            if (settled == Settled::again) {
                ++tries;
                continue;
            }
        }
        const Served served = co_await serve(request, turn);
        if (served == Served::done) {
            co_return Cached{std::nullopt, true};
        }
        ++tries;
        visit.view = {};
    }
    co_return Cached{Answer{502, Reason::server_cut}};
}

} // namespace ladle::worker
