// SPDX-License-Identifier: Apache-2.0
#include "common/http/grammar.h"

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

#if defined(__SSE2__)
namespace {

bool has_only_value_bytes(const char* sixteen) noexcept
{
    const __m128i sign = _mm_set1_epi8(static_cast<char>(0x80));
    const __m128i space = _mm_set1_epi8(static_cast<char>(0x20 ^ 0x80));
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen));
    const __m128i low = _mm_cmplt_epi8(_mm_xor_si128(bytes, sign), space); // unsigned < 0x20
    const __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), low);
    return _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)))) == 0;
}

} // namespace

bool is_field_value(std::string_view text) noexcept
{
    if (text.size() < 16) {
        return all_class(text, kFieldValue);
    }
    const char* const last = text.data() + text.size() - 16;
    for (const char* at = text.data(); at < last; at += 16) {
        if (!has_only_value_bytes(at)) {
            return false;
        }
    }
    return has_only_value_bytes(last); // may look at some bytes twice
}
#else
bool is_field_value(std::string_view text) noexcept
{
    return all_class(text, kFieldValue);
}
#endif

std::optional<std::uint64_t> parse_decimal(std::string_view text) noexcept
{
    if (text.empty() || text.size() > 64) {
        return std::nullopt;
    }
    std::uint64_t n = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (n > (INT64_MAX - digit) / 10) {
            return std::nullopt;
        }
        n = n * 10 + digit;
    }
    return n;
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
