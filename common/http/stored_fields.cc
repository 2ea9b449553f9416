// SPDX-License-Identifier: Apache-2.0
#include "common/http/stored_fields.h"

namespace ladle::http {

namespace {

void append_line(std::string_view name, std::string_view value, std::string& out)
{
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
}

bool is_content_md5(std::string_view name) noexcept
{
    return equals_ignoring_case(name, "content-md5");
}

/// Whether `received` brings a field that takes the place of the stored ones of this name.
bool is_replaced(const Fields& received, FieldName id, std::string_view name) noexcept
{
    if (!is_updated(id, name) || (id != FieldName::other && !received.has(id))) {
        return false;
    }
    for (const Field& field : received) {
        if (!field.is_dropped && field.id == id && (id != FieldName::other || equals_ignoring_case(received.name(field), name))) {
            return true;
        }
    }
    return false;
}

} // namespace

bool is_stored(FieldName id, std::string_view name, const ResponseDirectives& directives, bool cookies_too) noexcept
{
    switch (id) {
    case FieldName::connection:
    case FieldName::keep_alive:
    case FieldName::proxy_connection:
    case FieldName::te:
    case FieldName::trailer:
    case FieldName::transfer_encoding:
    case FieldName::upgrade:
    case FieldName::proxy_authenticate:
    case FieldName::proxy_authentication_info:
    case FieldName::proxy_authorization:
    case FieldName::age:
    case FieldName::content_length:
        return false;
    case FieldName::set_cookie:
        if (!cookies_too) {
            return false;
        }
        break;
    default:
        break;
    }
    return !directives.no_cache_fields.has(name) && !directives.private_fields.has(name);
}

bool is_updated(FieldName id, std::string_view name) noexcept
{
    switch (id) {
    case FieldName::content_encoding:
    case FieldName::content_length:
    case FieldName::content_range:
    case FieldName::etag:
        return false;
    case FieldName::other:
        return !is_content_md5(name);
    default:
        return true;
    }
}

bool is_in_304(FieldName id, std::string_view name, bool has_etag) noexcept
{
    switch (id) {
    case FieldName::content_encoding:
    case FieldName::content_length:
    case FieldName::content_range:
    case FieldName::content_type:
    case FieldName::accept_ranges:
        return false;
    case FieldName::last_modified:
        return !has_etag;
    case FieldName::other:
        return !is_content_md5(name) && !equals_ignoring_case(name, "content-language");
    default:
        return true;
    }
}

void append_stored_head(const Fields& response, const ResponseDirectives& directives, bool cookies_too, std::string& out)
{
    for (const Field& field : response) {
        const std::string_view name = response.name(field);
        if (!field.is_dropped && is_stored(field.id, name, directives, cookies_too)) {
            append_line(name, response.value(field), out);
        }
    }
}

void append_merged_head(const Fields& stored, const Fields& received, const ResponseDirectives& received_directives,
                        bool cookies_too, std::string& out)
{
    for (const Field& field : stored) {
        const std::string_view name = stored.name(field);
        if (!is_replaced(received, field.id, name)) {
            append_line(name, stored.value(field), out);
        }
    }
    for (const Field& field : received) {
        const std::string_view name = received.name(field);
        if (!field.is_dropped && is_updated(field.id, name) && is_stored(field.id, name, received_directives, cookies_too)) {
            append_line(name, received.value(field), out);
        }
    }
}

} // namespace ladle::http
