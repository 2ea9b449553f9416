// SPDX-License-Identifier: Apache-2.0
#include "common/http/invalidation.h"

#include "common/http/cache_key.h"
#include "common/http/target.h"

#include <algorithm>

namespace ladle::http {

namespace {

/// "http:" and what follows, "//host" and what follows …: the parts of RFC 3986 §3, each with a flag where empty and absent differ.
struct Reference {
    std::string_view scheme;
    std::string_view authority;
    std::string_view path;
    std::string_view query;
    bool has_scheme = false;
    bool has_authority = false;
    bool has_query = false;
};

bool is_scheme(std::string_view text) noexcept
{
    if (text.empty() || to_lower(text.front()) < 'a' || to_lower(text.front()) > 'z') {
        return false;
    }
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (to_lower(c) >= 'a' && to_lower(c) <= 'z') || is_class(c, kDigit) || c == '+' || c == '-' || c == '.';
    });
}

Reference split_reference(std::string_view text) noexcept
{
    Reference out;
    text = text.substr(0, text.find('#'));
    const std::size_t colon = text.find_first_of(":/?");
    if (colon != std::string_view::npos && text[colon] == ':' && is_scheme(text.substr(0, colon))) {
        out.has_scheme = true;
        out.scheme = text.substr(0, colon);
        text.remove_prefix(colon + 1);
    }
    if (text.starts_with("//")) {
        out.has_authority = true;
        text.remove_prefix(2);
        const std::size_t end = std::min(text.find_first_of("/?"), text.size());
        out.authority = text.substr(0, end);
        text.remove_prefix(end);
    }
    const std::size_t mark = text.find('?');
    out.has_query = mark != std::string_view::npos;
    out.query = out.has_query ? text.substr(mark + 1) : std::string_view{};
    out.path = text.substr(0, mark);
    return out;
}

/// RFC 3986 §5.2.4, of a path that begins with '/'.
std::string remove_dot_segments(std::string_view path)
{
    std::string out;
    while (!path.empty()) { // path begins with the '/' of a segment
        const std::size_t end = std::min(path.find('/', 1), path.size());
        const std::string_view segment = path.substr(1, end - 1);
        const bool is_last = end == path.size();
        path.remove_prefix(end);
        if (segment == "..") {
            const std::size_t parent = out.rfind('/');
            out.resize(parent == std::string::npos ? 0 : parent);
        }
        if (segment != "." && segment != "..") {
            out += '/';
            out += segment;
        } else if (is_last) {
            out += '/';
        }
    }
    return out;
}

/// §5.2.3: the reference's path in the place of the base's last segment.
std::string merge_paths(std::string_view base, std::string_view path)
{
    return std::string(base.substr(0, base.rfind('/') + 1)).append(path);
}

} // namespace

bool is_invalidating(Method method, std::uint16_t status) noexcept
{
    return !is_safe(method) && status >= 200 && status < 400;
}

std::string resolve_reference(std::string_view base, std::string_view reference)
{
    KeyTarget target;
    if (!split_url(base, target)) {
        return {};
    }
    const Reference parts = split_reference(reference);
    std::string text;
    if (parts.has_scheme || parts.has_authority) {
        text.append(parts.has_scheme ? parts.scheme : target.scheme).append("://").append(parts.authority);
        if (!parts.has_authority || !split_url(text, target)) {
            return {};
        }
        target.path = parts.path.empty() ? std::string_view("/") : parts.path;
    } else if (parts.path.starts_with('/')) {
        target.path = parts.path;
    }
    std::string path;
    const bool is_other_path = parts.has_scheme || parts.has_authority || !parts.path.empty();
    if (is_other_path) {
        const bool is_relative = !parts.has_authority && !parts.path.starts_with('/');
        path = remove_dot_segments(is_relative ? merge_paths(target.path, parts.path) : std::string(target.path));
        target.path = path;
    }
    if (is_other_path || parts.has_query) {
        target.has_query = parts.has_query;
        target.query = parts.query;
    }
    std::string out;
    append_url(target, out);
    return out;
}

bool is_same_origin(std::string_view a, std::string_view b) noexcept
{
    KeyTarget first;
    KeyTarget second;
    if (!split_url(a, first) || !split_url(b, second) || !equals_ignoring_case(first.scheme, second.scheme)) {
        return false;
    }
    const std::string_view usual = equals_ignoring_case(first.scheme, "https") ? ":443" : ":80";
    const auto split = [usual](std::string_view authority) {
        const std::string_view host = host_of(authority);
        const std::string_view port = authority.substr(host.size());
        return std::pair(host, port.size() > 1 ? port : usual);
    };
    const auto [first_host, first_port] = split(first.authority);
    const auto [second_host, second_port] = split(second.authority);
    return equals_ignoring_case(first_host, second_host) && first_port == second_port;
}

Invalidated find_invalidated(std::string_view url, const Fields& response)
{
    Invalidated out;
    std::string target = resolve_reference(url, "");
    if (target.empty()) {
        return out;
    }
    out.urls[out.size++] = std::move(target);
    for (const FieldName id : {FieldName::location, FieldName::content_location}) {
        if (!response.has(id)) {
            continue;
        }
        std::string other = resolve_reference(url, response.value_of(id));
        const bool is_known = std::find(out.urls.begin(), out.urls.begin() + out.size, other) != out.urls.begin() + out.size;
        if (!other.empty() && !is_known && is_same_origin(url, other)) {
            out.urls[out.size++] = std::move(other);
        }
    }
    return out;
}

} // namespace ladle::http
