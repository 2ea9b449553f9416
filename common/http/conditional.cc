// SPDX-License-Identifier: Apache-2.0
#include "common/http/conditional.h"

#include "common/http/date.h"

namespace ladle::http {

namespace {

/// RFC 9110 §8.8.3: etagc is VCHAR without '"', and obs-text.
bool is_etag_char(char c) noexcept
{
    const auto byte = static_cast<unsigned char>(c);
    return byte == 0x21 || (byte >= 0x23 && byte <= 0x7e) || byte >= 0x80;
}

/// Takes an entity-tag off the beginning of `rest`.
bool take_entity_tag(std::string_view& rest, EntityTag& tag) noexcept
{
    std::string_view text = rest;
    tag.is_weak = text.starts_with("W/");
    if (tag.is_weak) {
        text.remove_prefix(2);
    }
    if (!text.starts_with('"')) {
        return false;
    }
    std::size_t end = 1;
    while (end < text.size() && is_etag_char(text[end])) {
        ++end;
    }
    if (end >= text.size() || text[end] != '"') {
        return false;
    }
    tag.text = text.substr(0, end + 1);
    rest = text.substr(end + 1);
    return true;
}

void skip_separators(std::string_view& rest) noexcept
{
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == '\t' || rest.front() == ',')) {
        rest.remove_prefix(1);
    }
}

std::optional<std::int64_t> only_date(const Fields& fields, FieldName id, std::int64_t now_s) noexcept
{
    return fields.count(id) == 1 ? parse_date(fields.value_of(id), now_s) : std::nullopt;
}

enum class Comparison : std::uint8_t { strong, weak };

/// Whether a list of entity-tags in all fields of that name has the stored one, or is "*".
bool list_matches(const Fields& request, FieldName id, const Validators& stored, Comparison comparison) noexcept
{
    for (const Field& field : request) {
        if (field.id != id) {
            continue;
        }
        std::string_view rest = request.value(field);
        if (rest == "*") {
            return true;
        }
        EntityTag tag;
        bool is_valid = true;
        while (stored.etag && next_entity_tag(rest, tag, is_valid)) {
            if (comparison == Comparison::strong ? matches_strongly(tag, *stored.etag) : matches_weakly(tag, *stored.etag)) {
                return true;
            }
        }
    }
    return false;
}

/// RFC 9111 §4.3.2: what stands for the time of the last change.
std::int64_t changed_s(const Validators& stored, std::int64_t received_s) noexcept
{
    return stored.last_modified_s ? *stored.last_modified_s : stored.date_s.value_or(received_s);
}

} // namespace

std::optional<EntityTag> parse_entity_tag(std::string_view text) noexcept
{
    EntityTag tag;
    return take_entity_tag(text, tag) && text.empty() ? std::optional(tag) : std::nullopt;
}

bool next_entity_tag(std::string_view& rest, EntityTag& tag, bool& is_valid) noexcept
{
    for (;;) {
        skip_separators(rest);
        if (rest.empty()) {
            return false;
        }
        std::string_view after = rest;
        if (take_entity_tag(after, tag)) {
            const std::string_view follows = trim(after);
            if (follows.empty() || follows.front() == ',') {
                rest = after;
                return true;
            }
        }
        is_valid = false; // what is none is passed over, up to the next comma
        const std::size_t comma = rest.find(',');
        rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma);
    }
}

bool matches_strongly(const EntityTag& a, const EntityTag& b) noexcept
{
    return !a.is_weak && !b.is_weak && a.text == b.text;
}

bool matches_weakly(const EntityTag& a, const EntityTag& b) noexcept
{
    return a.text == b.text;
}

Validators find_validators(const Fields& response, std::int64_t now_s) noexcept
{
    Validators validators;
    if (response.count(FieldName::etag) == 1) {
        validators.etag = parse_entity_tag(response.value_of(FieldName::etag));
    }
    validators.last_modified_s = only_date(response, FieldName::last_modified, now_s);
    if (validators.last_modified_s) {
        validators.last_modified_text = response.value_of(FieldName::last_modified);
    }
    if (response.has(FieldName::date)) {
        validators.date_s = parse_date(response.value_of(FieldName::date), now_s);
    }
    return validators;
}

Precondition evaluate(Method method, const Fields& request, const Validators& stored, std::int64_t received_s,
                      std::int64_t now_s) noexcept
{
    const bool is_reading = method == Method::get || method == Method::head;
    if (request.has(FieldName::if_match)) {
        if (!list_matches(request, FieldName::if_match, stored, Comparison::strong)) {
            return Precondition::failed;
        }
    } else if (const auto date = only_date(request, FieldName::if_unmodified_since, now_s)) {
        if (changed_s(stored, received_s) > *date) {
            return Precondition::failed;
        }
    }
    if (request.has(FieldName::if_none_match)) {
        if (!list_matches(request, FieldName::if_none_match, stored, Comparison::weak)) {
            return Precondition::proceed;
        }
        return is_reading ? Precondition::not_modified : Precondition::failed;
    }
    if (is_reading) {
        if (const auto date = only_date(request, FieldName::if_modified_since, now_s)) {
            return changed_s(stored, received_s) <= *date ? Precondition::not_modified : Precondition::proceed;
        }
    }
    return Precondition::proceed;
}

bool range_may_apply(const Fields& request, const Validators& stored, std::int64_t now_s) noexcept
{
    if (!request.has(FieldName::if_range)) {
        return true;
    }
    if (request.count(FieldName::if_range) != 1) {
        return false;
    }
    const std::string_view value = request.value_of(FieldName::if_range);
    if (const auto tag = parse_entity_tag(value)) {
        return stored.etag && matches_strongly(*tag, *stored.etag);
    }
    const auto date = parse_date(value, now_s);
    const bool is_strong = stored.last_modified_s && stored.date_s && *stored.last_modified_s < *stored.date_s;
    return date && is_strong && *date == *stored.last_modified_s;
}

Validated match_validation(const Fields& received, const Validators& stored, std::int64_t now_s) noexcept
{
    const Validators validators = find_validators(received, now_s);
    bool is_same = true; // without any validator: it answers our own question about this response
    if (validators.etag && validators.etag->is_weak) {
        is_same = stored.etag && matches_weakly(*validators.etag, *stored.etag);
    } else if (validators.etag) {
        is_same = stored.etag && matches_strongly(*validators.etag, *stored.etag);
    } else if (validators.last_modified_s && stored.last_modified_s) {
        is_same = *validators.last_modified_s == *stored.last_modified_s;
    }
    return is_same ? Validated::update : Validated::touch;
}

HeadSays judge_head(const HeadAnswer& answer, const Validators& stored, std::int64_t now_s) noexcept
{
    if (answer.status != 200 || answer.stored_status != 200) {
        return HeadSays::nothing;
    }
    const Validators received = find_validators(answer.received, now_s);
    if (answer.received.has(FieldName::etag)) {
        const bool is_same = received.etag && stored.etag && received.etag->is_weak == stored.etag->is_weak &&
                             received.etag->text == stored.etag->text;
        if (!is_same) {
            return HeadSays::outdated;
        }
    }
    if (received.last_modified_s && received.last_modified_s != stored.last_modified_s) {
        return HeadSays::outdated;
    }
    if (answer.received.has(FieldName::content_length) &&
        parse_decimal(answer.received.value_of(FieldName::content_length)) != answer.stored_length) {
        return HeadSays::outdated;
    }
    return HeadSays::update;
}

} // namespace ladle::http
