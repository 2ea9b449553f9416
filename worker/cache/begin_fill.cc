// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/begin_fill.h"

#include "common/http/conditional.h"
#include "common/http/grammar.h"
#include "common/http/stored_fields.h"
#include "common/http/vary.h"
#include "worker/cache/cache.h"
#include "worker/cache/fill.h"
#include "worker/cache/large.h"
#include "worker/cache/look_up.h"
#include "worker/cache/parts.h"
#include "worker/cache/stored_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ladle::worker {

namespace {

using http::FieldName;

constexpr std::size_t kMostTags = 1000;
constexpr std::size_t kMostVaryNames = 32;

std::string_view name_of(shm::CacheRefusal refusal) noexcept
{
    switch (refusal) {
    case shm::CacheRefusal::too_large: return "too-large";
    case shm::CacheRefusal::no_space: return "no-space";
    case shm::CacheRefusal::waiting_for_files: return "waiting-for-files";
    case shm::CacheRefusal::busy: return "busy";
    case shm::CacheRefusal::bad_request: return "key-too-long";
    }
    return "";
}

/// The words of the tag fields (Surrogate-Key has spaces between them, Cache-Tag commas), which are for us alone: not passed on.
/// Nothing if they are too many: a purge by one that is left out would not find the object.
std::optional<std::vector<std::uint64_t>> take_tags(Request& request)
{
    CacheVisit& visit = *request.cache;
    std::vector<std::uint64_t> tags;
    for (http::Field& field : request.response.fields) {
        const std::string_view name = request.response.fields.name(field);
        const bool is_tags = std::ranges::any_of(visit.rules.tag_fields, [&](const std::string& known) {
            return http::equals_ignoring_case(name, known);
        });
        if (!is_tags) {
            field.is_dropped = field.is_dropped || http::equals_ignoring_case(name, "surrogate-control");
            continue;
        }
        field.is_dropped = true;
        std::string_view rest = request.response.fields.value(field);
        while (!rest.empty() && tags.size() <= kMostTags) {
            const std::size_t end = rest.find_first_of(" ,\t");
            if (const std::string_view word = rest.substr(0, end); !word.empty()) {
                tags.push_back(visit.cache.store().purges().tag_subject(word));
            }
            rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
        }
    }
    if (tags.size() > kMostTags) {
        visit.detail = "too-many-tags";
        return std::nullopt;
    }
    return tags;
}

void add_names(std::string_view names, std::set<std::string_view>& all)
{
    while (!names.empty()) {
        const std::size_t comma = names.find(',');
        all.insert(names.substr(0, comma));
        names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
    }
}

/// The names by which the URL's responses are told apart from now on: the response's, and those that count already. A server that
/// names other fields in each response would else make each response hide those before.
std::string join_vary(const std::string& names, const std::string& known)
{
    if (known.empty() || known == names) {
        return names;
    }
    std::set<std::string_view> all;
    add_names(names, all);
    add_names(known, all);
    if (all.size() > kMostVaryNames) {
        return names;
    }
    std::string joined;
    for (const std::string_view name : all) {
        joined += joined.empty() ? "" : ",";
        joined += name;
    }
    return joined;
}

/// Gives the object its name: the key, and the variant where the response varies, of which a record under the key alone tells.
bool name_object(Request& request)
{
    CacheVisit& visit = *request.cache;
    shm::CacheStore& store = visit.cache.store();
    std::string names;
    visit.variant.clear();
    if (!visit.rules.vary || http::read_vary(request.response.fields, names) != http::VaryKind::names) {
        visit.name = store.name(visit.key);
        return true;
    }
    names = join_vary(names, visit.vary_names);
    if (names != visit.vary_names) {
        visit.vary_mark = fmt::format("{:x}", request.parts.loop.now());
        const std::string meta = names + "\n" + visit.vary_mark;
        shm::CacheObject record;
        record.name = store.name(visit.key);
        record.meta = std::as_bytes(std::span(meta));
        record.epoch = visit.epoch;
        record.body_bytes = 0;
        record.vary_record = true;
        const auto stored = store.store(record, {});
        if (!stored) {
            return false;
        }
        visit.cache.outdate(*stored);
        visit.vary_names = names;
    }
    name_variant(request);
    return true;
}

/// The fields that are for this one client: what no-cache="…" and private="…" name, and cookies that the route does not store.
std::string lines_not_stored(const http::Fields& fields, const http::ResponseDirectives& directives, bool cookies_too)
{
    std::string lines;
    for (const http::Field& field : fields) {
        const std::string_view name = fields.name(field);
        if (!field.is_dropped && http::is_stored(field.id, name, {}, true) && !http::is_stored(field.id, name, directives, cookies_too)) {
            lines.append(name).append(": ").append(fields.value(field)).append("\r\n");
        }
    }
    return lines;
}

/// What of a stored head is not true of the object that is made: the range of one 206.
std::string without_content_range(const std::string& head)
{
    const StoredFields stored(head);
    std::string lines;
    for (const http::Field& field : stored.fields()) {
        if (field.id != FieldName::content_range) {
            lines.append(stored.fields().name(field)).append(": ").append(stored.fields().value(field)).append("\r\n");
        }
    }
    return lines;
}

/// Makes a part of the object (206), or the whole where it is complete with what it is joined to.
void make_part(CacheVisit& visit, const PartShape& shape, std::string& head)
{
    head = without_content_range(head);
    visit.meta.part_first = shape.first;
    visit.meta.part_total = shape.total;
    visit.is_part = !shape.is_whole();
    if (visit.is_part) {
        visit.part_variant = part_variant(visit.variant);
        visit.name = visit.cache.store().name(visit.key, visit.part_variant);
    } else {
        visit.meta.freshness.status = 200;
        visit.meta.freshness.flags &= static_cast<std::uint16_t>(~http::StoredFreshness::kIsPartial);
    }
}

bool has_strong_etag(const http::Fields& fields)
{
    const auto etag = http::find_validators(fields, wall_clock_ms() / 1000).etag;
    return etag && !etag->is_weak;
}

/// Sets the body of the object on its way; the visit's view is the object from then on.
bool carry(Request& request, Turn& turn, shm::CacheFill begun, const shm::CacheObject& object)
{
    CacheVisit& visit = *request.cache;
    const config::Cache& settings = request.live->config->cache;
    os::Fd file;
    if (object.in_file) {
        file = visit.cache.make_file(begun.file());
        if (!file) {
            visit.detail = "no-file";
            return false;
        }
    }
    visit.detail = {};
    auto fill = std::make_unique<Fill>(visit.cache, request.live, std::move(turn), std::move(begun), std::move(file),
                                       Fill::Limits{request.timeouts().stall, visit.rules.object_bytes, settings.finish_bytes,
                                                    settings.uncacheable_for},
                                       &visit);
    visit.view = fill->view().copy();
    visit.is_stored = true;
    if (visit.joins != CacheVisit::Joins::nothing) {
        fill->join(std::move(visit.part), visit.joins == CacheVisit::Joins::behind ? Fill::Side::before : Fill::Side::behind);
    }
    if (fill->step() == Fill::State::arriving) {
        // A body without a length may turn out to be more than the cache takes. Who reads along must then be able to go on by itself.
        if (object.body_bytes != shm::kBodyUnknown || has_strong_etag(request.response.fields)) {
            fill->publish();
        } else {
            fill->show_when_complete(std::exchange(visit.claim, {}));
        }
    }
    if (fill->state() == Fill::State::complete) {
        visit.cache.store().fills().forget(visit.name.hash);
    } else {
        Fill::start(std::move(fill));
    }
    visit.end_claim(shm::FillEnd::over);
    return true;
}

} // namespace

