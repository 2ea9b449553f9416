// SPDX-License-Identifier: Apache-2.0
//
// The only file that sees toml++. It is compiled header-only, since Debian's shared library is built with exceptions.
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 32
// Some malformed files trip toml++'s own assertions; where those are silent, it goes on to report a syntax error.
#define TOML_ASSERT(expression) static_cast<void>(0)
#include "common/config/node.h"

#include <fmt/format.h>
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <toml++/toml.h>
#pragma GCC diagnostic pop

#include <algorithm>

namespace ladle::config {

namespace {

constexpr std::size_t kMaxKeyDots = 16;

Place place_of(const toml::source_region& region, std::uint32_t file)
{
    Place place{file, static_cast<std::uint32_t>(region.begin.line), static_cast<std::uint32_t>(region.begin.column), 1};
    if (region.end.line == region.begin.line && region.end.column > region.begin.column) {
        place.width = static_cast<std::uint32_t>(region.end.column - region.begin.column);
    }
    return place;
}

bool is_key_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' ||
           c == ' ' || c == '\t';
}

/// Skips a string that begins at `at`; returns the offset behind it (or the end of the text).
std::size_t skip_string(std::string_view text, std::size_t at)
{
    const char quote = text[at];
    const bool multiline = text.substr(at, 3) == std::string(3, quote);
    std::size_t next = at + (multiline ? 3 : 1);
    while (next < text.size()) {
        if (quote == '"' && text[next] == '\\') {
            next += 2;
        } else if (multiline && text.substr(next, 3) == std::string(3, quote)) {
            next += 3;
            // Up to two quotes may stand directly before the closing three.
            while (next < text.size() && text[next] == quote) {
                ++next;
            }
            return next;
        } else if (!multiline && (text[next] == quote || text[next] == '\n')) {
            return next + 1;
        } else {
            ++next;
        }
    }
    return text.size();
}

/// toml++ 3.3 makes one nested table for every dot of a key and destroys them recursively, so a key of a million dots would end the
/// process. Finds the first key with too many dots; npos if there is none.
std::size_t find_endless_key(std::string_view text)
{
    std::size_t dots = 0;
    for (std::size_t at = 0; at < text.size();) {
        const char c = text[at];
        if (c == '"' || c == '\'') {
            at = skip_string(text, at);
            continue;
        }
        if (c == '#') {
            at = std::min(text.find('\n', at), text.size());
            dots = 0;
            continue;
        }
        if (!is_key_character(c)) {
            dots = 0;
        } else if (c == '.' && ++dots > kMaxKeyDots) {
            return at;
        }
        ++at;
    }
    return std::string_view::npos;
}

Place place_of_offset(std::string_view text, std::size_t offset, std::uint32_t file)
{
    const std::string_view before = text.substr(0, offset);
    const auto line = static_cast<std::uint32_t>(std::count(before.begin(), before.end(), '\n') + 1);
    const std::size_t start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return Place{file, line, static_cast<std::uint32_t>(offset - start + 1), 1};
}

Node convert(const toml::node& from, std::uint32_t file);

void convert_members(const toml::table& table, Node& to, std::uint32_t file)
{
    to.children.reserve(table.size());
    for (auto&& [key, value] : table) {
        Node child = convert(value, file);
        child.key = std::string(key.str());
        child.key_place = place_of(key.source(), file);
        to.children.push_back(std::move(child));
    }
    // toml::table sorts by key; ours keeps the file's order.
    std::stable_sort(to.children.begin(), to.children.end(), [](const Node& a, const Node& b) {
        return std::tie(a.key_place.line, a.key_place.column) < std::tie(b.key_place.line, b.key_place.column);
    });
}

/// Recursion is bounded: by TOML_MAX_NESTED_VALUES for values and kMaxKeyDots for headers and dotted keys.
Node convert(const toml::node& from, std::uint32_t file)
{
    Node to;
    to.place = place_of(from.source(), file);
    if (const auto* table = from.as_table()) {
        to.kind = Node::Kind::table;
        convert_members(*table, to, file);
    } else if (const auto* array = from.as_array()) {
        to.kind = Node::Kind::array;
        to.children.reserve(array->size());
        for (const toml::node& item : *array) {
            to.children.push_back(convert(item, file));
        }
    } else if (const auto* text = from.as_string()) {
        to.kind = Node::Kind::text;
        to.text = text->get();
    } else if (const auto* integer = from.as_integer()) {
        to.kind = Node::Kind::integer;
        to.integer = integer->get();
    } else if (const auto* floating = from.as_floating_point()) {
        to.kind = Node::Kind::floating;
        to.floating = floating->get();
    } else if (const auto* boolean = from.as_boolean()) {
        to.kind = Node::Kind::boolean;
        to.boolean = boolean->get();
    } else {
        to.kind = Node::Kind::date;
    }
    return to;
}

std::string_view trimmed(std::string_view text)
{
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
        text.remove_prefix(1);
    }
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
        text.remove_suffix(1);
    }
    return text;
}

