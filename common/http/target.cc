// SPDX-License-Identifier: Apache-2.0
#include "common/http/target.h"

namespace ladle::http {

bool has_good_percents(std::string_view path) noexcept
{
    for (std::size_t at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 1)) {
        if (at + 2 >= path.size() || !is_class(path[at + 1], kHexDigit) || !is_class(path[at + 2], kHexDigit)) {
            return false;
        }
        if (path[at + 1] == '0' && path[at + 2] == '0') { // an encoded NUL ends the path for servers written in C
            return false;
        }
    }
    return true;
}

namespace {

bool is_ip_literal(std::string_view inner) noexcept
{
    if (inner.size() < 2) {
        return false;
    }
    for (const char c : inner) {
        if (!is_class(c, kHexDigit) && c != ':' && c != '.') {
            return false;
        }
    }
    return inner.find(':') != std::string_view::npos;
}

/// Splits "/path?query"; the path must be there.
std::expected<Target, TargetError> split_path(std::string_view text, TargetForm form, std::string_view authority) noexcept
{
    Target target{form, authority, {}, {}, text};
    const std::size_t mark = text.find('?');
    target.path = text.substr(0, mark);
    target.query = mark == std::string_view::npos ? std::string_view{} : text.substr(mark + 1);
    if (!has_good_percents(target.path)) {
        return std::unexpected(TargetError::bad_percent_encoding);
    }
    return target;
}

std::expected<Target, TargetError> parse_absolute(std::string_view text) noexcept
{
    const std::size_t colon = text.find("://");
    if (colon == std::string_view::npos) {
        return std::unexpected(TargetError::bad_target);
    }
    const std::string_view scheme = text.substr(0, colon);
    if (!equals_ignoring_case(scheme, "http") && !equals_ignoring_case(scheme, "https")) {
        return std::unexpected(TargetError::bad_target);
    }
    const std::string_view rest = text.substr(colon + 3);
    const std::size_t end = rest.find_first_of("/?");
    const std::string_view authority = rest.substr(0, end);
    if (!is_authority(authority)) {
        return std::unexpected(TargetError::bad_host);
    }
    const bool is_https = scheme.size() == 5;
    if (end == std::string_view::npos) {
        return Target{TargetForm::absolute, authority, "/", {}, "/", false, is_https};
    }
    if (rest[end] == '?') {
        return Target{TargetForm::absolute, authority, "/", rest.substr(end + 1), rest.substr(end), true, is_https};
    }
    std::expected<Target, TargetError> target = split_path(rest.substr(end), TargetForm::absolute, authority);
    if (target) {
        target->is_https = is_https;
    }
    return target;
}

} // namespace

std::string_view name_of(TargetError error) noexcept
{
    switch (error) {
    case TargetError::bad_target: return "bad_target";
    case TargetError::bad_percent_encoding: return "bad_percent_encoding";
    case TargetError::bad_host: return "bad_host";
    case TargetError::missing_host: return "missing_host";
    case TargetError::repeated_host: return "repeated_host";
    case TargetError::form_not_allowed: return "form_not_allowed";
    }
    return "unknown";
}

std::expected<Target, TargetError> parse_target(const RequestHead& head) noexcept
{
    const std::string_view text = head.target();
    if (head.method == Method::connect) {
        return std::unexpected(TargetError::form_not_allowed);
    }
    if (text == "*") {
        if (head.method != Method::options) {
            return std::unexpected(TargetError::form_not_allowed);
        }
        return Target{TargetForm::asterisk, {}, "*", {}, "*"};
    }
    if (text.front() == '/') {
        return split_path(text, TargetForm::origin, {});
    }
    return parse_absolute(text);
}

bool is_authority(std::string_view text) noexcept
{
    const std::string_view host = host_of(text);
    std::string_view port = text.substr(host.size());
    if (host.starts_with('[')) {
        if (!host.ends_with(']') || !is_ip_literal(host.substr(1, host.size() - 2))) {
            return false;
        }
    } else if (host.empty() || host.size() > 255 || !all_class(host, kHost) || host.front() == '.' ||
               host.find("..") != std::string_view::npos) {
        return false;
    }
    if (port.empty()) {
        return true;
    }
    port.remove_prefix(1);
    if (port.size() > 5 || !all_class(port, kDigit)) {
        return false;
    }
    return port.empty() || *parse_decimal(port) <= 65535;
}

std::string_view host_of(std::string_view authority) noexcept
{
    const std::size_t from = authority.starts_with('[') ? authority.find(']') : 0;
    return authority.substr(0, from == std::string_view::npos ? from : authority.find(':', from));
}

std::expected<std::string_view, TargetError> find_authority(const RequestHead& head, const Target& target) noexcept
{
    const Field* host = head.fields.find(FieldName::host);
    if (host == nullptr) {
        if (head.version == Version::http_1_1) {
            return std::unexpected(TargetError::missing_host);
        }
        return target.authority;
    }
    if (head.fields.count(FieldName::host) != 1) {
        return std::unexpected(TargetError::repeated_host);
    }
    const std::string_view value = head.fields.value(*host);
    if (!is_authority(value)) {
        return std::unexpected(TargetError::bad_host);
    }
    return target.form == TargetForm::absolute ? target.authority : value;
}

void normalise_path(std::string_view path, std::string& out)
{
    out.clear();
    bool needs_work = false;
    for (std::size_t i = 0; i < path.size() && !needs_work; ++i) {
        needs_work = path[i] == '%' || (path[i] == '.' && i > 0 && path[i - 1] == '/');
    }
    if (!needs_work) {
        out = path;
        return;
    }
    std::string decoded;
    for (std::size_t i = 0; i < path.size(); ++i) {
        if (path[i] == '%' && i + 2 < path.size()) {
            const auto byte = static_cast<char>(hex_value(path[i + 1]) * 16 + hex_value(path[i + 2]));
            if (is_class(byte, kHost)) { // exactly the unreserved set
                decoded += byte;
            } else {
                decoded += '%';
                for (const char digit : {path[i + 1], path[i + 2]}) {
                    decoded += static_cast<char>(digit >= 'a' && digit <= 'f' ? digit - 32 : digit);
                }
            }
            i += 2;
        } else {
            decoded += path[i];
        }
    }
    std::size_t at = 0;
    while (at < decoded.size()) { // decoded[at] is the '/' that begins a segment
        const std::size_t end = std::min(decoded.find('/', at + 1), decoded.size());
        const std::string_view segment = std::string_view(decoded).substr(at + 1, end - at - 1);
        const bool is_last = end == decoded.size();
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
        at = end;
    }
    if (out.empty()) {
        out = "/";
    }
}

} // namespace ladle::http
