// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/purge.h"

#include "worker/cache/cache.h"
#include "worker/request/identify.h"
#include "worker/response/answer.h"

namespace ladle::worker {

loop::Task<std::optional<Answer>> purge(Request& request)
{
    CacheVisit& visit = *request.cache;
    if (!is_client_in(request, visit.rules.purge_from)) {
        co_return Answer{403, Reason::purge_refused};
    }
    const http::Field* const soft = request.head.fields.find("Soft-Purge");
    const bool is_soft = soft != nullptr && request.head.fields.value(*soft) == "1";
    if (!visit.cache.store().purges().purge_url(visit.url_of_key, is_soft ? shm::PurgeKind::soft : shm::PurgeKind::hard)) {
        co_return Answer{503, Reason::purge_failed};
    }
    request.parts.row.add(shm::Metric::cache_purges);
    co_await answer_text(request, 200, is_soft ? "stale\n" : "purged\n");
    co_return std::nullopt;
}

} // namespace ladle::worker
