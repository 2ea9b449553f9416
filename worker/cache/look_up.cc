// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/look_up.h"

#include "common/http/cookies.h"
#include "common/http/fields.h"
#include "common/http/grammar.h"
#include "common/http/vary.h"
#include "common/shm/cache_requests.h"
#include "worker/cache/background.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_load.h"
#include "worker/cache/disk_write.h"
#include "worker/cache/parts.h"

#include <algorithm>
#include <string>

namespace ladle::worker {

namespace {

using http::FieldName;
using http::Forwarded;

bool has_bypass_cookie(const http::Fields& fields, const config::Bypass& bypass)
{
    return http::any_cookie(fields, [&](std::string_view name, std::string_view value) {
        return name == bypass.name && http::fits_pattern(bypass.pattern, value);
    });
}

bool has_argument(std::string_view query, const config::Bypass& bypass)
{
    while (!query.empty()) {
        const std::size_t ampersand = query.find('&');
        const std::string_view pair = query.substr(0, ampersand);
        query = ampersand == std::string_view::npos ? std::string_view{} : query.substr(ampersand + 1);
        const std::size_t equals = pair.find('=');
        const std::string_view value = equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1);
        if (pair.substr(0, equals) == bypass.name && http::fits_pattern(bypass.pattern, value)) {
            return true;
        }
    }
    return false;
}

bool has_header(const http::Fields& fields, const config::Bypass& bypass)
{
    for (const http::Field& field : fields) {
        if (http::equals_ignoring_case(fields.name(field), bypass.name) && http::fits_pattern(bypass.pattern, fields.value(field))) {
            return true;
        }
    }
    return false;
}

bool is_bypassed(const Request& request, const config::RouteCache& rules)
{
    for (const config::Bypass& bypass : rules.bypass) {
        const bool has = bypass.kind == config::Bypass::Kind::header   ? has_header(request.head.fields, bypass)
                         : bypass.kind == config::Bypass::Kind::cookie ? has_bypass_cookie(request.head.fields, bypass)
                                                                       : has_argument(request.target.query, bypass);
        if (has) {
            return true;
        }
    }
    return false;
}

/// Whether a field may make the server take the request for another one, by its method or its target, while the key does not tell
/// the two apart: then a client could have any answer stored in the place of another (cache poisoning).
bool is_overridden(const Request& request, const config::RouteCache& rules)
{
    return std::ranges::any_of(http::kOverrides, [&](FieldName id) {
        return request.head.fields.has(id) && std::ranges::none_of(rules.key.headers, [id](const std::string& name) {
                   return http::equals_ignoring_case(name, http::spelling(id));
               });
    });
}

bool has_body(const Request& request) noexcept
{
    return request.framing.kind != http::BodyKind::none && !(request.framing.kind == http::BodyKind::length && request.framing.length == 0);
}

/// Finds the object for the request's variant, through the vary record where the URL has one.
shm::CacheFound find(Request& request, CacheVisit& visit)
{
    shm::CacheStore& store = visit.cache.store();
    visit.variant.clear();
    visit.vary_names.clear();
    visit.vary_mark.clear();
    visit.name = store.name(visit.key);
    shm::CacheFound found = store.find(visit.name, visit.url_of_key);
    visit.forwarded = Forwarded::uri_miss;
    if (!found.view || !found.view.is_vary_record()) {
        return found;
    }
    const auto meta = found.view.meta();
    const std::string_view text(reinterpret_cast<const char*>(meta.data()), meta.size());
    const std::size_t end = text.find('\n');
    visit.vary_names = text.substr(0, end);
    visit.vary_mark = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    name_variant(request);
    visit.forwarded = Forwarded::vary_miss;
    return store.find(visit.name, visit.url_of_key);
}

/// Whether another's fetch, for which this request waited, brought what was found.
bool has_come_while_waiting(const Request& request, const CacheVisit& visit)
{
    if (visit.waits_since == 0) {
        return false;
    }
    const auto waited_ms = static_cast<std::int64_t>((request.parts.loop.now() - visit.waits_since) / 1'000'000);
    return visit.meta.response_ms >= wall_clock_ms() - waited_ms;
}

/// What is to be done with the object that was found.
Found judge_found(Request& request, CacheVisit& visit, bool soft_purged)
{
    visit.meta = http::StoredMeta::read(visit.view.meta());
    const http::Judgement judgement =
        http::judge(visit.meta.freshness, visit.directives, wall_clock_ms(), soft_purged ? http::Purged::softly : http::Purged::no);
    visit.is_stale = judgement.reuse != http::Reuse::fresh;
    switch (judgement.reuse) {
    case http::Reuse::fresh:
        return Found::hit;
    case http::Reuse::stale_revalidating:
        revalidate_in_background(request);
        return Found::hit;
    case http::Reuse::stale_allowed:
        return Found::hit;
    case http::Reuse::validate:
        break;
    }
    visit.forwarded = judgement.reason == http::ValidateReason::request ? Forwarded::request : Forwarded::stale;
    if (has_come_while_waiting(request, visit)) {
        visit.has_waited_enough = true; // the next one would be of no more use to this request
    }
    if (visit.view.state() != shm::CacheState::complete) {
        visit.view = {};
    }
    return Found::ask;
}

/// Whether the response to this request could be of use to others, so that they wait for it.
bool is_shareable(const Request& request, const CacheVisit& visit) noexcept
{
    const bool wants_part = request.head.fields.has(FieldName::range) && !wants_all(visit);
    const bool is_always_validated = visit.view && (visit.meta.freshness.has(http::StoredFreshness::kAlwaysValidate) ||
                                                    visit.meta.freshness.lifetime_s == 0);
    return visit.may_store && !visit.directives.no_store && (visit.view || !wants_part) && !is_always_validated &&
           !request.head.fields.has(FieldName::authorization);
}

/// Claims what the disk has; nothing: it is not to be had from there.
std::optional<Found> claim_load(CacheVisit& visit)
{
    if (!is_on_disk(visit) || visit.has_waited_enough) {
        return std::nullopt;
    }
    visit.claim = visit.cache.store().fills().claim(visit.name.hash, loop::clock_now());
    switch (visit.claim.outcome) {
    case shm::ClaimOutcome::mine: return Found::load;
    case shm::ClaimOutcome::others: return Found::wait;
    default: return std::nullopt;
    }
}

} // namespace

