// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/obtain.h"

#include "worker/cache/disk_forget.h"
#include "worker/cache/disk_load.h"
#include "worker/cache/look_up.h"
#include "worker/cache/settle.h"
#include "worker/mirror/mirror.h"
#include "worker/request/take_body.h"
#include "worker/upstream/ask_servers.h"
#include "worker/upstream/passage.h"

namespace ladle::worker {

namespace {

constexpr unsigned kMostUseless = 3; // responses that were no answer to this request

} // namespace

loop::Task<Obtained> obtain(Request& request, Turn& turn, Found found)
{
    for (unsigned useless = 0; useless < kMostUseless; found = look_up(request)) {
        if (found == Found::hit) {
            co_return Obtained{std::nullopt, true};
        }
        if (found == Found::none) {
            co_return Obtained{Answer{504, Reason::only_if_cached}};
        }
        if (found == Found::wait) {
            std::optional<Answer> left = co_await wait_for_others(request);
            if (left) {
                co_return Obtained{left};
            }
            continue;
        }
        if (found == Found::load) {
            co_await load_from_disk(request);
            continue;
        }
        request.parts.row.add(shm::Metric::cache_misses);
        prepare_to_ask(request);
        std::optional<Answer> failed = refuse_early(request);
        if (!failed) {
            failed = co_await take_body(request);
        }
        if (!failed && useless == 0) {
            mirror(request);
        }
        if (!failed) {
            failed = co_await ask_servers(request, turn);
        }
        const Settled settled = settle(request, turn, failed);
        if (request.cache->forgotten) {
            co_await forget_on_disk(request);
        }
        switch (settled) {
        case Settled::pass:
            co_return Obtained{failed};
        case Settled::serve:
            co_return Obtained{std::nullopt, true};
        case Settled::again:
            ++useless;
            break;
        }
    }
    co_return Obtained{Answer{502, Reason::server_cut}};
}

} // namespace ladle::worker
