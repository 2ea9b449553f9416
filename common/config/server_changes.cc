// SPDX-License-Identifier: Apache-2.0
#include "common/config/server_changes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

namespace ladle::config {

namespace {

constexpr std::size_t kChangeWords = 6; // what, upstream, server, weight, max_conn, backup

std::optional<std::uint32_t> parse_number(std::string_view text) noexcept
{
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

std::optional<ServerChange> parse_change(std::string_view line)
{
    std::array<std::string_view, kChangeWords> words;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::size_t tab = line.find('\t');
        if ((tab == std::string_view::npos) != (i + 1 == words.size())) {
            return std::nullopt;
        }
        words[i] = line.substr(0, tab);
        line.remove_prefix(tab == std::string_view::npos ? line.size() : tab + 1);
    }
    const auto weight = parse_number(words[3]);
    const auto max_conn = parse_number(words[4]);
    const bool is_known = words[0] == "add" || words[0] == "remove";
    if (!is_known || words[1].empty() || words[2].empty() || !weight || *weight > kMostServerWeight || !max_conn) {
        return std::nullopt;
    }
    return ServerChange{std::string(words[1]), std::string(words[2]), words[0] == "remove", *weight, *max_conn,
                        words[5] == "backup"};
}

} // namespace

std::string to_text(const std::vector<ServerChange>& changes)
{
    std::string out;
    for (const ServerChange& one : changes) {
        out += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", one.is_removal ? "remove" : "add", one.upstream, one.server, one.weight,
                           one.max_conn, one.is_backup ? "backup" : "");
    }
    return out;
}

std::vector<ServerChange> parse_server_changes(std::string_view text)
{
    std::vector<ServerChange> out;
    while (!text.empty() && out.size() < kMostServerChanges) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        if (auto change = parse_change(line)) {
            out.push_back(std::move(*change));
        }
    }
    return out;
}

} // namespace ladle::config
