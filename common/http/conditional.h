// SPDX-License-Identifier: Apache-2.0
//
// Validators and preconditions (RFC 9110 §8.8, §13; RFC 9111 §4.3): entity-tags, whether a stored response answers a conditional
// request by itself (304, 412), If-Range, what a 304 from the server says about a stored response, and what a HEAD's answer does.
// Pure; views point into the messages' bytes.
#pragma once

#include "common/http/fields.h"
#include "common/http/head.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace ladle::http {

/// An entity-tag (§8.8.3), with its quotes.
struct EntityTag {
    std::string_view text; ///< `"abc"`, without W/
    bool is_weak = false;
};

/// The whole of `text` as an entity-tag; nothing if it is none (not quoted, w/ in lower case).
std::optional<EntityTag> parse_entity_tag(std::string_view text) noexcept;
/// Takes the next entity-tag off a list. False at the end; `is_valid` becomes false (and stays what it was otherwise) at anything
/// that is none.
bool next_entity_tag(std::string_view& rest, EntityTag& tag, bool& is_valid) noexcept;
/// §8.8.3.2.
bool matches_strongly(const EntityTag& a, const EntityTag& b) noexcept;
bool matches_weakly(const EntityTag& a, const EntityTag& b) noexcept;

/// What a response can be validated by.
struct Validators {
    std::optional<EntityTag> etag; ///< none where malformed or there twice
    std::optional<std::int64_t> last_modified_s;
    std::optional<std::int64_t> date_s;
    std::string_view last_modified_text; ///< as received: goes back to the server byte for byte (§13.1.3)
    bool any() const noexcept { return etag.has_value() || last_modified_s.has_value(); }
};

/// `now_s`: see parse_date.
Validators find_validators(const Fields& response, std::int64_t now_s) noexcept;

enum class Precondition : std::uint8_t {
    proceed,      ///< as if there were none
    not_modified, ///< 304
    failed,       ///< 412
};

/// §13.2.2, for a stored 2xx: `If-Match`, `If-Unmodified-Since`, `If-None-Match`, `If-Modified-Since`, in this order. Without
/// Last-Modified, Date stands for it, and without Date `received_s`, when it was received (RFC 9111 §4.3.2). If-Modified-Since
/// counts for GET and HEAD, where there is no If-None-Match. Note on `failed`: RFC 9111 §4.3.2 leaves If-Match and
/// If-Unmodified-Since to the origin; a cache that is fresh may answer, one that is stale asks.
Precondition evaluate(Method method, const Fields& request, const Validators& stored, std::int64_t received_s,
                      std::int64_t now_s) noexcept;

/// Whether the request has any of the four.
inline bool is_conditional(const Fields& request) noexcept
{
    return request.has(FieldName::if_none_match) || request.has(FieldName::if_modified_since) || request.has(FieldName::if_match) ||
           request.has(FieldName::if_unmodified_since);
}

/// If-Range (§13.1.5): whether Range may be applied. True without If-Range. Strong comparison; a date must equal Last-Modified
/// exactly, and that must be strong: at least one second before Date (§8.8.2.2).
bool range_may_apply(const Fields& request, const Validators& stored, std::int64_t now_s) noexcept;

/// What a 304 that answers our validation of one stored response means for it (RFC 9111 §4.3.4).
enum class Validated : std::uint8_t {
    update, ///< it is about this response: reuse it with updated fields
    touch,  ///< it names another validator: reuse it, but no field may change (see touched())
};
Validated match_validation(const Fields& received, const Validators& stored, std::int64_t now_s) noexcept;

/// What the answer to a HEAD means for a stored response to GET (RFC 9111 §4.3.5).
enum class HeadSays : std::uint8_t {
    update,   ///< the same representation: its fields are updated
    outdated, ///< another representation: the stored one is stale now
    nothing,  ///< not a 200, or the stored one is not
};
struct HeadAnswer {
    std::uint16_t status;
    const Fields& received;
    std::uint16_t stored_status;
    std::uint64_t stored_length; ///< bytes of the stored body
};
HeadSays judge_head(const HeadAnswer& answer, const Validators& stored, std::int64_t now_s) noexcept;

} // namespace ladle::http