std::uint64_t announced_bytes(const Turn& turn) noexcept
{
    switch (turn.body.kind()) {
    case http::BodyKind::none: return 0;
    case http::BodyKind::length: return turn.body.left();
    default: return shm::kBodyUnknown;
    }
}

bool begin_fill(Request& request, Turn& turn, const http::StoreDecision& decision, const http::ResponseDirectives& directives)
{
    CacheVisit& visit = *request.cache;
    const config::Cache& settings = request.live->config->cache;
    if (visit.cache.store().fills().is_spoiled(visit.claim)) {
        visit.detail = "invalidated"; // by a request that changed something while this one was under way
        return false;
    }
    std::uint64_t bytes = announced_bytes(turn);
    std::optional<PartShape> shape;
    if (request.response.status == 206) {
        shape = shape_of_part(request, bytes);
        if (!shape || (!visit.wanted && visit.joins == CacheVisit::Joins::nothing)) { // nobody asked for a part
            visit.detail = "partial";
            return false;
        }
        bytes = shape->length;
    }
    if (bytes != shm::kBodyUnknown && bytes > visit.rules.object_bytes) {
        visit.detail = "too-large";
        return false;
    }
    const auto tags = take_tags(request);
    if (!tags) {
        return false;
    }
    std::string head;
    const bool cookies_too = visit.rules.rules.cookies != http::CookieRule::ignore;
    http::append_stored_head(request.response.fields, directives, cookies_too, head);
    visit.unstored_lines = lines_not_stored(request.response.fields, directives, cookies_too);
    if (!request.response.fields.has(FieldName::date)) {
        head += request.parts.date; // RFC 9110 §6.6.1
    }
    if (!name_object(request)) {
        visit.detail = "no-space";
        return false;
    }
    visit.meta = {};
    visit.meta.freshness = decision.freshness;
    visit.meta.request_ms = visit.request_ms;
    visit.meta.response_ms = wall_clock_ms();
    visit.meta.source = decision.source;
    if (shape) {
        make_part(visit, *shape, head);
    }
    const bool is_for_disk_alone = visit.large_claim.outcome == shm::ClaimOutcome::mine && bytes == shm::kBodyUnknown && !shape;
    if (is_for_disk_alone && see_large(request, 0, decision.freshness)) { // memory did not take it before
        visit.large = std::make_unique<LargeObject>(LargeObject{std::move(head), *tags, bytes});
        return false;
    }
    shm::CacheObject object;
    object.name = visit.name;
    const http::PackedMeta meta = visit.meta.pack();
    object.meta = meta.bytes();
    object.head = head;
    object.tags = *tags;
    object.epoch = visit.epoch;
    object.body_bytes = bytes;
    object.in_file = bytes != shm::kBodyUnknown && bytes > settings.inline_bytes && visit.cache.has_files();
    auto begun = visit.cache.begin(object);
    if (!begun) {
        visit.detail = name_of(begun.error());
        const bool may_be_large = begun.error() == shm::CacheRefusal::too_large && !shape && bytes != shm::kBodyUnknown;
        if (may_be_large && see_large(request, bytes, decision.freshness)) {
            visit.large = std::make_unique<LargeObject>(LargeObject{std::move(head), *tags, bytes});
        }
        return false;
    }
    return carry(request, turn, std::move(*begun), object);
}

} // namespace ladle::worker
