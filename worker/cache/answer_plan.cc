// SPDX-License-Identifier: Apache-2.0
#include "worker/cache/answer_plan.h"

#include "common/http/conditional.h"
#include "common/http/range.h"
#include "common/http/stored_fields.h"
#include "worker/cache/parts.h"
#include "worker/cache/stored_fields.h"

#include <fmt/format.h>

#include <sys/random.h>

#include <algorithm>
#include <charconv>
#include <tuple>

namespace ladle::worker {

namespace {

using http::FieldName;

void append_line(std::string_view name, std::string_view value, std::string& out)
{
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
}

/// The lines of a 304: what tells the client about its own copy (RFC 9110 §15.4.5).
std::string lines_of_not_modified(const http::Fields& fields)
{
    std::string lines;
    const bool has_etag = fields.has(FieldName::etag);
    for (const http::Field& field : fields) {
        if (http::is_in_304(field.id, fields.name(field), has_etag)) {
            append_line(fields.name(field), fields.value(field), lines);
        }
    }
    return lines;
}

std::string lines_without(const http::Fields& fields, FieldName a, FieldName b)
{
    std::string lines;
    for (const http::Field& field : fields) {
        if (field.id != a && field.id != b) {
            append_line(fields.name(field), fields.value(field), lines);
        }
    }
    return lines;
}

/// A boundary that no content has, by chance or because somebody foresaw it: random.
std::string make_boundary()
{
    std::uint64_t random[2] = {};
    std::ignore = ::getrandom(random, sizeof random, 0); // of so few bytes it does not fail once the system has started
    return fmt::format("ladle-{:016x}{:016x}", random[0], random[1]);
}

void plan_one_range(const http::ByteRange& range, std::uint64_t length, AnswerPlan& plan)
{
    plan.status = 206;
    plan.length = range.length();
    plan.parts = {{{}, range.first, range.last + 1}};
    plan.more_lines += "Content-Range: ";
    http::append_content_range(range, length, plan.more_lines);
    plan.more_lines += "\r\n";
}

/// The Content-Type that the whole would have; "" = none.
std::string_view type_of_whole(const Request& request, const StoredFields& stored) noexcept
{
    const config::FieldEdits* edits = find_response_edits(request);
    if (edits == nullptr || !edits->drops("Content-Type")) {
        return stored.fields().value_of(FieldName::content_type);
    }
    const auto set = std::ranges::find(edits->set, FieldName::content_type,
                                       [](const config::FieldEdits::Set& one) { return http::find_field_name(one.name); });
    return set == edits->set.end() ? std::string_view{} : std::string_view(set->value);
}

void plan_many_ranges(std::string_view type, const StoredFields& stored, const http::RangeSet& ranges, std::uint64_t length,
                      AnswerPlan& plan)
{
    const std::string boundary = make_boundary();
    const http::Multipart multipart{boundary, type, length};
    plan.is_multipart = true;
    plan.status = 206;
    plan.length = http::multipart_length(multipart, ranges);
    plan.parts.clear();
    for (const http::ByteRange& range : ranges) {
        AnswerPart part{{}, range.first, range.last + 1};
        http::append_part_head(multipart, range, plan.parts.empty(), part.before);
        plan.parts.push_back(std::move(part));
    }
    http::append_multipart_end(multipart, plan.after);
    plan.own_lines = lines_without(stored.fields(), FieldName::content_type, FieldName::content_range);
    plan.lines = plan.own_lines;
    plan.more_lines += "Content-Type: multipart/byteranges; boundary=" + boundary + "\r\n";
}

/// Conditions and ranges, for the requests that have such. True: the plan is made.
bool plan_by_fields(const Request& request, std::uint64_t length, AnswerPlan& plan)
{
    const CacheVisit& visit = *request.cache;
    const http::Fields& asked = request.head.fields;
    const std::int64_t now_s = wall_clock_ms() / 1000;
    const StoredFields stored(visit.view.head());
    const http::Validators validators = http::find_validators(stored.fields(), now_s);
    if (http::is_conditional(asked)) {
        const auto met = http::evaluate(request.head.method, asked, validators, visit.meta.response_ms / 1000, now_s);
        if (met == http::Precondition::not_modified) {
            plan.status = 304;
            plan.own_lines = lines_of_not_modified(stored.fields());
            plan.lines = plan.own_lines;
            plan.form = BodyForm::none;
            return true;
        }
        if (met == http::Precondition::failed) {
            plan.status = 412;
            plan.lines = {};
            plan.form = BodyForm::length;
            plan.length = 0;
            return true;
        }
    }
    const bool may_range = asked.has(FieldName::range) && request.head.method == http::Method::get && length != shm::kBodyUnknown &&
                           http::range_may_apply(asked, validators, now_s);
    if (!may_range) {
        return false;
    }
    http::RangeSet ranges;
    switch (http::resolve_ranges(asked, length, ranges)) {
    case http::RangeAnswer::whole:
        return false;
    case http::RangeAnswer::unsatisfiable:
        plan.status = 416;
        plan.lines = {};
        plan.length = 0;
        plan.more_lines += "Content-Range: ";
        http::append_unsatisfied_range(length, plan.more_lines);
        plan.more_lines += "\r\n";
        return true;
    case http::RangeAnswer::parts:
        break;
    }
    if (ranges.size == 1) {
        plan_one_range(ranges.items[0], length, plan);
        if (stored.fields().has(FieldName::content_range)) { // of a 200, where it has no meaning (RFC 9110 §14.4)
            plan.own_lines = lines_without(stored.fields(), FieldName::content_range, FieldName::content_range);
            plan.lines = plan.own_lines;
        }
    } else {
        plan_many_ranges(type_of_whole(request, stored), stored, ranges, length, plan);
    }
    return true;
}

/// A stored part: the wanted bytes of it.
void plan_part(const Request& request, AnswerPlan& plan)
{
    const CacheVisit& visit = *request.cache;
    const http::ByteRange range = range_in_part(visit).value_or(
        http::ByteRange{visit.meta.part_first, visit.meta.part_first + visit.view.body_bytes() - 1});
    plan_one_range(range, visit.meta.part_total, plan);
    plan.parts.front().begin -= visit.meta.part_first;
    plan.parts.front().end -= visit.meta.part_first;
}

} // namespace

AnswerPlan plan_answer(const Request& request)
{
    const CacheVisit& visit = *request.cache;
    AnswerPlan plan;
    const bool is_whole = visit.view.state() == shm::CacheState::complete; // asked before the length
    const std::uint64_t length = is_whole ? visit.view.filled() : visit.view.body_bytes();
    plan.status = visit.meta.freshness.status;
    plan.lines = visit.view.head();
    const std::uint32_t age = http::age_field(visit.meta.freshness, wall_clock_ms());
    plan.more_lines.reserve(160); // all of it, mostly
    char number[16];
    plan.more_lines.append("Age: ").append(number, std::to_chars(number, number + sizeof number, age).ptr).append("\r\n");
    if (visit.is_part) {
        plan_part(request, plan);
        return plan;
    }
    const http::Fields& asked = request.head.fields;
    const bool is_special = plan.status == 200 && (http::is_conditional(asked) || asked.has(FieldName::range));
    if (is_special && plan_by_fields(request, length, plan)) {
        return plan;
    }
    const bool has_no_body = plan.status == 204 || plan.status == 304;
    if (length == shm::kBodyUnknown) {
        plan.form = request.head.version == http::Version::http_1_1 ? BodyForm::chunked : BodyForm::to_close;
    } else if (has_no_body) {
        plan.form = BodyForm::none;
    }
    plan.length = length;
    if (request.head.method == http::Method::head) {
        plan.shows_length = plan.form == BodyForm::length;
        plan.form = BodyForm::none;
    } else if (!has_no_body && length != 0) {
        plan.parts.push_back({{}, 0, length});
    }
    return plan;
}

} // namespace ladle::worker
