// SPDX-License-Identifier: Apache-2.0
//
// Vary and the variant that a request asks for (RFC 9111 §4.1). A stored response's Vary becomes a canonical text of names; with
// it, each request gives a variant text, and requests with equal texts get the same stored response. The text is normalised only as
// far as the meaning stays the same: repeated fields are one list, white space goes, Accept-Encoding and Accept-Language lose case,
// the order of what is equally liked, and spelling (x-gzip). Pure; both texts are part of keys in shared memory and on disk.
#pragma once

#include "common/http/fields.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::http {

enum class VaryKind : std::uint8_t {
    none,  ///< one variant
    names, ///< the text says which request fields select
    any,   ///< "*", something malformed, or more than 32 names: never matches
};

/// Reads all Vary fields. For `names`, `out` (cleared first) gets the names in lower case, sorted, each once, joined by ',':
/// "accept-encoding,origin".
VaryKind read_vary(const Fields& response, std::string& out);

enum class Normalise : std::uint8_t {
    yes,
    no, ///< only what RFC 9111 §4.1 asks for: repeated fields joined, white space at the ends gone
};

/// Appends the variant text of `request` for `names` (a text that read_vary made): a line per name, "name:value\n", or "name\n"
/// where the field is absent (which differs from an empty one).
void append_variant(std::string_view names, const Fields& request, Normalise normalise, std::string& out);

/// The canonical form of a weighted list (Accept-Encoding, Accept-Language): members in lower case, sorted by weight and then by
/// name, '>' where the weight falls, "!x" for a weight of 0 where that says something. "gzip;q=0.5, BR" → "br>gzip". Malformed
/// members are kept as they are. Appends to `out`.
void append_preferences(std::string_view value, std::string& out);

} // namespace ladle::http