http::KeyTarget target_of(const Request& request) noexcept
{
    return {request.scheme,
            request.authority.empty() ? std::string_view(request.site->name) : request.authority,
            request.target.lacks_slash ? std::string_view("/") : request.target.path,
            request.target.query,
            request.target.path_and_query.find('?') != std::string_view::npos};
}

bool wants_all(const CacheVisit& visit) noexcept
{
    return visit.wanted && !visit.wanted->is_suffix && visit.wanted->first == 0 && visit.wanted->last == UINT64_MAX;
}

void name_variant(Request& request)
{
    CacheVisit& visit = *request.cache;
    visit.variant.clear();
    http::append_variant(visit.vary_names, request.head.fields, http::Normalise::yes, visit.variant);
    visit.variant.append("#").append(visit.vary_mark);
    visit.name = visit.cache.store().name(visit.key, visit.variant);
}

void begin_visit(Request& request)
{
    CacheVisit& visit = request.cache.emplace(*request.parts.cache, *request.route->cache);
    const http::KeyTarget target = target_of(request);
    visit.key.reserve(target.scheme.size() + target.authority.size() + request.target.path_and_query.size() + 8);
    http::append_key(target, &request.head.fields, visit.rules.key, visit.key);
    if (!request.route->cache_mark.empty()) {
        visit.key.append(request.route->cache_mark).append(request.live->config->upstreams[request.upstream].name);
    }
    visit.url_of_key = std::string_view(visit.key).substr(0, visit.key.find('\n'));
    visit.name = visit.cache.store().name(visit.key);
    visit.cache.store().prefetch(visit.name.hash);
    if (visit.rules.obeys_request) {
        visit.directives = http::request_directives(request.head.fields);
    }
    const http::Method method = request.head.method;
    if (is_overridden(request, visit.rules)) {
        visit.forwarded = Forwarded::bypass;
        visit.detail = "override";
    } else if (method != http::Method::get && !(method == http::Method::head && visit.rules.answers_head)) {
        visit.forwarded = Forwarded::method;
        visit.may_store = method == http::Method::post && visit.rules.rules.stores_post;
    } else if (is_bypassed(request, visit.rules)) {
        visit.forwarded = Forwarded::bypass;
    } else if (request.wants_upgrade || has_body(request)) {
        visit.forwarded = Forwarded::bypass;
        visit.detail = request.wants_upgrade ? "upgrade" : "request-body";
    } else {
        visit.looks_up = true;
        visit.wanted = method == http::Method::get ? http::single_range(request.head.fields) : std::nullopt;
    }
}