/// What a line defines: its header, or the key before the '='; empty if neither.
std::string_view defined_by(std::string_view line)
{
    line = trimmed(line);
    if (line.starts_with('[')) {
        return line.substr(0, line.find(']') == std::string_view::npos ? line.size() : line.find(']') + 1);
    }
    return line.find('=') == std::string_view::npos ? std::string_view() : trimmed(line.substr(0, line.find('=')));
}

/// toml++ says that a key is there already, not where. The first line above that defines the same is it: a header anywhere above, a
/// key only as far as the header of its own table.
std::uint32_t first_definition(Findings& findings, const Place& again)
{
    const std::string line = findings.source_line(again.file, again.line);
    const std::string_view wanted = defined_by(line);
    if (wanted.empty()) {
        return 0;
    }
    for (std::uint32_t at = again.line - 1; at > 0; --at) {
        const std::string above = findings.source_line(again.file, at);
        if (defined_by(above) == wanted) {
            return at;
        }
        if (!wanted.starts_with('[') && trimmed(above).starts_with('[')) {
            return 0;
        }
    }
    return 0;
}

void report_syntax_error(const toml::parse_error& error, std::uint32_t file, Findings& findings)
{
    const Place place = place_of(error.source(), file);
    std::string message(error.description());
    if (message.find("cannot redefine") != std::string::npos) {
        Place start{file, place.line, 1, 1};
        const std::string line = findings.source_line(file, place.line);
        const std::string_view what = defined_by(line);
        start.column = static_cast<std::uint32_t>(std::max<std::size_t>(line.find_first_not_of(" \t") + 1, 1));
        start.width = static_cast<std::uint32_t>(std::max<std::size_t>(what.size(), 1));
        const std::uint32_t first = first_definition(findings, start);
        message = fmt::format("{} is defined twice", what.empty() ? "this key" : what);
        std::string hint =
            first > 0 ? fmt::format("first at {}:{}:1", findings.file_name(file), first) : "it has a value further up";
        findings.error(start, {}, std::move(message), std::move(hint));
        return;
    }
    constexpr std::string_view kLead = "Error while parsing ";
    findings.error(place, {},
                   message.starts_with(kLead) ? fmt::format("not valid TOML in this {}", message.substr(kLead.size()))
                                              : fmt::format("not valid TOML: {}", message));
}

} // namespace

std::optional<Node> read_toml(std::string_view text, std::uint32_t file, Findings& findings)
{
    if (const std::size_t at = find_endless_key(text); at != std::string_view::npos) {
        findings.error(place_of_offset(text, at, file), {}, fmt::format("a key of more than {} parts", kMaxKeyDots));
        return std::nullopt;
    }
    const toml::parse_result result = toml::parse(text, std::string_view{});
    if (!result) {
        report_syntax_error(result.error(), file, findings);
        return std::nullopt;
    }
    return convert(result.table(), file);
}

} // namespace ladle::config
