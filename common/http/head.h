// SPDX-License-Identifier: Apache-2.0
//
// Parsers of a request's and a response's head (RFC 9112 §2–5), strict: what the grammar does not allow is refused, never repaired,
// since every repair is a difference of opinion with the next server. Incremental and linear: each line is looked at once, as soon
// as it is complete, so a refusal comes with the line that causes it. Pure: bytes in, places out.
//
// The caller keeps the received bytes from the head's first one on in one piece and calls parse() with all of them whenever more
// came; after a move of the bytes nothing else is needed, parse() rebases.
#pragma once

#include "common/http/fields.h"

#include <cstdint>
#include <string_view>

namespace ladle::http {

enum class Version : std::uint8_t { http_1_0, http_1_1 };

enum class Method : std::uint8_t { other, get, head, post, put, delete_, options, trace, patch, connect };

/// Why a head was refused; each maps to one status in the answer (status.h) and to the reason in the access log.
enum class HeadError : std::uint8_t {
    none,
    bare_line_feed,
    bad_request_line,
    bad_status_line,
    bad_version,         ///< well-formed, but not HTTP/1.0 or HTTP/1.1
    bad_target,
    target_too_long,
    bad_field_line,      ///< no colon, empty or non-token name, space before the colon
    folded_line,         ///< obs-fold, or white space before the first field
    bad_field_value,     ///< control characters, CR, NUL
    head_too_large,
    too_many_fields,
};

/// "bare_line_feed", … for logs.
std::string_view name_of(HeadError error) noexcept;

enum class Progress : std::uint8_t { incomplete, complete, refused };

struct HeadLimits {
    std::size_t head_bytes = 32 << 10;
    std::size_t target_bytes = 8 << 10;
};

/// Splits a block of bytes into field lines up to the empty line; the common part of both heads and of trailers. Begins at
/// `position`, and moves it past every complete line.
Progress parse_field_lines(std::string_view bytes, std::size_t& position, Fields& fields, HeadError& error);

class RequestHead {
public:
    explicit RequestHead(std::size_t field_limit = 100) noexcept : fields(field_limit) {}

    Progress parse(std::string_view bytes, const HeadLimits& limits);
    void clear() noexcept;
    /// The bytes have moved, and none came: what has been parsed stands there now.
    void rebase(const char* base) noexcept
    {
        base_ = base;
        fields.rebase(base);
    }

    /// Bytes of the head, with the empty line; valid when complete.
    std::size_t size() const noexcept { return position_; }
    /// Whether any byte of a request has been seen (an empty line before it does not count).
    bool has_begun(std::string_view bytes) const noexcept { return bytes.size() > start_; }

    /// All of a complete head's bytes, from what may stand before the request line on.
    std::string_view text() const noexcept { return {base_, position_}; }
    std::string_view method_text() const noexcept { return {base_ + method_at_, method_length_}; }
    std::string_view target() const noexcept { return {base_ + target_at_, target_length_}; }

    Method method = Method::other;
    Version version = Version::http_1_1;
    Fields fields;
    HeadError error = HeadError::none;

private:
    HeadError parse_request_line(std::string_view line, const HeadLimits& limits);

    const char* base_ = nullptr;
    std::uint32_t start_ = 0;
    std::uint32_t method_at_ = 0;
    std::uint32_t method_length_ = 0;
    std::uint32_t target_at_ = 0;
    std::uint32_t target_length_ = 0;
    std::size_t position_ = 0;
    bool has_line_ = false;
};

class ResponseHead {
public:
    explicit ResponseHead(std::size_t field_limit = 200) noexcept : fields(field_limit) {}

    Progress parse(std::string_view bytes, const HeadLimits& limits);
    void clear() noexcept;
    /// Becomes the same as another one, which was parsed and is complete, on the same bytes.
    void assign(const ResponseHead& other);

    std::size_t size() const noexcept { return position_; }
    std::string_view reason() const noexcept { return {base_ + reason_at_, reason_length_}; }

    std::uint16_t status = 0;
    Version version = Version::http_1_1;
    Fields fields;
    HeadError error = HeadError::none;

private:
    HeadError parse_status_line(std::string_view line);

    const char* base_ = nullptr;
    std::uint32_t reason_at_ = 0;
    std::uint32_t reason_length_ = 0;
    std::size_t position_ = 0;
    bool has_line_ = false;
};

/// GET, HEAD, OPTIONS, TRACE (RFC 9110 §9.2.1).
bool is_safe(Method method) noexcept;
/// The safe ones, PUT and DELETE (RFC 9110 §9.2.2).
bool is_idempotent(Method method) noexcept;

} // namespace ladle::http
