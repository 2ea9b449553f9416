// SPDX-License-Identifier: Apache-2.0
// Which variant, and which answer to a condition: the canonical forms are stable and cannot be forged by a value, a response always
// matches its own validator, and a merged head is one that parses.
#include "common/http/conditional.h"
#include "common/http/stored_fields.h"
#include "common/http/vary.h"
#include "tests/fuzz/field_lines.h"
#include "tests/fuzz/require.h"

#include <algorithm>

using namespace ladle::http;

namespace {

constexpr std::int64_t kNow = 1'700'000'000;

void check_vary(const FieldLinesText& response, const FieldLinesText& request)
{
    std::string names;
    if (read_vary(response.fields, names) != VaryKind::names) {
        return;
    }
    FieldLinesText again;
    again.add("Vary: " + names);
    std::string same;
    REQUIRE(again.parse() && read_vary(again.fields, same) == VaryKind::names && same == names);
    for (const Normalise normalise : {Normalise::yes, Normalise::no}) {
        std::string text;
        append_variant(names, request.fields, normalise, text);
        REQUIRE(std::count(text.begin(), text.end(), '\n') == std::count(names.begin(), names.end(), ',') + 1);
        REQUIRE(text.ends_with('\n') && text.find('\r') == std::string::npos);
    }
}

void check_conditions(const FieldLinesText& response, const FieldLinesText& request)
{
    const Validators validators = find_validators(response.fields, kNow);
    evaluate(Method::get, request.fields, validators, kNow, kNow);
    evaluate(Method::put, request.fields, validators, kNow, kNow);
    range_may_apply(request.fields, validators, kNow);
    match_validation(request.fields, validators, kNow);
    judge_head({200, request.fields, 200, 10}, validators, kNow);
    if (validators.etag) {
        FieldLinesText own;
        own.add("If-None-Match: \"x\", " + std::string(validators.etag->is_weak ? "W/" : "") + std::string(validators.etag->text) +
                ", \"y\"");
        REQUIRE(own.parse() && own.fields.size() == 1);
        REQUIRE(evaluate(Method::get, own.fields, validators, kNow, kNow) == Precondition::not_modified);
    }
    if (validators.last_modified_s) {
        FieldLinesText own;
        own.add("If-Modified-Since: " + std::string(validators.last_modified_text));
        REQUIRE(own.parse() && evaluate(Method::get, own.fields, validators, kNow, kNow) == Precondition::not_modified);
    }
    REQUIRE(match_validation(response.fields, validators, kNow) == Validated::update);
}

void check_heads(const FieldLinesText& response, const FieldLinesText& received)
{
    FieldLinesText stored;
    append_stored_head(response.fields, {}, true, stored.bytes);
    REQUIRE(stored.parse());
    for (const Field& field : stored.fields) {
        REQUIRE(is_stored(field.id, stored.fields.name(field), {}, true));
    }
    FieldLinesText merged;
    append_merged_head(stored.fields, received.fields, {}, true, merged.bytes);
    REQUIRE(merged.parse());
    REQUIRE(merged.fields.value_of(FieldName::etag) == stored.fields.value_of(FieldName::etag));
    REQUIRE(!received.fields.has(FieldName::date) ||
            merged.fields.value_of(FieldName::date) == received.fields.value_of(FieldName::date));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    const std::size_t half = input.find("\n\n");
    FieldLinesText response;
    response.add(input.substr(0, half));
    FieldLinesText request;
    request.add(half == std::string_view::npos ? std::string_view{} : input.substr(half + 2));
    if (!response.parse() || !request.parse() || response.fields.size() + request.fields.size() > 150) {
        return 0;
    }
    check_vary(response, request);
    check_conditions(response, request);
    check_heads(response, request);
    return 0;
}
