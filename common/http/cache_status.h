// SPDX-License-Identifier: Apache-2.0
//
// Cache-Status (RFC 9211): what the cache did with a request, for people who look at a response. One member is appended to those
// that caches nearer to the server have written. The syntax is that of Structured Fields (RFC 8941): what is no token becomes a
// string. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::http {

/// Why a request went on to a server (§2.2).
enum class Forwarded : std::uint8_t {
    no,        ///< a hit
    bypass,    ///< the cache was told not to handle it
    method,    ///< the request's method
    uri_miss,  ///< nothing is stored for the URL
    vary_miss, ///< stored variants don't fit
    miss,      ///< nothing stored, no further known
    request,   ///< fresh, but the request demanded it
    stale,     ///< stored, but stale
    partial,   ///< a part is missing
};
std::string_view name_of(Forwarded forwarded) noexcept;

struct CacheStatus {
    Forwarded forwarded = Forwarded::no;
    std::optional<std::uint16_t> server_status; ///< fwd-status; left out where it equals the response's own
    std::optional<std::int64_t> ttl_s;          ///< may be negative
    bool is_stored = false;
    bool is_collapsed = false;
    std::string_view key;    ///< empty: left out
    std::string_view detail; ///< empty: left out
};

/// Appends "ladle; fwd=uri-miss; fwd-status=200; stored; collapsed; ttl=60; key="…"; detail=…". A byte of `key` or `detail` that a
/// string cannot hold becomes '?'.
void append_cache_status(const CacheStatus& status, std::string_view cache_name, std::string& out);

} // namespace ladle::http
