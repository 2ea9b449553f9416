// SPDX-License-Identifier: Apache-2.0
#include "common/http/framing.h"

namespace ladle::http {

namespace {

struct Announced {
    bool has_length = false;
    bool is_chunked = false;
    std::uint64_t length = 0;
};

std::expected<Announced, FramingError> read_announcement(const Fields& fields, Version version) noexcept
{
    Announced announced;
    if (fields.has(FieldName::transfer_encoding)) {
        if (fields.has(FieldName::content_length)) {
            return std::unexpected(FramingError::length_and_coding);
        }
        if (version == Version::http_1_0) {
            return std::unexpected(FramingError::coding_in_http_1_0);
        }
        if (fields.count(FieldName::transfer_encoding) != 1 ||
            !equals_ignoring_case(fields.value_of(FieldName::transfer_encoding), "chunked")) {
            return std::unexpected(FramingError::unknown_coding);
        }
        announced.is_chunked = true;
    }
    if (fields.has(FieldName::content_length)) {
        if (fields.count(FieldName::content_length) != 1) {
            return std::unexpected(FramingError::repeated_length);
        }
        const auto length = parse_decimal(fields.value_of(FieldName::content_length));
        if (!length) {
            return std::unexpected(FramingError::bad_length);
        }
        announced.has_length = true;
        announced.length = *length;
    }
    return announced;
}

} // namespace

std::string_view name_of(FramingError error) noexcept
{
    switch (error) {
    case FramingError::length_and_coding: return "length_and_coding";
    case FramingError::repeated_length: return "repeated_length";
    case FramingError::bad_length: return "bad_length";
    case FramingError::unknown_coding: return "unknown_coding";
    case FramingError::odd_blanks: return "odd_blanks";
    case FramingError::coding_in_http_1_0: return "coding_in_http_1_0";
    case FramingError::body_not_allowed: return "body_not_allowed";
    }
    return "unknown";
}

std::expected<Framing, FramingError> request_framing(const RequestHead& head) noexcept
{
    const auto announced = read_announcement(head.fields, head.version);
    if (!announced) {
        return std::unexpected(announced.error());
    }
    for (const FieldName id : {FieldName::content_length, FieldName::transfer_encoding}) {
        const Field* field = head.fields.find(id);
        if (field != nullptr && !head.fields.is_plainly_spaced(*field)) {
            return std::unexpected(FramingError::odd_blanks);
        }
    }
    if (announced->is_chunked) {
        return Framing{BodyKind::chunked, 0};
    }
    if (announced->has_length) {
        return Framing{BodyKind::length, announced->length};
    }
    return Framing{};
}

std::expected<Framing, FramingError> response_framing(const ResponseHead& head, Method method) noexcept
{
    const auto announced = read_announcement(head.fields, head.version);
    if (!announced) {
        return std::unexpected(announced.error());
    }
    if (head.status < 200 || head.status == 204) {
        // RFC 9110 §8.6, RFC 9112 §6.1: neither field may stand there. "Content-Length: 0" with a 204 is common and harmless.
        if (announced->is_chunked || (announced->has_length && (head.status < 200 || announced->length != 0))) {
            return std::unexpected(FramingError::body_not_allowed);
        }
        return Framing{};
    }
    if (head.status == 304 || method == Method::head) {
        return Framing{BodyKind::none, announced->length};
    }
    if (announced->is_chunked) {
        return Framing{BodyKind::chunked, 0};
    }
    if (announced->has_length) {
        return Framing{BodyKind::length, announced->length};
    }
    return Framing{BodyKind::until_close, 0};
}

} // namespace ladle::http
