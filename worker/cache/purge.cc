// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/purge.h"

#include "common/shm/purge_log.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_forget.h"
#include "worker/request/identify.h"
#include "worker/response/answer.h"

#include <string>
#include <tuple>

namespace ladle::worker {

loop::Task<std::optional<Answer>> purge(Request& request)
{
    CacheVisit& visit = *request.cache;
    if (!is_client_in(request, visit.rules.purge_from)) {
        co_return Answer{403, Reason::purge_refused};
    }
    const http::Field* const soft = request.head.fields.find("Soft-Purge");
    const bool is_soft = soft != nullptr && request.head.fields.value(*soft) == "1";
    const shm::PurgeKind kind = is_soft ? shm::PurgeKind::soft : shm::PurgeKind::hard;
    shm::PurgeTable& purges = visit.cache.store().purges();
    if (!purges.purge_url(visit.url_of_key, kind)) {
        co_return Answer{503, Reason::purge_failed};
    }
    if (visit.cache.disk() != nullptr) { // the answer says that it is remembered
        std::string line = shm::to_line({purges.epoch(), shm::PurgeSubject::url, kind, std::string(visit.url_of_key)});
        co_await log_purges(request, std::move(line), Durably::yes);
    }
    request.parts.row.add(shm::Metric::cache_purges);
    co_await answer_text(request, 200, is_soft ? "stale\n" : "purged\n");
    co_return std::nullopt;
}

} // namespace ladle::worker
