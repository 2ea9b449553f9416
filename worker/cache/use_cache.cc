// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/use_cache.h"

#include "worker/cache/look_up.h"
#include "worker/cache/obtain.h"
#include "worker/cache/purge.h"
#include "worker/cache/serve.h"

namespace ladle::worker {

namespace {

constexpr unsigned kMostLost = 3; // objects that were gone before their first byte was sent

} // namespace

loop::Task<Cached> use_cache(Request& request, Turn& turn)
{
    begin_visit(request);
    if (is_purge(request)) {
        std::optional<Answer> failed = co_await purge(request);
        co_return Cached{failed, !failed};
    }
    for (unsigned lost = 0; lost < kMostLost; ++lost) {
        const Found found = look_up(request);
        if (found != Found::hit) {
            Obtained obtained = co_await obtain(request, turn, found);
            if (!obtained.has_object) {
                co_return Cached{obtained.failed};
            }
        }
        const Served served = co_await serve(request, turn);
        if (served == Served::done) {
            co_return Cached{std::nullopt, true};
        }
        request.cache->view = {};
    }
    co_return Cached{Answer{502, Reason::server_cut}};
}

} // namespace ladle::worker
