// SPDX-License-Identifier: Apache-2.0
//
// How long a message's body is (RFC 9112 §6), decided once, strictly. Anything on which two implementations could differ is an
// error: Content-Length twice or beside Transfer-Encoding, odd numbers, any coding but one "chunked", chunked in HTTP/1.0. What is
// forwarded is written anew from this decision, never copied. Pure.
#pragma once

#include "common/http/head.h"

#include <cstdint>
#include <expected>
#include <string_view>

namespace ladle::http {

enum class BodyKind : std::uint8_t {
    none,        ///< no body at all
    length,      ///< exactly `length` bytes (may be 0)
    chunked,     ///< chunks and trailers
    until_close, ///< a response to the end of the connection
};

struct Framing {
    BodyKind kind = BodyKind::none;
    std::uint64_t length = 0;
};

enum class FramingError : std::uint8_t {
    length_and_coding,   ///< Content-Length and Transfer-Encoding
    repeated_length,
    bad_length,
    unknown_coding,      ///< anything but one "chunked"
    odd_blanks,          ///< of a request: more than one space around a framing field's value
    coding_in_http_1_0,
    body_not_allowed,    ///< a 1xx or 204 that announces a body
};

std::string_view name_of(FramingError error) noexcept;

/// RFC 9112 §6.3 for requests: never until_close. Stricter than its grammar in one thing: more than the one usual space around the
/// value of a framing field is refused, as parsers differ in what they trim and no client sends it.
std::expected<Framing, FramingError> request_framing(const RequestHead& head) noexcept;

/// RFC 9112 §6.3 for the response to a request with `method`. Interim (1xx) responses, 204, 304 and answers to HEAD: none; for the
/// last two `length` is then what Content-Length said, for information.
std::expected<Framing, FramingError> response_framing(const ResponseHead& head, Method method) noexcept;

} // namespace ladle::http
