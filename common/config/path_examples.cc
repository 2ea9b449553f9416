// SPDX-License-Identifier: Apache-2.0
#include "common/config/path_examples.h"

#include "common/config/names.h"
#include "common/config/route_cover.h"

#include <fmt/format.h>

#include <algorithm>

namespace ladle::config {

namespace {

constexpr std::string_view kWord = "example";
constexpr std::size_t kMostLines = 200;
constexpr std::size_t kMostText = 1024; // of an example: what is longer is of no use to anybody

/// Goes over an expression; what it does not know it passes over.
class TextMaker {
public:
    explicit TextMaker(std::string_view expression) : rest_(expression) {}

    std::string make(int depth = 0)
    {
        std::string out;
        bool is_first_choice = true;
        while (!rest_.empty() && rest_.front() != ')' && depth < 32) {
            if (rest_.front() == '|') {
                is_first_choice = false;
                rest_.remove_prefix(1);
                continue;
            }
            const std::string piece = take_piece(depth);
            out += is_first_choice ? piece : std::string();
            out.resize(std::min(out.size(), kMostText));
        }
        return out;
    }

private:
    /// One literal, class or group, with its quantifier.
    std::string take_piece(int depth)
    {
        const char c = rest_.front();
        rest_.remove_prefix(1);
        std::string piece(1, c);
        bool is_any = false;
        if (c == '(') {
            if (rest_.starts_with("?:")) {
                rest_.remove_prefix(2);
            } else if (rest_.starts_with("?P<")) {
                rest_.remove_prefix(std::min(rest_.find('>') + 1, rest_.size()));
            }
            piece = make(depth + 1);
            rest_.remove_prefix(rest_.empty() ? 0 : 1);
        } else if (c == '[') {
            piece = take_class();
        } else if (c == '\\' && !rest_.empty()) {
            const char escaped = rest_.front();
            rest_.remove_prefix(1);
            if (escaped == 'Q') {
                return take_quoted();
            }
            piece = escaped == 'd' ? "1" : escaped == 'w' ? "a" : std::string(1, escaped);
        } else if (c == '.') {
            is_any = true;
            piece = "a";
        } else if (c == '^' || c == '$') {
            piece.clear();
        }
        return repeat(piece, is_any);
    }

    /// What stands up to \E, as it is; what follows that repeats the last character.
    std::string take_quoted()
    {
        const std::size_t end = std::min(rest_.find("\\E"), rest_.size());
        std::string text(rest_.substr(0, std::min(end, kMostText)));
        rest_.remove_prefix(std::min(end + 2, rest_.size()));
        if (text.empty()) {
            return text;
        }
        const std::string last(1, text.back());
        text.pop_back();
        return text + repeat(last, false);
    }

    std::string take_class()
    {
        const std::size_t from = rest_.starts_with(']') || rest_.starts_with("^]") ? 2 : 0;
        const std::size_t end = std::min(rest_.find(']', from), rest_.size());
        const std::string_view members = rest_.substr(0, end);
        rest_.remove_prefix(std::min(end + 1, rest_.size()));
        if (members.starts_with('^')) {
            constexpr std::string_view kTried = "a1-x_";
            const std::size_t free = kTried.find_first_not_of(members);
            return free == kTried.npos ? "" : std::string(1, kTried[free]);
        }
        if (members.starts_with('\\') && members.size() > 1) {
            return members[1] == 'd' ? "1" : members[1] == 'w' ? "a" : std::string(1, members[1]);
        }
        return std::string(members.substr(0, 1));
    }

    std::string repeat(const std::string& piece, bool is_any)
    {
        if (rest_.empty()) {
            return piece;
        }
        const char c = rest_.front();
        if (c == '*' || c == '+' || c == '?') {
            rest_.remove_prefix(rest_.size() > 1 && rest_[1] == '?' ? 2 : 1);
            return is_any && c != '?' ? std::string(kWord) : piece;
        }
        std::string out = piece;
        if (c == '{') {
            std::size_t count = 0;
            for (std::size_t at = 1; at < rest_.size() && rest_[at] >= '0' && rest_[at] <= '9'; ++at) {
                count = std::min<std::size_t>(count * 10 + static_cast<std::size_t>(rest_[at] - '0'), 64);
            }
            rest_.remove_prefix(std::min(rest_.find('}'), rest_.size() - 1) + 1);
            for (std::size_t more = 1; more < count && out.size() < kMostText; ++more) {
                out += piece;
            }
        }
        return out;
    }

    std::string_view rest_;
};

std::string with_words(std::string pattern)
{
    for (std::size_t star = pattern.find('*'); star != std::string::npos; star = pattern.find('*', star + kWord.size())) {
        pattern.replace(star, 1, kWord);
    }
    return pattern.starts_with('/') ? pattern : "/" + pattern;
}

bool takes(const Match& match, const std::string& path)
{
    return path.starts_with('/') && path.size() < 1024 && is_printable(path) &&
           (match.path.empty() || match_glob(match.path, path)) &&
           (match.path_regex.empty() || RE2::FullMatch(path, RE2(match.path_regex, regex_options())));
}

/// The line of a route; says so where no example was found.
std::string line_of(const Site& site, const Route& route)
{
    std::vector<std::string> candidates{with_words(route.match.path.empty() ? "/*" : route.match.path)};
    if (route.path_change != nullptr && !route.path_change->strip.empty()) {
        candidates.push_back(fmt::format("{}/{}", route.path_change->strip, kWord));
    }
    if (route.path_change != nullptr && route.path_change->expression != nullptr) {
        candidates.push_back(text_for(route.path_change->expression->pattern()));
    }
    candidates.push_back(text_for(route.match.path_regex));
    const std::string name = fmt::format("{} \"{}\"", site.name, route.name);
    for (const std::string& path : candidates) {
        std::string out;
        if (!takes(route.match, path)) {
            continue;
        }
        if (route.redirect != nullptr) {
            return fmt::format("{}: {} -> {} {}", name, path, route.redirect->status, route.redirect->apply(path, {}));
        }
        if (route.path_change->apply(path, {}, out)) {
            return fmt::format("{}: {} -> {}", name, path, out);
        }
    }
    return fmt::format("{}: changes paths, but none was found for an example", name);
}

} // namespace

std::string text_for(std::string_view expression)
{
    return TextMaker(expression).make();
}

std::vector<std::string> path_examples(const Config& config)
{
    std::vector<std::string> lines;
    for (const Site& site : config.sites) {
        for (const Route& route : site.routes) {
            if ((route.redirect == nullptr && route.path_change == nullptr) || lines.size() > kMostLines) {
                continue;
            }
            lines.push_back(lines.size() == kMostLines ? "and so on" : line_of(site, route));
        }
    }
    return lines;
}

} // namespace ladle::config
