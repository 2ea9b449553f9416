// SPDX-License-Identifier: Apache-2.0
//
// The key under which a URL's responses are stored: a text, so that a purge by URL or by prefix finds it, `ladle cache` can show
// it, and two URLs never share one by chance. Spellings of the same URL share a key only where RFC 3986 §6.2.2 says that they mean
// the same: case of scheme and host, default port, %41 for A, case of hex digits. Dot segments stay: servers differ about them.
// Pure; the worker calls it for requests and the master for `ladle purge URL`.
//
//     http://example.com/a/b?x=1          the URL; what follows is absent in most keys
//     \n accept:text/html \n cookie.lang:en     chosen fields and cookies, a line each
#pragma once

#include "common/http/fields.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::http {

/// How much of the query is in the key.
enum class QueryPart : std::uint8_t {
    all,
    none,
    only,   ///< the parameters that a pattern names
    except, ///< those that no pattern names
};

/// What a key is made of (setting cache.key), by default the URL. A pattern is a parameter's name, '*' in it stands for anything.
struct KeyRules {
    bool scheme = true;
    bool host = true;
    bool path = true;
    QueryPart query = QueryPart::all;
    std::vector<std::string> query_patterns;
    bool sorts_query = false;         ///< parameters in byte order: a=1&b=2 and b=2&a=1 become one
    std::vector<std::string> headers; ///< lower case
    std::vector<std::string> cookies; ///< case-sensitive
};

/// Makes rules of the setting: "scheme", "host", "path", "query", "query:a,b", "query:!utm_*,fbclid", "query:sorted",
/// "header:NAME", "cookie:NAME". What is not listed is not in the key; an empty list is the default. The error says what is wrong
/// with which word.
std::expected<KeyRules, std::string> parse_key_rules(const std::vector<std::string>& words);

/// Where a request goes.
struct KeyTarget {
    std::string_view scheme;    ///< "http" or "https"
    std::string_view authority; ///< "Example.com:80"
    std::string_view path;      ///< as received, with '/'; "*" for OPTIONS
    std::string_view query;     ///< without '?'
    bool has_query = false;     ///< "/a?" and "/a" differ
};

/// Appends the key. `request` may be null (a purge: rules with headers or cookies then make the key's beginning, which all such
/// keys share).
void append_key(const KeyTarget& target, const Fields* request, const KeyRules& rules, std::string& out);

/// Splits "http://host/path?query" for append_key; a fragment is cut off. Nothing, if it is no http or https URL with a valid
/// authority.
bool split_url(std::string_view url, KeyTarget& out) noexcept;

/// Appends the URL of the target, normalised, with its whole query: "http://example.com/a?b".
void append_url(const KeyTarget& target, std::string& out);

/// Whether `pattern` ('*' stands for any bytes) fits `text`; linear in practice, at worst pattern × text.
bool fits_pattern(std::string_view pattern, std::string_view text) noexcept;

} // namespace ladle::http
