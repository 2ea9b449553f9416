// SPDX-License-Identifier: Apache-2.0
//
// The character classes and small productions of RFC 9110 §5.6 and RFC 3986 that everything in this folder is built on. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::http {

enum CharClass : std::uint8_t {
    kToken = 1,       ///< tchar (RFC 9110 §5.6.2)
    kFieldValue = 2,  ///< VCHAR, obs-text, SP, HTAB (RFC 9110 §5.5)
    kTarget = 4,      ///< what we let through in a request-target: visible ASCII but '#'
    kHost = 8,        ///< reg-name without percent-encoding and sub-delims: letters, digits, "-._~"
    kHexDigit = 16,
    kDigit = 32,
};

extern const std::array<std::uint8_t, 256> kCharClasses;

inline bool is_class(char c, CharClass wanted) noexcept
{
    return (kCharClasses[static_cast<unsigned char>(c)] & wanted) != 0;
}

/// Whether every byte of `text` is in the class (true for an empty text).
bool all_class(std::string_view text, CharClass wanted) noexcept;

/// Whether `text` is a token: not empty, tchars only.
inline bool is_token(std::string_view text) noexcept
{
    return !text.empty() && all_class(text, kToken);
}

/// How many bytes at its beginning are tchars.
std::size_t token_length(std::string_view text) noexcept;

/// How many bytes at its beginning RFC 9110 §5.5 allows in a field value (no CR, LF, NUL or other control but HTAB).
std::size_t field_value_length(std::string_view text) noexcept;

inline bool is_field_value(std::string_view text) noexcept
{
    return field_value_length(text) == text.size();
}

/// 1*DIGIT below 2^63, leading zeros allowed; nothing else (no sign, space, list).
std::optional<std::uint64_t> parse_decimal(std::string_view text) noexcept;

constexpr char to_lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

/// ASCII only, as to_lower().
void append_lowered(std::string_view text, std::string& out);
std::string lowered(std::string_view text);

/// Of a hexadecimal digit.
constexpr unsigned hex_value(char c) noexcept
{
    return c <= '9' ? static_cast<unsigned>(c - '0') : static_cast<unsigned>(to_lower(c) - 'a' + 10);
}

/// ASCII, without case.
bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept;

/// SP or HTAB.
constexpr bool is_blank(char c) noexcept
{
    return c == ' ' || c == '\t';
}

/// Without SP and HTAB at both ends.
inline std::string_view trim(std::string_view text) noexcept
{
    while (!text.empty() && is_blank(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_blank(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

/// Takes the next element off a comma-separated list (RFC 9110 §5.6.1), trimmed; empty elements are skipped. False at the end.
/// Knows no quoted strings: for lists of tokens.
bool next_list_element(std::string_view& rest, std::string_view& element) noexcept;

} // namespace ladle::http
