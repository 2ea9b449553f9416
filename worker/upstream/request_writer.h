// SPDX-License-Identifier: Apache-2.0
//
// Writes the request that goes to the server, anew from the parsed form: never a byte of the client's framing. Hop-by-hop fields
// are left out (RFC 9110 §7.6.1), Via, Forwarded, X-Forwarded-* and X-Request-Id are set (RFC 7239).
#pragma once

#include "worker/net/blocks.h"
#include "worker/request/request.h"

#include <cstdint>
#include <string_view>

namespace ladle::worker {

/// How the body is announced to the server.
struct RequestBodyForm {
    bool has_length = false;
    bool is_chunked = false;
    std::uint64_t length = 0;

    static RequestBodyForm none() noexcept { return {}; }
    static RequestBodyForm of_length(std::uint64_t n) noexcept { return {true, false, n}; }
    static RequestBodyForm chunks() noexcept { return {false, true, 0}; }
};

/// The field in which servers of this site are told who the client is; empty where clients show no certificates.
std::string_view subject_header(const Request& request);

void write_request_head(const Request& request, RequestBodyForm form, Chain& out);

} // namespace ladle::worker
