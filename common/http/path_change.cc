// SPDX-License-Identifier: Apache-2.0
#include "common/http/path_change.h"

#include "common/http/grammar.h"
#include "common/http/target.h"

#include <algorithm>
#include <utility>

namespace ladle::http {

namespace {

constexpr std::string_view kNoUrl = "\"<>\\^`{|}"; // visible, but no part of any URL

void append_escaped(char c, std::string& out)
{
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
}

/// A text from the path. In a query '&' and its like would begin another argument; in a Location what RFC 3986 has no place for is
/// read in odd ways ('\' as '/').
void append_captured(std::string_view text, bool in_query, bool in_location, std::string& out)
{
    const std::string_view marks = in_query ? "&+;=?" : "";
    const std::string_view odd = in_location || in_query ? kNoUrl : "";
    for (const char c : text) {
        if (marks.find(c) != std::string_view::npos || odd.find(c) != std::string_view::npos) {
            append_escaped(c, out);
        } else {
            out += c;
        }
    }
}

/// The length of "https://example.com" at the beginning of a redirect's template; 0 where it has none, npos where it is wrong.
std::size_t length_of_origin(std::string_view text)
{
    const std::size_t scheme = text.find("://");
    if (text.starts_with('/') || text.starts_with('$') || scheme == std::string_view::npos) {
        return text.starts_with('/') || text.starts_with('$') ? 0 : std::string_view::npos;
    }
    const std::string_view name = text.substr(0, scheme);
    const std::size_t end = std::min(text.find_first_of("/?$", scheme + 3), text.size());
    // A capture may follow the host as the beginning of the path, but not stand in the middle of what looks like a name.
    const bool is_in_name = end < text.size() && text[end] == '$' && end + 2 < text.size() &&
                            std::string_view("/?$").find(text[end + 2]) == std::string_view::npos;
    const bool is_good = (name == "http" || name == "https") && !is_in_name &&
                         is_authority(text.substr(scheme + 3, end - scheme - 3));
    return is_good ? end : std::string_view::npos;
}

/// Without the slashes that would make a host of the first segment.
std::string_view without_slashes(std::string_view path)
{
    while (path.starts_with("//")) {
        path.remove_prefix(1);
    }
    return path;
}

} // namespace

std::expected<PathTemplate, std::string> PathTemplate::parse(std::string_view text, For use)
{
    PathTemplate out;
    out.is_redirect_ = use == For::redirect;
    if (text.empty() || text.size() > kMostTemplateBytes) {
        return std::unexpected("it has from 1 to " + std::to_string(kMostTemplateBytes) + " bytes");
    }
    if (!all_class(text, kTarget) || text.find_first_of(kNoUrl) != text.npos) {
        return std::unexpected("it holds only characters of a URL, and no \"#\": write others as %20");
    }
    const bool begins_with_path = text.starts_with('/') || text.starts_with('$');
    const std::size_t origin = out.is_redirect_ ? length_of_origin(text) : begins_with_path ? 0 : text.npos;
    if (origin == text.npos) {
        return std::unexpected(out.is_redirect_ ? "it begins with \"/\", or with \"https://\" and a host without captures"
                                                : "it begins with \"/\"");
    }
    const auto add = [&](std::string piece, int capture) { out.pieces_.push_back({std::move(piece), capture, out.has_query_}); };
    std::string literal(text.substr(0, origin));
    if (origin > 0) {
        add(std::exchange(literal, {}), -1);
    }
    std::size_t captures = 0;
    for (std::size_t at = origin; at < text.size(); ++at) {
        const char next = at + 1 < text.size() ? text[at + 1] : '\0';
        if (text[at] == '$' && is_class(next, kDigit)) {
            add(std::exchange(literal, {}), -1);
            add({}, next - '0');
            out.highest_ = std::max(out.highest_, static_cast<unsigned>(next - '0'));
            ++captures;
            ++at;
        } else if (text[at] == '$' && next != '$') {
            return std::unexpected("\"$\" is followed by the number of a group, $0 to $9; \"$$\" is a dollar");
        } else if (text[at] == '?' && !out.has_query_) {
            add(std::exchange(literal, {}), -1);
            out.drops_query_ = at + 1 == text.size();
            out.has_query_ = true;
        } else {
            literal += text[at];
            at += text[at] == '$' ? 1 : 0;
        }
    }
    add(literal, -1);
    std::erase_if(out.pieces_, [](const Piece& piece) { return piece.capture < 0 && piece.text.empty(); });
    if (captures > kMostTemplateCaptures) {
        return std::unexpected("it has more than " + std::to_string(kMostTemplateCaptures) + " captures");
    }
    out.has_origin_ = origin > 0;
    return out;
}

void PathTemplate::fill(const Captures& captures, QueryText query, std::string& out) const
{
    const std::size_t begin = out.size();
    std::size_t path_at = begin;
    std::size_t number = 0;
    bool in_query = false;
    for (const Piece& piece : pieces_) {
        if (piece.in_query && !in_query) {
            in_query = true;
            out += out.size() == path_at ? "/?" : "?";
        }
        if (piece.capture < 0) {
            out += piece.text;
        } else {
            append_captured(captures[static_cast<std::size_t>(piece.capture)], piece.in_query, is_redirect_, out);
        }
        if (has_origin_ && number++ == 0) {
            path_at = out.size();
        }
    }
    // Whatever the captures took, a path follows the host, and none that begins as a host does.
    if (path_at == out.size() || (out[path_at] != '/' && out[path_at] != '?')) {
        out.insert(path_at, 1, '/');
    }
    const std::size_t extra = out.size() - path_at - without_slashes(std::string_view(out).substr(path_at)).size();
    out.erase(path_at, extra);
    if (query.is_there && !drops_query_) {
        out += in_query ? '&' : '?';
        out += query.text;
    }
}

bool capture(const RE2* expression, std::string_view path, unsigned highest, Captures& out)
{
    out.fill({});
    out[0] = path;
    if (expression == nullptr) {
        return true;
    }
    std::array<re2::StringPiece, 10> taken;
    const int wanted = static_cast<int>(highest) + 1;
    if (!expression->Match({path.data(), path.size()}, 0, path.size(), RE2::ANCHOR_BOTH, taken.data(), wanted)) {
        return false;
    }
    for (unsigned i = 1; i <= highest; ++i) {
        out[i] = taken[i].data() == nullptr ? std::string_view{} : std::string_view(taken[i].data(), taken[i].size());
    }
    return true;
}

bool PathChange::apply(std::string_view path, QueryText query, std::string& out) const
{
    if (!path.starts_with('/')) {
        return false; // OPTIONS *
    }
    std::string changed;
    if (!strip.empty()) {
        if (!path.starts_with(strip) || (path.size() > strip.size() && path[strip.size()] != '/')) {
            return false;
        }
        changed = without_slashes(path.substr(strip.size()));
        changed += changed.empty() ? "/" : "";
        changed += query.is_there ? "?" : "";
        changed += query.text;
    }
    Captures captures;
    if (has_rewrite) {
        if (!capture(expression.get(), path, to.highest_capture(), captures)) {
            return false;
        }
        to.fill(captures, query, changed);
    } else if (strip.empty()) {
        return false;
    }
    const std::size_t end = std::min(changed.find('?'), changed.size());
    const std::string_view made = std::string_view(changed).substr(0, end);
    if (!has_good_percents(made)) {
        return false; // a capture that cut an escape in two
    }
    normalise_path(made, out);
    if (std::ranges::count(out, '/') < std::ranges::count(made, '/')) {
        out.clear();
        return false; // a capture that begins or ends within a segment made a "..": it would lead to where other routes judge
    }
    out.erase(0, out.size() - without_slashes(out).size());
    out += std::string_view(changed).substr(end);
    return true;
}

std::string Redirection::apply(std::string_view path, QueryText query) const
{
    Captures captures;
    std::string out;
    if (!capture(expression.get(), path, to.highest_capture(), captures)) {
        captures[0] = path;
    }
    to.fill(captures, query, out);
    return out;
}

} // namespace ladle::http
