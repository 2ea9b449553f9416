// SPDX-License-Identifier: Apache-2.0
#include "common/http/cache_status.h"

#include "common/http/grammar.h"

#include <charconv>

namespace ladle::http {

namespace {

/// RFC 8941 §3.3.4: begins with a letter or '*'; token characters, ':' and '/'.
bool is_structured_token(std::string_view text) noexcept
{
    if (text.empty() || (text.front() != '*' && !(to_lower(text.front()) >= 'a' && to_lower(text.front()) <= 'z'))) {
        return false;
    }
    for (const char c : text) {
        if (!is_class(c, kToken) && c != ':' && c != '/') {
            return false;
        }
    }
    return true;
}

/// RFC 8941 §3.3.3: printable ASCII, '"' and '\' escaped.
void append_string(std::string_view text, std::string& out)
{
    out += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += c >= 0x20 && c <= 0x7e ? c : '?';
    }
    out += '"';
}

void append_token_or_string(std::string_view text, std::string& out)
{
    if (is_structured_token(text)) {
        out += text;
    } else {
        append_string(text, out);
    }
}

void append_number(std::int64_t number, std::string& out)
{
    char text[24];
    out.append(text, std::to_chars(text, text + sizeof text, number).ptr);
}

} // namespace

std::string_view name_of(Forwarded forwarded) noexcept
{
    switch (forwarded) {
    case Forwarded::no:
        return "";
    case Forwarded::bypass:
        return "bypass";
    case Forwarded::method:
        return "method";
    case Forwarded::uri_miss:
        return "uri-miss";
    case Forwarded::vary_miss:
        return "vary-miss";
    case Forwarded::miss:
        return "miss";
    case Forwarded::request:
        return "request";
    case Forwarded::stale:
        return "stale";
    case Forwarded::partial:
        return "partial";
    }
    return "";
}

void append_cache_status(const CacheStatus& status, std::string_view cache_name, std::string& out)
{
    append_token_or_string(cache_name, out);
    if (status.forwarded == Forwarded::no) {
        out += "; hit";
    } else {
        out += "; fwd=";
        out += name_of(status.forwarded);
        if (status.server_status) {
            out += "; fwd-status=";
            append_number(*status.server_status, out);
        }
        out += status.is_stored ? "; stored" : "";
        out += status.is_collapsed ? "; collapsed" : "";
    }
    if (status.ttl_s) {
        out += "; ttl=";
        append_number(*status.ttl_s, out);
    }
    if (!status.key.empty()) {
        out += "; key=";
        append_string(status.key, out);
    }
    if (!status.detail.empty()) {
        out += "; detail=";
        append_token_or_string(status.detail, out);
    }
}

} // namespace ladle::http
