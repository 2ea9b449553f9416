// SPDX-License-Identifier: Apache-2.0
//
// Which fields of a message are for the next hop only (RFC 9110 §7.6.1).
#pragma once

#include "common/http/fields.h"

#include <string_view>

namespace ladle::worker {

/// Marks fields as dropped: the hop-by-hop ones, those that Connection lists, and those that we write ourselves (framing, Host).
/// Listing a field that decides framing, routing or identity in Connection changes nothing.
void mark_hop_by_hop(http::Fields& fields);

/// Marks fields as dropped whose name with '-' for '_' is one that decides framing, routing or identity, or for which the cache is
/// passed by (http::kOverrides): servers that make variables of names (CGI, WSGI, PHP) cannot tell "X_Forwarded_For" from the
/// X-Forwarded-For that we set.
void mark_look_alikes(http::Fields& fields);

/// Whether a server could take a field of this name for the wanted one: some see no difference between '-' and '_'. None looks
/// like "".
bool looks_like(std::string_view name, std::string_view wanted) noexcept;

/// Whether a trailer of this name must not be passed on (RFC 9110 §6.5.1): framing, routing, authentication, content and control
/// fields.
bool is_forbidden_trailer(http::FieldName id, std::string_view name) noexcept;

} // namespace ladle::worker
