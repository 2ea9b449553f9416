// SPDX-License-Identifier: Apache-2.0
//
// Host names, globs and near misses: small pure functions used by the loader, and by the router on every request (match_glob, which
// neither allocates nor backtracks exponentially).
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace ladle::config {

/// Whether the whole text matches the pattern, in which '*' stands for any characters (none too, and '/') and nothing else is
/// special. At most pattern.size() * text.size() steps.
bool match_glob(std::string_view pattern, std::string_view text);

/// Whether every text that `narrow` matches is matched by `wide`.
bool glob_covers(std::string_view wide, std::string_view narrow);

/// Lower case, without a dot at the end.
std::string normalise_host(std::string_view host);

/// A host name of letters, digits, '-' and '_' in labels of 1..63, at most 253 in all. Expects lower case.
bool is_host_name(std::string_view host);
/// Only digits and dots: no host name ends in a number, so this is an IPv4 address or a mistake.
bool looks_like_ipv4(std::string_view host);

/// Text without control characters: it may stand in a header field or a log line.
bool is_printable(std::string_view text);

/// Whether the host pattern ("example.com", "*.example.com" or "*") matches the host. '*.' stands for one or more labels.
bool match_host(std::string_view pattern, std::string_view host);
/// Whether every host that `narrow` matches is matched by `wide`.
bool host_covers(std::string_view wide, std::string_view narrow);

/// The candidate that `written` was probably meant to be; empty if none is near.
std::string_view nearest(std::string_view written, std::span<const std::string_view> candidates);

} // namespace ladle::config
