// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/parts.h"

#include "common/http/conditional.h"
#include "worker/cache/cache.h"
#include "worker/cache/stored_fields.h"

#include <fmt/format.h>

#include <algorithm>

namespace ladle::worker {

namespace {

constexpr std::string_view kPartMark = "\x01part"; // no field name begins so: never the text of a variant
constexpr std::uint64_t kMostJoined = 16 << 20;    // bytes of a part that are copied for its rest: it is done in one go

/// The wanted bytes of a representation of `total`; nothing if there are none.
std::optional<http::ByteRange> resolve(const http::WantedRange& wanted, std::uint64_t total) noexcept
{
    if (total == 0 || (wanted.is_suffix ? wanted.first == 0 : wanted.first >= total)) {
        return std::nullopt;
    }
    if (wanted.is_suffix) {
        return http::ByteRange{total - std::min(wanted.first, total), total - 1};
    }
    return http::ByteRange{wanted.first, std::min(wanted.last, total - 1)};
}

std::uint64_t last_of(const CacheVisit& visit) noexcept
{
    return visit.part_meta.part_first + visit.part.body_bytes() - 1;
}

/// The part's strong ETag, with its quotes; "" = nothing may be joined to it.
std::string strong_etag(const CacheVisit& visit)
{
    const StoredFields stored(visit.part.head());
    const auto etag = http::find_validators(stored.fields(), wall_clock_ms() / 1000).etag;
    return etag && !etag->is_weak ? std::string(etag->text) : std::string();
}

} // namespace

std::string part_variant(std::string_view variant)
{
    return std::string(variant).append(kPartMark);
}

bool find_part(Request& request)
{
    CacheVisit& visit = *request.cache;
    visit.part_variant = part_variant(visit.variant);
    visit.part = {};
    if (request.head.method != http::Method::get || visit.has_bad_part || http::is_conditional(request.head.fields)) {
        return false;
    }
    shm::CacheStore& store = visit.cache.store();
    shm::CacheFound found = store.find(store.name(visit.key, visit.part_variant), visit.url_of_key);
    if (!found.view || found.soft_purged || found.view.state() != shm::CacheState::complete || found.view.body_bytes() == 0) {
        return false;
    }
    visit.part_meta = http::StoredMeta::read(found.view.meta());
    const http::Judgement judgement = http::judge(visit.part_meta.freshness, visit.directives, wall_clock_ms());
    if (judgement.reuse != http::Reuse::fresh) {
        return false;
    }
    visit.part = std::move(found.view);
    if (request.head.fields.has(http::FieldName::if_range)) {
        const StoredFields stored(visit.part.head());
        const std::int64_t now_s = wall_clock_ms() / 1000;
        if (!http::range_may_apply(request.head.fields, http::find_validators(stored.fields(), now_s), now_s)) {
            visit.part = {};
            return false;
        }
    }
    const auto wanted = visit.wanted ? resolve(*visit.wanted, visit.part_meta.part_total) : std::nullopt;
    if (!wanted || wanted->first < visit.part_meta.part_first || wanted->last > last_of(visit)) {
        return false;
    }
    visit.view = visit.part.copy();
    visit.meta = visit.part_meta;
    visit.is_part = true;
    return true;
}

std::string ask_for_rest(Request& request)
{
    CacheVisit& visit = *request.cache;
    visit.joins = CacheVisit::Joins::nothing;
    if (!visit.part || visit.part.body_bytes() > kMostJoined) {
        return {};
    }
    const std::uint64_t total = visit.part_meta.part_total;
    const http::ByteRange all{0, total - 1};
    const auto wanted = request.head.fields.has(http::FieldName::range) ? (visit.wanted ? resolve(*visit.wanted, total) : std::nullopt)
                                                                        : std::optional(all);
    const std::uint64_t first = visit.part_meta.part_first;
    const std::uint64_t last = last_of(visit);
    if (!wanted) {
        return {};
    }
    http::ByteRange rest;
    if (wanted->first >= first && wanted->first <= last + 1 && wanted->last > last) {
        visit.joins = CacheVisit::Joins::behind;
        rest = {last + 1, wanted->last};
    } else if (wanted->last <= last && wanted->last + 1 >= first && wanted->first < first) {
        visit.joins = CacheVisit::Joins::before;
        rest = {wanted->first, first - 1};
    } else {
        return {};
    }
    const std::string etag = strong_etag(visit);
    if (etag.empty()) {
        visit.joins = CacheVisit::Joins::nothing;
        return {};
    }
    visit.rest = rest;
    return fmt::format("Range: bytes={}-{}\r\nIf-Range: {}\r\n", rest.first, rest.last, etag);
}

std::optional<PartShape> shape_of_part(const Request& request, std::uint64_t body_bytes)
{
    const CacheVisit& visit = *request.cache;
    const http::Fields& fields = request.response.fields;
    const auto range = fields.count(http::FieldName::content_range) == 1
                           ? http::parse_content_range(fields.value_of(http::FieldName::content_range))
                           : std::nullopt;
    if (!range || range->is_unsatisfied || !range->length || range->range.length() != body_bytes) {
        return std::nullopt;
    }
    const PartShape part{range->range.first, body_bytes, *range->length};
    if (visit.joins == CacheVisit::Joins::nothing) {
        return part;
    }
    const auto etag = http::find_validators(fields, wall_clock_ms() / 1000).etag;
    const bool is_same = etag && !etag->is_weak && etag->text == strong_etag(visit) && part.total == visit.part_meta.part_total &&
                         range->range == visit.rest;
    if (!is_same) {
        return std::nullopt;
    }
    return PartShape{std::min(part.first, visit.part_meta.part_first), part.length + visit.part.body_bytes(), part.total};
}

std::optional<http::ByteRange> range_in_part(const CacheVisit& visit)
{
    const auto wanted = visit.wanted ? resolve(*visit.wanted, visit.meta.part_total) : std::nullopt;
    const std::uint64_t first = visit.meta.part_first;
    const std::uint64_t end = first + visit.view.body_bytes();
    if (!wanted || wanted->first < first || wanted->first >= end) {
        return std::nullopt;
    }
    return http::ByteRange{wanted->first, std::min(wanted->last, end - 1)}; // the server may have given less than was asked for
}

} // namespace ladle::worker