Found look_up(Request& request)
{
    CacheVisit& visit = *request.cache;
    if (!visit.looks_up) {
        return Found::ask;
    }
    shm::CacheStore& store = visit.cache.store();
    shm::CacheFound found = find(request, visit);
    visit.view = std::move(found.view);
    visit.is_part = false;
    if (visit.view && visit.view.is_on_disk() && avoids_disk(visit)) {
        visit.view = {};
    }
    if (!visit.view) {
        if (const std::optional<Found> load = claim_load(visit)) {
            return *load;
        }
    }
    if (visit.view && judge_found(request, visit, found.soft_purged) == Found::hit) {
        const bool asks_for_state = request.head.fields.has(FieldName::if_match) || request.head.fields.has(FieldName::if_unmodified_since);
        if (!visit.is_stale || !asks_for_state) {
            visit.forwarded = Forwarded::no;
            write_after_hit(visit.cache, visit.view);
            return Found::hit;
        }
        visit.forwarded = Forwarded::stale;
    }
    if (!visit.view && find_part(request)) {
        visit.forwarded = Forwarded::no;
        return Found::hit;
    }
    if (visit.directives.only_if_cached) {
        return Found::none;
    }
    visit.may_store = request.head.method == http::Method::get;
    if (visit.part) {
        visit.forwarded = Forwarded::partial;
    }
    if (!is_shareable(request, visit)) {
        return Found::ask;
    }
    if (!visit.view && visit.rules.min_uses > 1 && shm::count_request(store.arena(), visit.name.hash) < visit.rules.min_uses) {
        visit.may_store = false;
        visit.detail = "min-uses";
        return Found::ask;
    }
    if (!visit.has_waited_enough) {
        visit.claim = store.fills().claim(visit.name.hash, loop::clock_now());
    }
    if (visit.claim.outcome == shm::ClaimOutcome::others) {
        return Found::wait;
    }
    visit.is_known_uncacheable = visit.claim.outcome == shm::ClaimOutcome::uncacheable;
    return Found::ask;
}

loop::Task<std::optional<Answer>> wait_for_others(Request& request)
{
    CacheVisit& visit = *request.cache;
    ClientStream& client = request.client;
    request.parts.row.add(shm::Metric::cache_waits);
    visit.is_collapsed = true;
    if (visit.waits_since == 0) {
        visit.waits_since = request.parts.loop.now();
    }
    const loop::Nanos until = visit.waits_since + loop::to_nanos(request.live->config->cache.wait);
    const CacheWaiter waiter(visit.cache, client.wake, visit.claim);
    while (!waiter.has_news()) {
        const loop::Nanos now = request.parts.loop.now();
        if (now >= until) {
            visit.has_waited_enough = true;
            visit.is_collapsed = false;
            visit.claim = {};
            co_return std::nullopt;
        }
        client.alarm.set(std::chrono::milliseconds((until - now) / 1'000'000 + 1));
        co_await client.wake.wait();
        if (client.has_left()) {
            co_return Answer{499, Reason::client_left};
        }
    }
    visit.claim = {};
    co_return std::nullopt;
}

} // namespace ladle::worker
