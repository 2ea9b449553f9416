// SPDX-License-Identifier: Apache-2.0
#include "common/http/grammar.h"

#include <algorithm>
#include <bit>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace ladle::http {

namespace {

constexpr std::array<std::uint8_t, 256> make_classes()
{
    std::array<std::uint8_t, 256> classes{};
    const std::string_view marks = "!#$%&'*+-.^_`|~";
    for (unsigned c = 0; c < 256; ++c) {
        const bool digit = c >= '0' && c <= '9';
        const bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        unsigned k = 0;
        if (digit || alpha || (c < 128 && marks.find(static_cast<char>(c)) != std::string_view::npos)) {
            k |= kToken;
        }
        if ((c >= 0x20 && c != 0x7f) || c == '\t') {
            k |= kFieldValue;
        }
        if (c > 0x20 && c < 0x7f && c != '#') {
            k |= kTarget;
        }
        if (digit || alpha || c == '-' || c == '.' || c == '_' || c == '~') {
            k |= kHost;
        }
        if (digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
            k |= kHexDigit;
        }
        if (digit) {
            k |= kDigit;
        }
        classes[c] = static_cast<std::uint8_t>(k);
    }
    return classes;
}

} // namespace

constinit const std::array<std::uint8_t, 256> kCharClasses = make_classes();

bool all_class(std::string_view text, CharClass wanted) noexcept
{
    for (const char c : text) {
        if (!is_class(c, wanted)) {
            return false;
        }
    }
    return true;
}

namespace {

#if defined(__SSE2__)
constexpr std::size_t kStep = 16;

using Bytes = __m128i;

Bytes load_bytes(const char* at) noexcept
{
    return _mm_loadu_si128(reinterpret_cast<const Bytes*>(at));
}

/// Which bytes (unsigned) are from `first` to `first` + `span`.
Bytes in_range(Bytes bytes, char first, char span) noexcept
{
    const Bytes from_first = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
    return _mm_cmpeq_epi8(_mm_min_epu8(from_first, _mm_set1_epi8(span)), from_first);
}

/// A bit for each of the sixteen bytes that is no letter, digit or '-', of which nearly all names are.
unsigned find_other_than_name(const char* at) noexcept
{
    const Bytes bytes = load_bytes(at);
    const Bytes letters = in_range(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 25);
    const Bytes rest = _mm_or_si128(in_range(bytes, '0', 9), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(letters, rest))) ^ 0xffffu;
}

/// A bit for each of the sixteen bytes that is a control other than HTAB.
unsigned find_controls(const char* at) noexcept
{
    const Bytes bytes = load_bytes(at);
    const Bytes low = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), in_range(bytes, 0, 0x1f));
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)))));
}
#else
constexpr std::size_t kStep = 1;

unsigned find_other_than_name(const char* at) noexcept
{
    return is_class(*at, kToken) ? 0 : 1;
}

unsigned find_controls(const char* at) noexcept
{
    return is_class(*at, kFieldValue) ? 0 : 1;
}
#endif

} // namespace

std::size_t token_length(std::string_view text) noexcept
{
    std::size_t at = 0;
    while (at + kStep <= text.size()) {
        const unsigned others = find_other_than_name(text.data() + at);
        if (others == 0) {
            at += kStep;
            continue;
        }
        at += static_cast<std::size_t>(std::countr_zero(others));
        if (!is_class(text[at], kToken)) {
            return at;
        }
        ++at;
    }
    while (at < text.size() && is_class(text[at], kToken)) {
        ++at;
    }
    return at;
}

std::size_t field_value_length(std::string_view text) noexcept
{
    std::size_t at = 0;
    for (; at + kStep <= text.size(); at += kStep) {
        if (const unsigned controls = find_controls(text.data() + at); controls != 0) {
            return at + static_cast<std::size_t>(std::countr_zero(controls));
        }
    }
    while (at < text.size() && is_class(text[at], kFieldValue)) {
        ++at;
    }
    return at;
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) noexcept
{
    if (text.empty() || text.size() > 64) {
        return std::nullopt;
    }
    std::uint64_t n = 0;
    for (const char c : text) {
        const auto digit = static_cast<unsigned char>(c - '0');
        if (digit > 9 || n > INT64_MAX / 10) {
            return std::nullopt;
        }
        n = n * 10 + digit;
    }
    return n <= INT64_MAX ? std::optional(n) : std::nullopt;
}

void append_lowered(std::string_view text, std::string& out)
{
    const std::size_t at = out.size();
    out.resize(at + text.size());
    std::ranges::transform(text, out.begin() + static_cast<std::ptrdiff_t>(at), to_lower);
}

std::string lowered(std::string_view text)
{
    std::string out;
    append_lowered(text, out);
    return out;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept
{
    if (a.size() != b.size()) {
        return false;
    }
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (to_lower(a[i]) != to_lower(b[i])) {
            return false;
        }
    }
    return true;
}

bool next_list_element(std::string_view& rest, std::string_view& element) noexcept
{
    while (!rest.empty()) {
        const std::size_t comma = rest.find(',');
        element = trim(rest.substr(0, comma));
        rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
        if (!element.empty()) {
            return true;
        }
    }
    return false;
}

} // namespace ladle::http
