// SPDX-License-Identifier: Apache-2.0
// Ranges: what is to be sent lies inside the representation, is apart from each other, and is no more than what was asked for; a
// Content-Range that is read is written back the same; the announced length of a multipart body is its length.
#include "common/http/range.h"
#include "tests/fuzz/require.h"

#include <algorithm>
#include <bitset>
#include <string>

using namespace ladle::http;

namespace {

void check_set(const RangeSet& set, std::uint64_t length)
{
    REQUIRE(set.size >= 1 && set.size <= kMaxRanges);
    for (const ByteRange& a : set) {
        REQUIRE(a.first <= a.last && a.last < length);
        for (const ByteRange& b : set) {
            REQUIRE(&a == &b || a.last + 1 < b.first || b.last + 1 < a.first);
        }
    }
    const Multipart multipart{"boundary", "text/plain", length};
    std::string heads;
    std::uint64_t bytes = 0;
    for (const ByteRange& range : set) {
        append_part_head(multipart, range, &range == set.begin(), heads);
        bytes += range.length();
    }
    append_multipart_end(multipart, heads);
    REQUIRE(multipart_length(multipart, set) == heads.size() + bytes);
}

/// Byte by byte, from the text: the union of the ranges of a small representation.
void check_union(std::string_view value, const RangeSet& set)
{
    constexpr std::size_t kLength = 64;
    std::bitset<kLength> wanted;
    std::bitset<kLength> given;
    std::string_view rest = value.substr(value.find('=') + 1);
    std::string_view spec;
    while (next_list_element(rest, spec)) {
        const std::size_t dash = spec.find('-');
        const auto number = [](std::string_view text) { // without leading zeros it fits, or is larger than all
            text.remove_prefix(std::min(text.find_first_not_of('0'), text.size()));
            return text.empty() ? 0 : parse_decimal(text).value_or(UINT64_MAX);
        };
        std::uint64_t first = 0;
        std::uint64_t last = kLength - 1;
        if (dash == 0) {
            const std::uint64_t suffix = number(spec.substr(1));
            first = suffix >= kLength ? 0 : kLength - suffix;
        } else {
            first = number(spec.substr(0, dash));
            last = dash + 1 == spec.size() ? last : std::min<std::uint64_t>(last, number(spec.substr(dash + 1)));
        }
        for (std::uint64_t i = first; i <= last && i < kLength; ++i) {
            wanted.set(i);
        }
    }
    for (const ByteRange& range : set) {
        for (std::uint64_t i = range.first; i <= range.last; ++i) {
            given.set(i);
        }
    }
    REQUIRE(wanted == given);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    RangeSet set;
    for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{64}, std::uint64_t{100'000}, UINT64_MAX}) {
        const RangeAnswer answer = resolve_ranges(input, length, set);
        if (answer == RangeAnswer::parts) {
            check_set(set, length);
            if (length == 64) {
                check_union(input, set);
            }
        }
    }
    if (const auto range = parse_content_range(input)) {
        std::string written;
        if (range->is_unsatisfied) {
            append_unsatisfied_range(*range->length, written);
        } else {
            append_content_range(range->range, range->length.value_or(UINT64_MAX), written);
        }
        const auto again = parse_content_range(written);
        REQUIRE(again && again->is_unsatisfied == range->is_unsatisfied && again->range == range->range);
    }
    return 0;
}
