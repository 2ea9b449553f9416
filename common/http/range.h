// SPDX-License-Identifier: Apache-2.0
//
// Ranges (RFC 9110 §14): which parts of a representation a request wants, what the 206 that carries them looks like, and what a 206
// that came from a server holds. Only "bytes". A Range that we don't like is ignored, as §14.2 lets any recipient: the client gets
// the whole. That goes for bad syntax, more than 32 ranges, more than two overlaps (§17.15), and parts that with their heads would
// be larger than the whole. Pure.
#pragma once

#include "common/http/fields.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::http {

/// Both ends included.
struct ByteRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t length() const noexcept { return last - first + 1; }
    bool operator==(const ByteRange&) const noexcept = default;
};

constexpr std::size_t kMaxRanges = 32;

struct RangeSet {
    std::array<ByteRange, kMaxRanges> items;
    std::size_t size = 0;
    const ByteRange* begin() const noexcept { return items.data(); }
    const ByteRange* end() const noexcept { return items.data() + size; }
};

enum class RangeAnswer : std::uint8_t {
    whole,        ///< no Range, or one that is ignored: 200
    parts,        ///< 206 with the ranges in the set: one, or multipart/byteranges
    unsatisfiable ///< 416 with Content-Range: bytes */length
};

/// Range against a representation of `length` bytes. `out` gets the satisfiable ranges in the order they were asked for,
/// overlapping and adjacent ones joined. Two Range fields: whole. The caller has looked at the method (GET only), the status (200
/// only) and If-Range.
RangeAnswer resolve_ranges(const Fields& request, std::uint64_t length, RangeSet& out) noexcept;
RangeAnswer resolve_ranges(std::string_view range_value, std::uint64_t length, RangeSet& out) noexcept;

/// The one range that a request asks for, before the length is known: for asking a server for missing parts.
struct WantedRange {
    bool is_suffix = false; ///< the last `first` bytes
    std::uint64_t first = 0;
    std::uint64_t last = UINT64_MAX; ///< UINT64_MAX: to the end
};
/// Nothing, if it is not exactly one well-formed bytes range.
std::optional<WantedRange> single_range(const Fields& request) noexcept;

/// Content-Range (§14.4): "bytes 0-4/10", "bytes 0-4/*", "bytes */10".
struct ContentRange {
    bool is_unsatisfied = false; ///< the last form: only `length` is valid
    ByteRange range;
    std::optional<std::uint64_t> length; ///< of the whole representation
};
/// Nothing, if malformed or contradictory (last < first, last >= length).
std::optional<ContentRange> parse_content_range(std::string_view text) noexcept;
/// Appends "bytes 0-4/10".
void append_content_range(ByteRange range, std::uint64_t length, std::string& out);
/// Appends "bytes */10", for a 416.
void append_unsatisfied_range(std::uint64_t length, std::string& out);

/// multipart/byteranges (§14.6). The body is for each range its part_head and its bytes, then the closing line.
struct Multipart {
    std::string_view boundary;     ///< 1 to 70 characters of RFC 2046 §5.1.1, not in the content: take a random one
    std::string_view content_type; ///< of the representation; empty: no such line in the parts
    std::uint64_t length;          ///< of the representation
};
/// Appends the lines before a part's bytes; `is_first`: nothing stands before it.
void append_part_head(const Multipart& multipart, ByteRange range, bool is_first, std::string& out);
/// Appends what ends the body.
void append_multipart_end(const Multipart& multipart, std::string& out);
/// Content-Length of the whole multipart body.
std::uint64_t multipart_length(const Multipart& multipart, const RangeSet& ranges);

} // namespace ladle::http
