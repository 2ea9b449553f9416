// SPDX-License-Identifier: Apache-2.0
#include "common/config/names.h"

#include <algorithm>
#include <vector>

namespace ladle::config {

namespace {

/// Optimal string alignment distance (a swap of neighbours counts one), given up above `limit`.
std::size_t distance(std::string_view a, std::string_view b, std::size_t limit)
{
    if ((a.size() > b.size() ? a.size() - b.size() : b.size() - a.size()) > limit) {
        return limit + 1;
    }
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        last[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, change});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = std::min(row[j], before[j - 2] + 1);
            }
        }
        before.swap(last);
        last.swap(row);
    }
    return last[b.size()];
}

} // namespace

bool match_glob(std::string_view pattern, std::string_view text)
{
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = std::string_view::npos;
    std::size_t star_text = 0;
    while (t < text.size()) {
        // The star first: in glob_covers the text itself may hold one.
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            star_text = t;
        } else if (p < pattern.size() && pattern[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != std::string_view::npos) {
            p = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.size() && pattern[p] == '*') {
        ++p;
    }
    return p == pattern.size();
}

// A '*' of `narrow` may become anything, so only a '*' of `wide` can take it: with '*' as an ordinary character of the text, which
// no other character of a pattern equals, one match decides.
bool glob_covers(std::string_view wide, std::string_view narrow)
{
    return match_glob(wide, narrow);
}

std::string normalise_host(std::string_view host)
{
    std::string out(host);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') {
            c = static_cast<char>(c + 32);
        }
    }
    if (out.size() > 1 && out.ends_with('.')) {
        out.pop_back();
    }
    return out;
}

bool is_host_name(std::string_view host)
{
    if (host.empty() || host.size() > 253) {
        return false;
    }
    std::size_t label = 0;
    for (const char c : host) {
        if (c == '.') {
            if (label == 0) {
                return false;
            }
            label = 0;
            continue;
        }
        const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!good || ++label > 63) {
            return false;
        }
    }
    return label > 0;
}

bool looks_like_ipv4(std::string_view host)
{
    return std::all_of(host.begin(), host.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool is_printable(std::string_view text)
{
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; });
}

bool match_host(std::string_view pattern, std::string_view host)
{
    if (pattern == "*") {
        return true;
    }
    if (pattern.starts_with("*.")) {
        return host.size() > pattern.size() - 1 && host.ends_with(pattern.substr(1));
    }
    return pattern == host;
}

bool host_covers(std::string_view wide, std::string_view narrow)
{
    if (wide == narrow || wide == "*") {
        return true;
    }
    return narrow != "*" && match_host(wide, narrow.starts_with("*.") ? narrow.substr(1) : narrow);
}

std::string_view nearest(std::string_view written, std::span<const std::string_view> candidates)
{
    if (written.size() > 64) {
        return {};
    }
    const std::size_t limit = std::max<std::size_t>(1, (written.size() + 1) / 3);
    std::string_view best;
    std::size_t best_distance = limit + 1;
    for (const std::string_view candidate : candidates) {
        const std::size_t d = distance(written, candidate, limit);
        if (d < best_distance) {
            best = candidate;
            best_distance = d;
        }
    }
    return best;
}

} // namespace ladle::config
