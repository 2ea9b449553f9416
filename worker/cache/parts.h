// SPDX-License-Identifier: Apache-2.0
//
// Parts of representations in the cache (RFC 9111 §3.3, §3.4, RFC 9110 §15.3.7.3). Of a URL (and variant) one stretch of bytes may be
// stored beside or instead of the whole: under a name of its own, status 206, StoredMeta saying where it begins and how long the whole
// is. It answers requests for what lies within it; what adjoins it is asked of the server with If-Range and joined to it, where a strong
// ETag says that both are of one representation; joined up to the whole it becomes an ordinary 200.
#pragma once

#include "common/http/range.h"
#include "worker/cache/visit.h"
#include "worker/request/request.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::worker {

/// Where the bytes of a 206 belong, and what they are joined to.
struct PartShape {
    std::uint64_t first = 0;  ///< of the object to be stored
    std::uint64_t length = 0; ///< of its body
    std::uint64_t total = 0;  ///< of the whole representation
    bool is_whole() const noexcept { return length == total; }
};

/// The variant under which the part of a representation is stored.
std::string part_variant(std::string_view variant);

/// Looks for a stored part where the whole is not stored. True: it answers the request, and is the visit's view.
bool find_part(Request& request);

/// What a request for the rest of the part found says to the server; "" = the part is of no use for this request.
std::string ask_for_rest(Request& request);

/// The shape of the object that the 206 in `request` makes, joined to the part found where the rest of it was asked for. Nothing: it is no
/// single range of known length, or not of the same representation.
std::optional<PartShape> shape_of_part(const Request& request, std::uint64_t body_bytes);

/// Bytes of the wanted range within the part that is the visit's view. Precondition: find_part() said yes, or it was just stored.
std::optional<http::ByteRange> range_in_part(const CacheVisit& visit);

} // namespace ladle::worker
