// SPDX-License-Identifier: Apache-2.0
#include "common/http/head.h"

#include <cstring>

namespace ladle::http {

namespace {

constexpr std::size_t kMostNameBytes = 0xffff; // Field::name_length

Method find_method(std::string_view text) noexcept
{
    switch (text.size()) {
    case 3:
        return text == "GET" ? Method::get : text == "PUT" ? Method::put : Method::other;
    case 4:
        return text == "HEAD" ? Method::head : text == "POST" ? Method::post : Method::other;
    case 5:
        return text == "PATCH" ? Method::patch : text == "TRACE" ? Method::trace : Method::other;
    case 6:
        return text == "DELETE" ? Method::delete_ : Method::other;
    case 7:
        return text == "OPTIONS" ? Method::options : text == "CONNECT" ? Method::connect : Method::other;
    default:
        return Method::other;
    }
}

/// "HTTP/1.1" → version. Well-formed others (HTTP/2.0, HTTP/1.2) are bad_version, everything else is `otherwise`.
HeadError parse_version(std::string_view text, Version& version, HeadError otherwise) noexcept
{
    if (text == "HTTP/1.1") {
        version = Version::http_1_1;
        return HeadError::none;
    }
    if (text == "HTTP/1.0") {
        version = Version::http_1_0;
        return HeadError::none;
    }
    const bool well_formed = text.size() == 8 && text.starts_with("HTTP/") && is_class(text[5], kDigit) && text[6] == '.' &&
                             is_class(text[7], kDigit);
    return well_formed ? HeadError::bad_version : otherwise;
}

enum class LineEnd : std::uint8_t { none, crlf, bare };

/// Finds the line that begins at `position`; `line` is without its end.
LineEnd find_line(std::string_view bytes, std::size_t position, std::string_view& line) noexcept
{
    if (position >= bytes.size()) {
        return LineEnd::none;
    }
    const char* from = bytes.data() + position;
    const auto* feed = static_cast<const char*>(std::memchr(from, '\n', bytes.size() - position));
    if (feed == nullptr) {
        return LineEnd::none;
    }
    if (feed == from || feed[-1] != '\r') {
        return LineEnd::bare;
    }
    line = std::string_view(from, static_cast<std::size_t>(feed - 1 - from));
    return LineEnd::crlf;
}

} // namespace

std::string_view name_of(HeadError error) noexcept
{
    switch (error) {
    case HeadError::none: return "none";
    case HeadError::bare_line_feed: return "bare_line_feed";
    case HeadError::bad_request_line: return "bad_request_line";
    case HeadError::bad_status_line: return "bad_status_line";
    case HeadError::bad_version: return "bad_version";
    case HeadError::bad_target: return "bad_target";
    case HeadError::target_too_long: return "target_too_long";
    case HeadError::bad_field_line: return "bad_field_line";
    case HeadError::folded_line: return "folded_line";
    case HeadError::bad_field_value: return "bad_field_value";
    case HeadError::head_too_large: return "head_too_large";
    case HeadError::too_many_fields: return "too_many_fields";
    }
    return "unknown";
}

namespace {

/// Adds the field of a line whose name ends at `colon` and whose bytes were looked at.
Fields::Added add_field(std::string_view line, std::size_t colon, std::size_t at, Fields& fields)
{
    std::string_view value = line.substr(colon + 1);
    if (value.starts_with(' ')) {
        value.remove_prefix(1);
    }
    if (!value.empty() && (is_blank(value.front()) || is_blank(value.back()))) {
        value = trim(value); // hardly ever
    }
    return fields.add({static_cast<std::uint32_t>(at), static_cast<std::uint16_t>(colon), find_field_name(line.substr(0, colon)),
                       false, static_cast<std::uint32_t>(at + static_cast<std::size_t>(value.data() - line.data())),
                       static_cast<std::uint32_t>(value.size())});
}

/// Takes a line that is whole and has nothing wrong, in one look at its bytes, and returns where the next begins; else 0, and
/// parse_line() finds out what it is.
std::size_t take_good_line(std::string_view bytes, std::size_t at, Fields& fields)
{
    const std::string_view rest = bytes.substr(at);
    const std::size_t colon = token_length(rest);
    if (colon == 0 || colon >= rest.size() || rest[colon] != ':' || colon > kMostNameBytes) {
        return 0;
    }
    const std::size_t end = colon + 1 + field_value_length(rest.substr(colon + 1));
    if (end + 2 > rest.size() || rest[end] != '\r' || rest[end + 1] != '\n') {
        return 0;
    }
    return add_field(rest.substr(0, end), colon, at, fields) == Fields::Added::ok ? at + end + 2 : 0;
}

HeadError parse_line(std::string_view line, std::size_t at, Fields& fields)
{
    if (line.front() == ' ' || line.front() == '\t') {
        return HeadError::folded_line;
    }
    const std::size_t colon = token_length(line);
    if (colon == 0 || colon == line.size() || line[colon] != ':' || colon > kMostNameBytes) {
        return HeadError::bad_field_line;
    }
    if (!is_field_value(line.substr(colon + 1))) {
        return HeadError::bad_field_value;
    }
    return add_field(line, colon, at, fields) == Fields::Added::ok ? HeadError::none : HeadError::too_many_fields;
}

} // namespace

Progress parse_field_lines(std::string_view bytes, std::size_t& position, Fields& fields, HeadError& error)
{
    for (;;) {
        while (const std::size_t next = take_good_line(bytes, position, fields)) {
            position = next;
        }
        std::string_view line;
        const LineEnd end = find_line(bytes, position, line);
        if (end == LineEnd::none) {
            return Progress::incomplete;
        }
        error = end == LineEnd::bare ? HeadError::bare_line_feed
                : line.empty()       ? HeadError::none
                                     : parse_line(line, position, fields);
        if (error != HeadError::none) {
            return Progress::refused;
        }
        position += line.size() + 2;
        if (line.empty()) {
            return Progress::complete;
        }
    }
}

namespace {

/// What follows a head's first line, up to its empty line; all of it counts against the limit.
Progress parse_fields(std::string_view bytes, const HeadLimits& limits, std::size_t& position, Fields& fields, HeadError& error)
{
    const Progress progress = parse_field_lines(bytes, position, fields, error);
    const std::size_t used = progress == Progress::complete ? position : bytes.size();
    if (progress != Progress::refused && used > limits.head_bytes) {
        error = HeadError::head_too_large;
        return Progress::refused;
    }
    return progress;
}

} // namespace

void RequestHead::clear() noexcept
{
    fields.clear();
    error = HeadError::none;
    method = Method::other;
    version = Version::http_1_1;
    start_ = 0;
    position_ = 0;
    has_line_ = false;
}

HeadError RequestHead::parse_request_line(std::string_view line, const HeadLimits& limits)
{
    std::size_t space = 0;
    while (space < line.size() && is_class(line[space], kToken)) {
        ++space;
    }
    if (space == 0 || space >= line.size() || line[space] != ' ') {
        return HeadError::bad_request_line;
    }
    std::size_t target_end = space + 1;
    while (target_end < line.size() && is_class(line[target_end], kTarget)) {
        ++target_end;
    }
    const std::size_t target_length = target_end - space - 1;
    if (target_length > limits.target_bytes) {
        return HeadError::target_too_long;
    }
    if (target_length == 0) {
        return HeadError::bad_request_line;
    }
    if (target_end == line.size() || line[target_end] != ' ') {
        return target_end == line.size() ? HeadError::bad_request_line : HeadError::bad_target;
    }
    const HeadError bad = parse_version(line.substr(target_end + 1), version, HeadError::bad_request_line);
    if (bad != HeadError::none) {
        return bad;
    }
    method_at_ = start_;
    method_length_ = static_cast<std::uint32_t>(space);
    target_at_ = static_cast<std::uint32_t>(start_ + space + 1);
    target_length_ = static_cast<std::uint32_t>(target_length);
    method = find_method(line.substr(0, space));
    return HeadError::none;
}

Progress RequestHead::parse(std::string_view bytes, const HeadLimits& limits)
{
    base_ = bytes.data();
    fields.rebase(base_);
    if (!has_line_) {
        // RFC 9112 §2.2: one empty line before the request line is ignored.
        if (start_ == 0 && bytes.starts_with("\r\n")) {
            start_ = 2;
            position_ = 2;
        }
        std::string_view line;
        const LineEnd end = find_line(bytes, position_, line);
        if (end == LineEnd::none) {
            const std::size_t waiting = bytes.size() - position_;
            if (waiting > 0 && !is_class(bytes[position_], kToken) && !(bytes[position_] == '\r' && waiting == 1 && start_ == 0)) {
                error = HeadError::bad_request_line; // not HTTP at all (a TLS hello, say): no need to wait for more
            } else if (waiting > limits.target_bytes + 64) {
                error = HeadError::target_too_long;
            }
            return error == HeadError::none ? Progress::incomplete : Progress::refused;
        }
        error = end == LineEnd::bare ? HeadError::bare_line_feed : parse_request_line(line, limits);
        if (error != HeadError::none) {
            return Progress::refused;
        }
        position_ += line.size() + 2;
        has_line_ = true;
    }
    return parse_fields(bytes, limits, position_, fields, error);
}

void ResponseHead::clear() noexcept
{
    fields.clear();
    error = HeadError::none;
    status = 0;
    position_ = 0;
    has_line_ = false;
}

void ResponseHead::assign(const ResponseHead& other)
{
    fields.assign(other.fields);
    error = other.error;
    status = other.status;
    version = other.version;
    base_ = other.base_;
    reason_at_ = other.reason_at_;
    reason_length_ = other.reason_length_;
    position_ = other.position_;
    has_line_ = other.has_line_;
}

HeadError ResponseHead::parse_status_line(std::string_view line)
{
    // "HTTP/1.1 200 " is the shortest: RFC 9112 §4 wants the space even before an empty reason.
    if (line.size() < 13 || line[8] != ' ' || line[12] != ' ') {
        return HeadError::bad_status_line;
    }
    if (parse_version(line.substr(0, 8), version, HeadError::bad_status_line) != HeadError::none) {
        return HeadError::bad_status_line;
    }
    const std::string_view code = line.substr(9, 3);
    if (!all_class(code, kDigit) || code[0] < '1' || code[0] > '5') {
        return HeadError::bad_status_line;
    }
    status = static_cast<std::uint16_t>((code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0'));
    if (!is_field_value(line.substr(13))) {
        return HeadError::bad_status_line;
    }
    reason_at_ = 13;
    reason_length_ = static_cast<std::uint32_t>(line.size() - 13);
    return HeadError::none;
}

Progress ResponseHead::parse(std::string_view bytes, const HeadLimits& limits)
{
    base_ = bytes.data();
    fields.rebase(base_);
    if (!has_line_) {
        std::string_view line;
        const LineEnd end = find_line(bytes, 0, line);
        if (end == LineEnd::none) {
            static constexpr std::string_view kBeginning = "HTTP/1.";
            const std::size_t n = std::min(bytes.size(), kBeginning.size());
            if (bytes.substr(0, n) != kBeginning.substr(0, n) || bytes.size() > limits.head_bytes) {
                error = HeadError::bad_status_line;
                return Progress::refused;
            }
            return Progress::incomplete;
        }
        error = end == LineEnd::bare ? HeadError::bare_line_feed : parse_status_line(line);
        if (error != HeadError::none) {
            return Progress::refused;
        }
        position_ = line.size() + 2;
        has_line_ = true;
    }
    return parse_fields(bytes, limits, position_, fields, error);
}

bool is_safe(Method method) noexcept
{
    return method == Method::get || method == Method::head || method == Method::options || method == Method::trace;
}

bool is_idempotent(Method method) noexcept
{
    return is_safe(method) || method == Method::put || method == Method::delete_;
}

} // namespace ladle::http
