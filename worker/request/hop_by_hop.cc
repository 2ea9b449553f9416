// SPDX-License-Identifier: Apache-2.0
#include "worker/request/hop_by_hop.h"

#include <algorithm>
#include <array>

namespace ladle::worker {

namespace {

using http::FieldName;

constexpr unsigned kMostOptions = 64;

bool is_always_dropped(FieldName id) noexcept
{
    switch (id) {
    case FieldName::connection:
    case FieldName::keep_alive:
    case FieldName::proxy_connection:
    case FieldName::te:
    case FieldName::transfer_encoding:
    case FieldName::upgrade:
    case FieldName::content_length: // written anew from the framing
        return true;
    default:
        return false;
    }
}

/// Fields that an option in Connection cannot take away: the next server decides by them, or we set them.
bool is_protected(FieldName id, std::string_view name) noexcept
{
    switch (id) {
    case FieldName::host:
    case FieldName::authorization:
    case FieldName::cookie:
    case FieldName::set_cookie:
    case FieldName::content_type:
    case FieldName::content_encoding:
    case FieldName::content_range:
    case FieldName::range:
    case FieldName::cache_control:
    case FieldName::via:
    case FieldName::forwarded:
    case FieldName::x_forwarded_for:
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_proto:
    case FieldName::x_request_id:
        return true;
    default:
        return http::equals_ignoring_case(name, "proxy-authorization") || http::equals_ignoring_case(name, "www-authenticate");
    }
}

constexpr std::array<std::string_view, 12> kForbiddenTrailers = {
    "if-match",         "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "vary",
    "www-authenticate", "expires",       "proxy-authenticate", "proxy-authorization", "pragma",   "retry-after",
};

} // namespace

bool mark_hop_by_hop(http::Fields& fields) noexcept
{
    unsigned options = 0;
    for (http::Field& field : fields) {
        if (is_always_dropped(field.id)) {
            field.is_dropped = true;
        }
        if (field.id != FieldName::connection) {
            continue;
        }
        std::string_view rest = fields.value(field);
        std::string_view option;
        while (http::next_list_element(rest, option)) {
            if (++options > kMostOptions) {
                return false;
            }
            const FieldName id = http::find_field_name(option);
            if ((id != FieldName::other && !fields.has(id)) || is_protected(id, option) || http::equals_ignoring_case(option, "close")) {
                continue;
            }
            for (http::Field& listed : fields) {
                const bool same = id != FieldName::other ? listed.id == id : http::equals_ignoring_case(fields.name(listed), option);
                listed.is_dropped = listed.is_dropped || same;
            }
        }
    }
    return true;
}

bool is_forbidden_trailer(FieldName id, std::string_view name) noexcept
{
    switch (id) {
    case FieldName::other:
        return std::any_of(kForbiddenTrailers.begin(), kForbiddenTrailers.end(),
                           [&](std::string_view forbidden) { return http::equals_ignoring_case(forbidden, name); });
    case FieldName::etag: // computed while sending: the example of RFC 9110 §6.5
        return false;
    default:
        return true;
    }
}

} // namespace ladle::worker
