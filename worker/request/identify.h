// SPDX-License-Identifier: Apache-2.0
//
// The step "identify": who the client is (the peer, or what a trusted proxy in front of us says), and the request's id.
#pragma once

#include "worker/request/request.h"

#include <span>

namespace ladle::worker {

/// Sets client_address, scheme, is_trusted_peer, client_bucket and id. Forwarded fields are believed only from [trust] addresses:
/// then the client is the last address in X-Forwarded-For (or Forwarded) that is not itself trusted. The id is the X-Request-Id
/// that came, if it is at most 128 letters, digits and "-._~", from whomever: it correlates, it proves nothing; else 128 random
/// bits.
void identify(Request& request);

/// Where budgets count a client of that address.
std::uint32_t client_bucket_of(std::string_view address, const shm::Regions& regions) noexcept;

/// Whether the client's address lies in one of the ranges. One behind a Unix socket lies in none.
bool is_client_in(const Request& request, std::span<const config::Cidr> ranges);

} // namespace ladle::worker
