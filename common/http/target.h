// SPDX-License-Identifier: Apache-2.0
//
// The request-target and the authority (RFC 9112 §3.2, RFC 9110 §7.2): which site and path a request is for. Absolute-form and Host
// become one identity here. The path that is forwarded is the one received, byte for byte; routes match on a normalised copy. Pure.
#pragma once

#include "common/http/head.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace ladle::http {

enum class TargetForm : std::uint8_t { origin, absolute, asterisk, authority };

struct Target {
    TargetForm form = TargetForm::origin;
    std::string_view authority; ///< of absolute-form; else empty
    std::string_view path;      ///< as received, with its leading '/'; "/" for an absolute-form without one; "*" for asterisk-form
    std::string_view query;     ///< without '?'; empty when there is none
    std::string_view path_and_query; ///< what goes on to the server, after a '/' if `lacks_slash`
    bool lacks_slash = false;        ///< an absolute-form with a query and no path: "http://a?b"
    bool is_https = false;           ///< an absolute-form of that scheme; the others say none, or http
};

enum class TargetError : std::uint8_t {
    bad_target,
    bad_percent_encoding, ///< in the path, also an encoded NUL; queries are let be
    bad_host,
    missing_host,
    repeated_host,
    form_not_allowed, ///< CONNECT, authority-form, '*' with anything but OPTIONS
};

std::string_view name_of(TargetError error) noexcept;

std::expected<Target, TargetError> parse_target(const RequestHead& head) noexcept;

/// A valid "host" or "host:port" (RFC 3986 §3.2.2 without user information, percent-encoding and sub-delims, no empty
/// label but a last one; IP literals in brackets). Empty is not valid.
bool is_authority(std::string_view text) noexcept;

/// The host part, without the port.
std::string_view host_of(std::string_view authority) noexcept;

/// The authority that the request is for: absolute-form's, else Host's; empty only for HTTP/1.0 without Host. Checks that Host is
/// there exactly once and valid even where absolute-form overrides it.
std::expected<std::string_view, TargetError> find_authority(const RequestHead& head, const Target& target) noexcept;

/// Whether each '%' begins an escape of two hexadecimal digits, and none is a NUL.
bool has_good_percents(std::string_view path) noexcept;

/// Percent-decodes unreserved characters, removes dot segments (RFC 3986 §6.2.2). "/a/../%7eb" → "/~b". Never shorter than "/".
void normalise_path(std::string_view path, std::string& out);

} // namespace ladle::http
