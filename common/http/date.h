// SPDX-License-Identifier: Apache-2.0
//
// HTTP dates (RFC 9110 §5.6.7): all three forms are read, only IMF-fixdate is written. Strict as to form and meaning (no 31
// February, no other zone than GMT, no two-digit year in the new form), since a date that we guess wrong makes a stale response
// fresh; without case, as RFC 9111 §4.2 asks of caches. The name of the weekday is not compared with the date: both tell the same
// instant or the sender errs, and the date is what it computed with. Pure: the present comes in as an argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace ladle::http {

/// Seconds since 1970-01-01 00:00:00 GMT; leap seconds are not counted (23:59:60 is the next second).
/// `now_s` is needed for the two-digit years of RFC 850 only: one more than 50 years ahead of it is in the past century.
/// Nothing, if `text` is none of the three forms or no real date.
std::optional<std::int64_t> parse_date(std::string_view text, std::int64_t now_s) noexcept;

constexpr std::size_t kDateLength = 29;

/// Writes "Sun, 06 Nov 1994 08:49:37 GMT" to `out[0..29)`, without a final NUL. Years 0 to 9999; others are clamped.
std::string_view format_date(std::int64_t unix_s, char (&out)[kDateLength]) noexcept;

} // namespace ladle::http
