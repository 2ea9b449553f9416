// SPDX-License-Identifier: Apache-2.0
//
// What a request that changes something makes invalid (RFC 9111 §4.4): the target, and what Location and Content-Location of the
// response point at if it is of the same origin. With it the resolution of relative references (RFC 3986 §5.2). Pure.
#pragma once

#include "common/http/fields.h"
#include "common/http/head.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::http {

/// Whether a response to this method invalidates: an unsafe method (an unknown one is), status 2xx or 3xx.
bool is_invalidating(Method method, std::uint16_t status) noexcept;

/// The URLs, normalised like append_url does: the target first, then those of Location and Content-Location that are of its origin
/// and differ.
struct Invalidated {
    std::array<std::string, 3> urls;
    std::size_t size = 0;
};

/// `url`: the request's ("http://host/path?query").
Invalidated find_invalidated(std::string_view url, const Fields& response);

/// Resolves `reference` against an absolute http(s) `base` (RFC 3986 §5.2.2, strict), without its fragment. Empty if it leads to
/// another scheme than http(s) or has no valid authority.
std::string resolve_reference(std::string_view base, std::string_view reference);

/// Same scheme, host and port (RFC 6454), of two absolute URLs.
bool is_same_origin(std::string_view a, std::string_view b) noexcept;

} // namespace ladle::http
