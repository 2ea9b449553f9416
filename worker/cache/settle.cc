// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/settle.h"

#include "common/http/conditional.h"
#include "common/http/invalidation.h"
#include "common/http/range.h"
#include "common/http/stored_fields.h"
#include "common/http/vary.h"
#include "worker/cache/begin_fill.h"
#include "worker/cache/cache.h"
#include "worker/cache/disk_tier.h"
#include "worker/cache/disk_write.h"
#include "worker/cache/large.h"
#include "worker/cache/look_up.h"
#include "worker/cache/parts.h"
#include "worker/cache/stored_fields.h"
#include "worker/request/hop_by_hop.h"

#include <string>
#include <tuple>

namespace ladle::worker {

namespace {

using http::FieldName;

constexpr std::uint64_t kAfterFailureNs = 1'000'000'000; // so long nobody waits for others after a server has failed

std::int64_t seconds(std::int64_t ms) noexcept
{
    return ms / 1000;
}

/// The response is not wanted any more: the connection goes with it unless it has ended.
void drop_response(Turn& turn)
{
    if (!turn.body.is_complete()) {
        turn.stream.reset();
    }
    turn.release();
}

void end_claim_for(Request& request, std::uint64_t nanos) noexcept
{
    request.cache->end_claim(shm::FillEnd::uncacheable, loop::clock_now() + nanos);
}

/// The stale response that stands in for a failing server, if there is one and it may.
bool may_stand_in(Request& request, http::ServerFailure failure)
{
    const CacheVisit& visit = *request.cache;
    return visit.view && visit.rules.stale_on_error &&
           http::may_serve_on_error(visit.meta.freshness, visit.directives, wall_clock_ms(), failure, visit.rules.disconnected_s);
}

Settled settle_failure(Request& request, std::optional<Answer>& failed)
{
    CacheVisit& visit = *request.cache;
    if (failed->status == 499) {
        visit.end_claim(shm::FillEnd::over); // one of those who wait asks in its place
        return Settled::pass;
    }
    end_claim_for(request, kAfterFailureNs);
    if (failed->status < 500 || !may_stand_in(request, http::ServerFailure::no_answer)) {
        return Settled::pass;
    }
    visit.detail = name_of(failed->reason);
    visit.is_stale = true;
    request.parts.row.add(shm::Metric::cache_stale_on_error);
    failed.reset();
    return Settled::serve;
}

/// Whether `names` tells for whom a response is, by its Vary (lower case, sorted, "" = for all). Not so: it is for nobody else.
/// That is "*", more names than are told apart, what is no name (RFC 9110 §12.5.5), and the fields that we write ourselves, anew
/// for each client or request: what a client says in them is not what its server saw.
bool is_varying_by_names(const CacheVisit& visit, const http::Fields& response, std::string& names)
{
    names.clear();
    if (!visit.rules.vary) {
        return true;
    }
    if (http::read_vary(response, names) == http::VaryKind::any) {
        return false;
    }
    std::string_view rest = names;
    std::string_view name;
    while (http::next_list_element(rest, name)) {
        switch (http::find_field_name(name)) {
        case FieldName::x_forwarded_for:
        case FieldName::forwarded:
        case FieldName::x_request_id:
            return false;
        default:
            break;
        }
    }
    return true;
}

/// A stored head brought up to date by the fields that a 304, or the answer to a HEAD, brought.
struct Merged {
    std::string head;
    http::StoreDecision decision;
};

/// The lines of `head` without Date, which is now's where the server did not say (RFC 9110 §6.6.1).
std::string with_date(const std::string& head, std::string_view date_line)
{
    const StoredFields merged(head);
    std::string lines;
    for (const http::Field& field : merged.fields()) {
        if (field.id != FieldName::date) {
            lines.append(merged.fields().name(field)).append(": ").append(merged.fields().value(field)).append("\r\n");
        }
    }
    return lines.append(date_line);
}

Merged merge(Request& request, const http::Fields& stored, const http::StoredFreshness& old, std::int64_t response_ms)
{
    const CacheVisit& visit = *request.cache;
    const http::Fields& received = request.response.fields;
    Merged result;
    http::append_merged_head(stored, received, http::find_policy(received).directives,
                             visit.rules.rules.cookies != http::CookieRule::ignore, result.head);
    if (!received.has(FieldName::date)) {
        result.head = with_date(result.head, request.parts.date);
    }
    const StoredFields merged(result.head);
    const http::Policy policy = http::find_policy(merged.fields());
    result.decision =
        http::decide_refreshing({old, merged.fields(), received, policy, visit.request_ms, response_ms}, visit.rules.rules);
    std::string old_names;
    std::string names;
    std::ignore = is_varying_by_names(visit, stored, old_names);
    if (!is_varying_by_names(visit, merged.fields(), names) || names != old_names) {
        result.decision.reason = http::NotStored::vary_any; // it is stored under a name that does not tell for whom it is
    }
    return result;
}

/// Whether the header of a stub's file is to follow, from what it says at most to what is known now. Not so where a server is asked
/// before either is used; nor where the old one may be used for no more than the new one, and for half as long at least. Else each
/// request for what is always validated would write, and each client who reloads.
bool is_news_for_disk(const http::StoredFreshness& old, const http::StoredFreshness& fresh)
{
    const std::int64_t now_ms = wall_clock_ms();
    const auto counts = [now_ms](const http::StoredFreshness& freshness) {
        return http::judge(freshness, {}, now_ms).reuse != http::Reuse::validate;
    };
    if (!counts(old) || !counts(fresh)) {
        return counts(old) || counts(fresh);
    }
    http::StoredFreshness later = fresh;
    later.born_ms += 1000; // a Date is right to the second: two that say the same may seem to end in the wrong order
    return !http::ends_no_later(old, later) || 2 * http::remaining_s(old, now_ms) < http::remaining_s(fresh, now_ms);
}

/// Puts the same body under a new head. Not to be had now: false, and the old one stays as it is.
bool freshen(CacheVisit& visit, shm::CacheView& view, const http::StoredMeta& meta, std::string_view head)
{
    shm::CacheObject object;
    object.name = visit.name;
    const http::PackedMeta packed = meta.pack();
    object.meta = packed.bytes();
    object.head = head;
    object.tags = view.tags();
    object.epoch = visit.epoch;
    auto freshened = visit.cache.store().freshen(view, object);
    if (freshened) {
        const bool is_to_be_written =
            view.is_on_disk() && is_news_for_disk(http::StoredMeta::read(view.meta()).freshness, meta.freshness);
        view = std::move(*freshened);
        if (is_to_be_written) {
            write_head_to_disk(visit.cache, view);
        } else if (!view.is_on_disk()) {
            visit.cache.outdate_head(view);
        }
    }
    return freshened.has_value();
}

/// A 304 to our own validation (RFC 9111 §4.3.4).
Settled settle_validated(Request& request, Turn& turn)
{
    CacheVisit& visit = *request.cache;
    const std::int64_t response_ms = wall_clock_ms();
    mark_hop_by_hop(request.response.fields);
    const StoredFields stored(visit.view.head());
    const http::Validators validators = http::find_validators(stored.fields(), seconds(response_ms));
    std::string head(visit.view.head());
    bool may_keep = true;
    visit.meta.request_ms = visit.request_ms;
    visit.meta.response_ms = response_ms;
    if (http::match_validation(request.response.fields, validators, seconds(response_ms)) == http::Validated::update) {
        Merged merged = merge(request, stored.fields(), visit.meta.freshness, response_ms);
        head = std::move(merged.head);
        may_keep = merged.decision.may_store();
        visit.meta.source = merged.decision.source;
        visit.meta.freshness = may_keep ? merged.decision.freshness
                                        : http::touched(visit.meta.freshness, visit.request_ms, response_ms);
    } else {
        visit.meta.freshness = http::touched(visit.meta.freshness, visit.request_ms, response_ms);
    }
    if (may_keep) {
        visit.is_stored = freshen(visit, visit.view, visit.meta, head);
    } else {
        visit.cache.remove(visit.view);
    }
    visit.server_status = 304;
    visit.is_stale = false;
    request.parts.row.add(shm::Metric::cache_validated);
    drop_response(turn);
    visit.end_claim(shm::FillEnd::over);
    return Settled::serve;
}

/// What the answer to a HEAD says about a stored response to GET (RFC 9111 §4.3.5).
void learn_from_head(Request& request)
{
    CacheVisit& visit = *request.cache;
    shm::CacheStore& store = visit.cache.store();
    shm::CacheFound found = store.find(visit.name, visit.url_of_key); // nothing that is purged: it would come back to life
    shm::CacheView& view = found.view;
    if (!view || found.soft_purged || view.is_vary_record() || view.state() != shm::CacheState::complete) {
        return;
    }
    const std::int64_t now_ms = wall_clock_ms();
    http::StoredMeta meta = http::StoredMeta::read(view.meta());
    const StoredFields stored(view.head());
    const http::Validators validators = http::find_validators(stored.fields(), seconds(now_ms));
    const http::HeadAnswer answer{request.response.status, request.response.fields, meta.freshness.status, view.body_bytes()};
    switch (http::judge_head(answer, validators, seconds(now_ms))) {
    case http::HeadSays::nothing:
        return;
    case http::HeadSays::outdated:
        visit.cache.remove(view);
        return;
    case http::HeadSays::update:
        break;
    }
    const Merged merged = merge(request, stored.fields(), meta.freshness, now_ms);
    if (!merged.decision.may_store()) {
        visit.cache.remove(view);
        return;
    }
    meta.freshness = merged.decision.freshness;
    freshen(visit, view, meta, merged.head);
}

ForgottenOnDisk& owed_to_disk(CacheVisit& visit)
{
    if (!visit.forgotten) {
        visit.forgotten = std::make_unique<ForgottenOnDisk>();
    }
    return *visit.forgotten;
}

/// The URL as others write it, for what an unsafe request makes invalid and where an answer to POST may be stored.
std::string url_of(const Request& request)
{
    std::string url;
    http::append_url(target_of(request), url);
    return url;
}

void remove_from_disk(CacheVisit& visit, const shm::CacheHash& hash, const std::string& key)
{
    DiskTier* const disk = visit.cache.disk();
    if (const std::uint64_t file = disk != nullptr ? disk->forget(hash) : 0; file != 0) {
        ForgottenOnDisk& forgotten = owed_to_disk(visit);
        forgotten.files.push_back(file);
        forgotten.keys.push_back(key);
    }
}

/// Whether the disk has something of this name again, or may come to have it.
bool is_coming_to_disk(CacheVisit& visit, const shm::CacheHash& hash)
{
    DiskTier* const disk = visit.cache.disk();
    return disk != nullptr && (disk->is_being_written(hash) || disk->has(hash));
}

/// Takes what is stored under this key out of disk and memory, of which there are two names whatever the routes are. False: only a
/// purge can find all of it: where routes mark their keys, or headers are in them, they are too many to be looked for.
bool remove_stored(const Request& request, CacheVisit& visit, const std::string& key)
{
    shm::CacheStore& store = visit.cache.store();
    const config::RouteCache& rules = visit.rules;
    if (!rules.key.headers.empty() || !rules.key.cookies.empty() || request.site->marks_keys) {
        return false;
    }
    const std::string part = part_variant({});
    for (const shm::CacheName& name : {store.name(key), store.name(key, part)}) {
        store.fills().spoil(name.hash); // what is just being fetched is from before
        const shm::CacheHash large = hash_of_large(name.hash);
        const bool is_large_coming = store.fills().is_claimed(large);
        store.fills().spoil(large);
        // The disk first: who loads it shows it in memory and looks at the disk then. Who writes it does it the other way round.
        remove_from_disk(visit, name.hash, key);
        // Without the record of its variants none of them is found again, as the next record has another mark.
        const shm::CacheView view = store.peek(name);
        if ((view && !store.remove(view.ref())) || is_large_coming || is_coming_to_disk(visit, name.hash)) {
            return false;
        }
    }
    return true;
}

/// RFC 9111 §4.4. The table of purges is used where nothing else finds what is stored: requests that change something are many, and
/// each place that they took there would make what is remembered of other purges coarser, up to a cache that is empty.
void invalidate(Request& request, std::string_view url)
{
    CacheVisit& visit = *request.cache;
    shm::PurgeTable& purges = visit.cache.store().purges();
    const http::Invalidated invalid = http::find_invalidated(url, request.response.fields);
    for (std::size_t i = 0; i < invalid.size; ++i) {
        http::KeyTarget target;
        std::string key;
        if (!http::split_url(invalid.urls[i], target)) {
            continue;
        }
        http::append_key(target, nullptr, visit.rules.key, key);
        request.parts.row.add(shm::Metric::cache_invalidated);
        if (remove_stored(request, visit, key)) {
            continue;
        }
        if (visit.cache.disk() != nullptr) {
            owed_to_disk(visit).purge(purges, key);
        } else {
            std::ignore = purges.purge_url(key, shm::PurgeKind::hard);
        }
    }
    visit.epoch = purges.epoch(); // the response itself is from after that
}

/// The part that was to be completed is of another representation: what came is no answer to the client's own request.
Settled forget_part(Request& request, Turn& turn)
{
    CacheVisit& visit = *request.cache;
    std::ignore = visit.cache.store().remove(visit.part.ref());
    visit.part = {};
    visit.joins = CacheVisit::Joins::nothing;
    visit.has_bad_part = true;
    drop_response(turn);
    visit.end_claim(shm::FillEnd::over);
    return Settled::again;
}

/// Whether a response tells what has become of the resource. Other errors tell something about the request, and a client who makes
/// such requests must not drive out what answers those of others.
bool replaces_stored(std::uint16_t status) noexcept
{
    return status < 400 || status == 404 || status == 410;
}

/// Whether the reason lies in the response, so that the next request for the URL fares no better.
bool is_lasting(http::NotStored reason) noexcept
{
    switch (reason) {
    case http::NotStored::none:
    case http::NotStored::method:
    case http::NotStored::request_no_store:
    case http::NotStored::authorization:
        return false;
    default:
        return true;
    }
}

http::StoreDecision decide(const Request& request, const std::string& url, const http::Policy& policy)
{
    const CacheVisit& visit = *request.cache;
    http::StoreRules rules = visit.rules.rules;
    rules.stores_parts = true;
    http::StoreDecision decision =
        http::decide_storing({request.head.method, request.head.fields, visit.directives, url, request.response.status,
                              request.response.fields, policy, visit.request_ms, wall_clock_ms()},
                             rules);
    if (std::string names; decision.may_store() && !is_varying_by_names(visit, request.response.fields, names)) {
        decision.reason = http::NotStored::vary_any;
    }
    return decision;
}

/// The response goes to the client as it is, as the request did to the server.
Settled pass_as_it_is(Request& request, const std::string& url)
{
    CacheVisit& visit = *request.cache;
    if (visit.is_known_uncacheable && request.response.status == 206) {
        const http::StoreDecision decision = decide(request, url, http::find_policy(request.response.fields));
        if (decision.may_store()) {
            see_part_of_large(request, decision.freshness);
        }
    }
    visit.end_claim(shm::FillEnd::over);
    return Settled::pass;
}

/// How long requests for what was not stored go to the server without waiting for each other.
std::uint64_t pause_after(const Request& request, bool is_lasting) noexcept
{
    const bool is_failure = http::is_server_error(request.response.status);
    return is_lasting && !is_failure ? loop::to_nanos(request.live->config->cache.uncacheable_for) : kAfterFailureNs;
}

} // namespace

void prepare_to_ask(Request& request)
{
    CacheVisit& visit = *request.cache;
    request.added_fields.clear();
    request.hides_conditions = false;
    visit.validates = false;
    visit.joins = CacheVisit::Joins::nothing;
    visit.epoch = visit.cache.store().purges().epoch();
    visit.request_ms = wall_clock_ms();
    if (!visit.may_store) {
        return;
    }
    const http::Fields& fields = request.head.fields;
    const bool has_range = fields.has(FieldName::range);
    if (visit.view) {
        const StoredFields stored(visit.view.head());
        const http::Validators validators = http::find_validators(stored.fields(), seconds(visit.request_ms));
        if (validators.etag) {
            request.added_fields += validators.etag->is_weak ? "If-None-Match: W/" : "If-None-Match: ";
            request.added_fields += validators.etag->text;
            request.added_fields += "\r\n";
        }
        if (!validators.last_modified_text.empty()) {
            request.added_fields += "If-Modified-Since: ";
            request.added_fields += validators.last_modified_text;
            request.added_fields += "\r\n";
        }
        visit.validates = validators.any();
        request.hides_conditions = true;
        return;
    }
    if (visit.wants_whole) {
        request.hides_conditions = true;
        return;
    }
    request.added_fields = ask_for_rest(request);
    if (!request.added_fields.empty()) {
        request.hides_conditions = true;
        return;
    }
    const bool is_small = visit.part && visit.part_meta.part_total <= request.live->config->cache.finish_bytes;
    if (visit.is_known_uncacheable && (http::is_conditional(fields) || has_range)) {
        visit.may_store = false; // it goes to the server as it is
    } else if (!has_range || wants_all(visit) || is_small) {
        request.hides_conditions = true;
    }
}

Settled settle(Request& request, Turn& turn, std::optional<Answer>& failed)
{
    CacheVisit& visit = *request.cache;
    request.added_fields.clear();
    if (failed) {
        return settle_failure(request, failed);
    }
    const std::uint16_t status = request.response.status;
    if (status == 101) {
        visit.end_claim(shm::FillEnd::over);
        return Settled::pass;
    }
    if (visit.validates && status == 304) {
        return settle_validated(request, turn);
    }
    if (http::is_server_error(status) && may_stand_in(request, http::ServerFailure::error_status)) {
        visit.server_status = status;
        visit.is_stale = true;
        request.parts.row.add(shm::Metric::cache_stale_on_error);
        drop_response(turn);
        end_claim_for(request, kAfterFailureNs);
        return Settled::serve;
    }
    mark_hop_by_hop(request.response.fields);
    const std::string url = request.head.method == http::Method::get ? std::string() : url_of(request);
    if (http::is_invalidating(request.head.method, status)) {
        invalidate(request, url);
    }
    if (request.head.method == http::Method::head) {
        learn_from_head(request);
    }
    if (!visit.may_store) {
        return pass_as_it_is(request, url);
    }
    if (visit.joins != CacheVisit::Joins::nothing && (status == 206 || status == 416) &&
        !(status == 206 && shape_of_part(request, announced_bytes(turn)))) {
        return forget_part(request, turn);
    }
    if (status != 206) {
        visit.joins = CacheVisit::Joins::nothing;
    }
    const http::Policy policy = http::find_policy(request.response.fields);
    const http::StoreDecision decision = decide(request, url, policy);
    visit.detail = http::name_of(decision.reason);
    const bool is_begun = decision.may_store() && begin_fill(request, turn, decision, policy.directives);
    if (decision.may_store() && status == 206) {
        see_part_of_large(request, decision.freshness);
    }
    if (is_begun) {
        return Settled::serve;
    }
    if (visit.view && replaces_stored(status) && decision.reason != http::NotStored::authorization) {
        visit.cache.remove(visit.view); // the server has another answer now, which is not to be kept
    }
    visit.view = {};
    if (is_lasting(decision.reason) || decision.may_store()) { // for which the cache has no room now
        end_claim_for(request, pause_after(request, is_lasting(decision.reason) || visit.is_large));
    } else {
        visit.end_claim(shm::FillEnd::over);
    }
    return Settled::pass;
}

} // namespace ladle::worker
