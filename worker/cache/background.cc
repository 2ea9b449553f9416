// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/background.h"

#include "worker/cache/cache.h"
#include "worker/cache/disk_fetch.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/look_up.h"
#include "worker/cache/settle.h"
#include "worker/client/connection.h"
#include "worker/request/copy_request.h"
#include "worker/upstream/ask_servers.h"

#include <memory>
#include <optional>

namespace ladle::worker {

namespace {

class BackgroundFetch final : public Errand {
public:
    /// For the whole of what `cause` asks for.
    explicit BackgroundFetch(const Request& cause);
    /// To validate what `cause` has found; `claim` is ended by this fetch.
    void validate(const CacheVisit& cause, const shm::FillClaim& claim);
    /// To write it to disk; `claim` likewise.
    void write_to_disk(const shm::FillClaim& claim) noexcept { request_.cache->take_large_claim(claim); }
    bool is_awaited() const noexcept override { return false; }

private:
    loop::Task<void> run() override;

    Cache& cache_;
    ClientConnection nobody_; ///< without a socket: nothing is said to it, and it never leaves
    Request request_;
    Turn turn_;
};

void copy_visit(const CacheVisit& from, CacheVisit& to)
{
    to.key = from.key;
    to.variant = from.variant;
    to.vary_names = from.vary_names;
    to.vary_mark = from.vary_mark;
    to.url_of_key = std::string_view(to.key).substr(0, from.url_of_key.size());
    to.name = to.cache.store().name(to.key, to.variant);
    to.may_store = true;
    to.wants_whole = true;
    to.is_in_background = true;
}

BackgroundFetch::BackgroundFetch(const Request& cause)
    : cache_(*cause.parts.cache), nobody_(cause.parts.loop, cause.parts.row), request_(cause.parts, nobody_, cause.live)
{
    copy_request(cause, request_);
    request_.cache.emplace(cache_, cause.cache->rules);
    copy_visit(*cause.cache, *request_.cache);
}

void BackgroundFetch::validate(const CacheVisit& cause, const shm::FillClaim& claim)
{
    request_.cache->view = cause.view.copy();
    request_.cache->meta = cause.meta;
    request_.cache->claim = claim;
}

loop::Task<void> BackgroundFetch::run()
{
    cache_.row().add(shm::Metric::cache_background);
    prepare_to_ask(request_);
    std::optional<Answer> failed = co_await ask_servers(request_, turn_);
    std::ignore = settle(request_, turn_, failed); // what it does not store is of no use to anybody
    if (request_.cache->large) {
        co_await write_as_it_comes(request_, turn_);
    }
    // Nothing came of it: for a while no request tries that again.
    const std::chrono::milliseconds pause = request_.live->config->cache.uncacheable_for;
    request_.cache->end_large_claim(shm::FillEnd::uncacheable, loop::clock_now() + loop::to_nanos(pause));
    nobody_.alarm.clear();
    turn_.drop();
    request_.cache.reset();
    cache_.retire(*this);
}

} // namespace

void revalidate_in_background(Request& request)
{
    CacheVisit& visit = *request.cache;
    if (!visit.cache.may_fetch() || request.head.method != http::Method::get) {
        return;
    }
    const shm::FillClaim claim = visit.cache.store().fills().claim(visit.name.hash, loop::clock_now());
    if (claim.outcome == shm::ClaimOutcome::mine) {
        auto fetch = std::make_unique<BackgroundFetch>(request);
        fetch->validate(visit, claim);
        visit.cache.start(std::move(fetch));
    }
}

void fetch_to_disk_in_background(Request& request, const shm::CacheHash& hash)
{
    CacheVisit& visit = *request.cache;
    shm::FillTable& fills = visit.cache.store().fills();
    const shm::FillClaim claim = fills.claim(hash, loop::clock_now());
    if (claim.outcome == shm::ClaimOutcome::mine && !(visit.cache.may_fetch() && visit.cache.disk()->may_fetch())) {
        visit.cache.ring(fills.finish(claim, shm::FillEnd::over));
        return;
    }
    visit.want_large(claim);
    if (claim.outcome == shm::ClaimOutcome::mine) {
        auto fetch = std::make_unique<BackgroundFetch>(request);
        fetch->write_to_disk(claim);
        visit.cache.start(std::move(fetch));
    }
}

} // namespace ladle::worker
