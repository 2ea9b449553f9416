// SPDX-License-Identifier: Apache-2.0
//
// Why a request or a connection ended as it did, once: R(name, text). The name stands in the access log ("reason") and counts.
#pragma once

#include <cstdint>
#include <string_view>

#define LADLE_REASONS(R) \
    R(ok, "answered") \
    R(bad_request, "the request was malformed") \
    R(bad_framing, "the request's length was ambiguous") \
    R(bad_host, "Host was missing, repeated or malformed") \
    R(bad_chunk, "the request's chunked coding was broken") \
    R(bad_version, "not HTTP/1.0 or HTTP/1.1") \
    R(method_not_allowed, "a method that is not proxied") \
    R(target_too_long, "the target was over its limit") \
    R(head_too_large, "the request's head was over its limit") \
    R(body_too_large, "the request's body was over its limit") \
    R(expectation_failed, "an expectation other than 100-continue") \
    R(head_timeout, "the request's head took too long") \
    R(body_timeout, "the request's body stalled") \
    R(no_site, "no site of that name") \
    R(no_route, "no route matched") \
    R(client_left, "the client left before its answer was complete") \
    R(client_stalled, "the client stopped reading") \
    R(no_server, "no server could be used") \
    R(name_unresolved, "the server's name has no address yet") \
    R(queue_full, "too many requests wait for a server") \
    R(queue_timeout, "no server became free in time") \
    R(connect_failed, "the server refused or could not be reached") \
    R(connect_timeout, "the server did not take the connection in time") \
    R(server_reset, "the server closed or reset before it answered") \
    R(server_timeout, "the server did not answer in time") \
    R(server_bad_head, "the server's response head was malformed or too large") \
    R(server_bad_framing, "the length of the server's response was ambiguous") \
    R(server_bad_interim, "the server sent an interim response that may not be there") \
    R(server_cut, "the server's response ended before its length") \
    R(server_bad_chunk, "the server's chunked coding was broken") \
    R(server_stalled, "the server stopped sending") \
    R(tunnel_closed, "the tunnel ended") \
    R(tunnel_idle, "the tunnel was silent too long")

namespace ladle::worker {

enum class Reason : std::uint8_t {
#define LADLE_REASON_ENUM(name, text) name,
    LADLE_REASONS(LADLE_REASON_ENUM)
#undef LADLE_REASON_ENUM
};

/// "client_left": for logs.
constexpr std::string_view name_of(Reason reason) noexcept
{
    constexpr std::string_view names[] = {
#define LADLE_REASON_NAME(name, text) #name,
        LADLE_REASONS(LADLE_REASON_NAME)
#undef LADLE_REASON_NAME
    };
    return names[static_cast<std::size_t>(reason)];
}

} // namespace ladle::worker
