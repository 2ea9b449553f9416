// SPDX-License-Identifier: Apache-2.0
//
// Which fields are stored with a response, which of them a 304 or a HEAD replaces, and which a 304 of ours carries (RFC 9111 §3.1,
// §3.2, RFC 9110 §15.4.5). Three questions with one answer per field, and the merging of heads that follows from them. Pure.
//
// A stored head is text: "Name: value\r\n" lines as a server sent them, without a status line and without the empty line;
// parse_field_lines (head.h) reads it again. Age is not in it (it is computed), nor Content-Length, Connection and the other fields
// of one connection.
#pragma once

#include "common/http/cache_control.h"
#include "common/http/fields.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::http {

/// Whether a field is kept (§3.1): not those of the connection, not Proxy-Authenticate, Proxy-Authentication-Info and
/// Proxy-Authorization, not what no-cache="…" or private="…" names, not Age and Content-Length, which are written anew. Set-Cookie
/// is; `cookies_too` false leaves it out (CookieRule::ignore). Fields that are marked as dropped (listed in Connection) are the
/// caller's to leave out: append_stored_head does.
bool is_stored(FieldName id, std::string_view name, const ResponseDirectives& directives, bool cookies_too) noexcept;

/// Whether a 304's (or HEAD answer's) field takes the place of the stored ones of that name (§3.2): all that are stored, but for
/// what describes the stored bytes: Content-Encoding, Content-Length, Content-MD5, Content-Range,
/// and ETag, which by then is the same.
bool is_updated(FieldName id, std::string_view name) noexcept;

/// Whether our own 304 carries the stored field (RFC 9110 §15.4.5): Cache-Control, Content-Location, Date, ETag, Expires, Vary;
/// Last-Modified only without an ETag; the targeted fields; and any that is not about the representation (RFC 9110 §15.4.5 "SHOULD
/// NOT generate representation metadata other than…").
bool is_in_304(FieldName id, std::string_view name, bool has_etag) noexcept;

/// Appends the stored head of a response: its fields that are stored and not marked as dropped.
void append_stored_head(const Fields& response, const ResponseDirectives& directives, bool cookies_too, std::string& out);

/// Appends the head that a 304 makes of a stored one: stored lines that `received` does not replace, then those of `received` that
/// do.
void append_merged_head(const Fields& stored, const Fields& received, const ResponseDirectives& received_directives,
                        bool cookies_too, std::string& out);

} // namespace ladle::http
