// SPDX-License-Identifier: Apache-2.0
#include "common/http/range.h"

#include "common/base/append.h"

#include <algorithm>

namespace ladle::http {

namespace {

constexpr std::size_t kMostOverlaps = 2;
constexpr std::size_t kFewParts = 8;   // so many may cost more than the whole: a small file in two parts is no attack
constexpr std::size_t kPartHead = 100; // bytes, about

/// 1*DIGIT; more than fits is UINT64_MAX.
std::optional<std::uint64_t> parse_position(std::string_view text) noexcept
{
    if (text.empty() || !all_class(text, kDigit)) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    for (const char c : text) {
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return UINT64_MAX;
        }
        value = value * 10 + digit;
    }
    return value;
}

/// What stands behind "bytes=", or nothing for another unit.
std::optional<std::string_view> range_list(std::string_view value) noexcept
{
    const std::size_t equals = value.find('=');
    if (equals == std::string_view::npos || !equals_ignoring_case(value.substr(0, equals), "bytes")) {
        return std::nullopt;
    }
    return value.substr(equals + 1);
}

/// "0-4", "5-", "-3".
std::optional<WantedRange> parse_wanted(std::string_view spec) noexcept
{
    const std::size_t dash = spec.find('-');
    if (dash == std::string_view::npos) {
        return std::nullopt;
    }
    const std::string_view first_text = spec.substr(0, dash);
    const std::string_view last_text = spec.substr(dash + 1);
    WantedRange wanted;
    wanted.is_suffix = first_text.empty();
    const auto first = parse_position(wanted.is_suffix ? last_text : first_text);
    if (!first) {
        return std::nullopt;
    }
    wanted.first = *first;
    if (!wanted.is_suffix && !last_text.empty()) {
        const auto last = parse_position(last_text);
        if (!last || *last < *first) {
            return std::nullopt;
        }
        wanted.last = *last;
    }
    return wanted;
}

/// The bytes that a range means in `length` bytes; nothing if it lies behind them.
std::optional<ByteRange> satisfy(const WantedRange& wanted, std::uint64_t length) noexcept
{
    if (length == 0) {
        return std::nullopt;
    }
    if (wanted.is_suffix) {
        if (wanted.first == 0) {
            return std::nullopt;
        }
        return ByteRange{length - std::min(wanted.first, length), length - 1};
    }
    if (wanted.first >= length) {
        return std::nullopt;
    }
    return ByteRange{wanted.first, std::min(wanted.last, length - 1)};
}

bool overlaps(const ByteRange& a, const ByteRange& b) noexcept
{
    return a.first <= b.last && b.first <= a.last;
}

bool touches(const ByteRange& a, const ByteRange& b) noexcept
{
    return overlaps(a, b) || a.last + 1 == b.first || b.last + 1 == a.first;
}

/// Adds a range, joined with those that it touches; the first of them keeps its place. Counts overlaps.
void add_range(RangeSet& set, ByteRange range, std::size_t& overlap_count) noexcept
{
    std::size_t place = set.size;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < set.size; ++i) {
        const ByteRange& other = set.items[i];
        if (!touches(other, range)) {
            set.items[kept++] = other;
            continue;
        }
        overlap_count += overlaps(other, range) ? 1 : 0;
        range = {std::min(range.first, other.first), std::max(range.last, other.last)};
        if (place == set.size) {
            place = kept++; // its place is kept for the joined range
        }
    }
    if (place == set.size) {
        place = kept++;
    }
    set.items[place] = range;
    set.size = kept;
}

} // namespace

RangeAnswer resolve_ranges(std::string_view range_value, std::uint64_t length, RangeSet& out) noexcept
{
    out.size = 0;
    auto list = range_list(range_value);
    std::size_t count = 0;
    std::size_t overlap_count = 0;
    std::string_view spec;
    while (list && next_list_element(*list, spec)) {
        const auto wanted = parse_wanted(spec);
        if (!wanted || ++count > kMaxRanges) {
            return RangeAnswer::whole;
        }
        if (const auto range = satisfy(*wanted, length)) {
            add_range(out, *range, overlap_count);
        }
    }
    if (count == 0 || overlap_count > kMostOverlaps) {
        return RangeAnswer::whole;
    }
    if (out.size == 0) {
        return RangeAnswer::unsatisfiable;
    }
    std::uint64_t cost = out.size * kPartHead;
    for (const ByteRange& range : out) {
        cost += range.length();
    }
    return out.size > kFewParts && cost > length ? RangeAnswer::whole : RangeAnswer::parts;
}

RangeAnswer resolve_ranges(const Fields& request, std::uint64_t length, RangeSet& out) noexcept
{
    out.size = 0;
    return request.count(FieldName::range) == 1 ? resolve_ranges(request.value_of(FieldName::range), length, out)
                                                : RangeAnswer::whole;
}

std::optional<WantedRange> single_range(const Fields& request) noexcept
{
    if (request.count(FieldName::range) != 1) {
        return std::nullopt;
    }
    auto list = range_list(request.value_of(FieldName::range));
    std::string_view spec;
    std::string_view second;
    if (!list || !next_list_element(*list, spec) || next_list_element(*list, second)) {
        return std::nullopt;
    }
    return parse_wanted(spec);
}

std::optional<ContentRange> parse_content_range(std::string_view text) noexcept
{
    constexpr std::size_t kUnitLength = 6; // "bytes "
    const std::size_t slash = text.find('/');
    if (text.size() <= kUnitLength || !equals_ignoring_case(text.substr(0, kUnitLength), "bytes ") ||
        slash == std::string_view::npos) {
        return std::nullopt;
    }
    ContentRange result;
    const std::string_view length_text = text.substr(slash + 1);
    if (length_text != "*") {
        result.length = parse_position(length_text);
        if (!result.length) {
            return std::nullopt;
        }
    }
    const std::string_view range = text.substr(kUnitLength, slash - kUnitLength);
    if (range == "*") {
        result.is_unsatisfied = true;
        return result.length ? std::optional(result) : std::nullopt;
    }
    const std::size_t dash = range.find('-');
    const auto first = parse_position(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? std::nullopt : parse_position(range.substr(dash + 1));
    if (!first || !last || *last < *first || *last == UINT64_MAX || (result.length && *last >= *result.length)) {
        return std::nullopt;
    }
    result.range = {*first, *last};
    return result;
}

void append_content_range(ByteRange range, std::uint64_t length, std::string& out)
{
    append(out, "bytes {}-{}/{}", range.first, range.last, length);
}

void append_unsatisfied_range(std::uint64_t length, std::string& out)
{
    append(out, "bytes */{}", length);
}

void append_part_head(const Multipart& multipart, ByteRange range, bool is_first, std::string& out)
{
    out += is_first ? "--" : "\r\n--";
    out += multipart.boundary;
    if (!multipart.content_type.empty()) {
        out += "\r\nContent-Type: ";
        out += multipart.content_type;
    }
    out += "\r\nContent-Range: ";
    append_content_range(range, multipart.length, out);
    out += "\r\n\r\n";
}

void append_multipart_end(const Multipart& multipart, std::string& out)
{
    out += "\r\n--";
    out += multipart.boundary;
    out += "--\r\n";
}

std::uint64_t multipart_length(const Multipart& multipart, const RangeSet& ranges)
{
    std::string text;
    std::uint64_t bytes = 0;
    for (const ByteRange& range : ranges) {
        append_part_head(multipart, range, &range == ranges.begin(), text);
        bytes += range.length();
    }
    append_multipart_end(multipart, text);
    return bytes + text.size();
}

} // namespace ladle::http
