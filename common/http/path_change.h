// SPDX-License-Identifier: Apache-2.0
//
// What a route makes of a path: another one for the server (strip, rewrite), or the URL of a redirect. Works on the normalised
// path, the one that routes match, so that what was matched is what is sent; and the outcome is normalised again. The texts that a
// request brings in are those that captures have taken out of its path: they cannot become another host, another argument or
// another header. Built by load(), immutable; pure, any thread.
#pragma once

#include <re2/re2.h>

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::http {

inline constexpr std::size_t kMostTemplateBytes = 2048;
inline constexpr std::size_t kMostTemplateCaptures = 16;

/// $0 is the whole path.
using Captures = std::array<std::string_view, 10>;

/// What a path was asked with behind its '?'.
struct QueryText {
    std::string_view text;
    bool is_there = false; ///< "/a?" has one, "/a" has none
};

/// "/new/$1?from=$2", for redirects also "https://example.com/$1": texts and captures. The request's own query is kept, behind the
/// template's; a template that ends in '?' drops it. "$$" is a dollar.
class PathTemplate {
public:
    enum class For : std::uint8_t { rewrite, redirect };
    /// The error says what is wrong with the text.
    static std::expected<PathTemplate, std::string> parse(std::string_view text, For use);

    unsigned highest_capture() const noexcept { return highest_; }
    /// Appends the outcome.
    void fill(const Captures& captures, QueryText query, std::string& out) const;

private:
    struct Piece {
        std::string text;
        int capture = -1; ///< the text where it is none
        bool in_query = false;
    };
    std::vector<Piece> pieces_;
    unsigned highest_ = 0;
    bool is_redirect_ = false;
    bool has_origin_ = false; ///< the first piece is a scheme and a host
    bool has_query_ = false;
    bool drops_query_ = false;
};

/// The text of a regular expression, in RE2's syntax; null where there is none.
using Expression = std::shared_ptr<const RE2>;

/// Whether the whole path matches, with what its groups took; without an expression every path does.
bool capture(const RE2* expression, std::string_view path, unsigned highest, Captures& out);

/// How the path that the server gets comes out of the normalised one.
struct PathChange {
    std::string strip;     ///< "/v2": taken off where a segment ends; empty = not
    Expression expression; ///< of the rewrite
    PathTemplate to;
    bool has_rewrite = false;

    /// Puts what is sent, path and query, into `out`. False: it stays as it came.
    bool apply(std::string_view path, QueryText query, std::string& out) const;
};

/// Where a client is sent instead.
struct Redirection {
    Expression expression; ///< the route's own
    PathTemplate to;
    std::uint16_t status = 308;

    std::string apply(std::string_view path, QueryText query) const;
};

} // namespace ladle::http
