// SPDX-License-Identifier: Apache-2.0
#include "common/config/checker.h"

#include "common/config/names.h"
#include "common/config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace ladle::config {

namespace {

/// Where the walk is: what kind of table, at which level, and how people call it.
struct Position {
    std::string_view schema;
    Level level = Level::server;
    std::string path;  ///< site."example.com".timeouts
    std::string title; ///< [site."example.com".timeouts]
};

class Checker {
public:
    explicit Checker(Findings& findings) : findings_(findings) {}
    void check_table(Node& table, const Position& at);

private:
    void check_value(Node& node, const Setting& setting, const Position& at, const std::string& path);
    void check_number(Node& node, const Setting& setting, const std::string& path);
    void check_boolean(Node& node, const std::string& path);
    void check_percent(Node& node, const Setting& setting, const std::string& path);
    void check_range(Node& node, const Setting& setting, const std::string& path);
    void reject_range(Node& node, const Setting& setting, const std::string& path);
    void check_choice(Node& node, const Setting& setting, const std::string& path);
    void check_text(Node& node, const std::string& path, std::string_view expected);
    void check_texts(Node& node, const std::string& path);
    void numbers_to_texts(Node& node);
    void check_pairs(Node& node, const std::string& path);
    void check_weights(Node& node, const Setting& setting, const std::string& path);
    void check_sub_table(Node& node, const Setting& setting, const Position& at, const std::string& path);
    void check_tables(Node& node, const Setting& setting, const Position& at, const std::string& path);
    void check_named(Node& node, const Setting& setting, const std::string& path);
    void check_servers(Node& node, const Setting& setting, const Position& at, const std::string& path);
    void unknown_key(Node& node, const Position& at);
    void misplaced_key(Node& node, const Setting& setting, const Position& at);
    void reject(Node& node, const std::string& path, std::string message, std::string hint = {})
    {
        node.state = Node::State::bad;
        findings_.error(node.place, path, std::move(message), std::move(hint));
    }

    Findings& findings_;
};

bool allows(Levels levels, Level level)
{
    return (levels & static_cast<Levels>(level)) != 0;
}

/// The schemas that are inherited carry levels; the others stand in one place only and their rows are always right there.
bool is_levelled(std::string_view schema)
{
    return schema == "timeouts";
}

void Checker::check_table(Node& table, const Position& at)
{
    table.state = Node::State::good;
    for (Node& child : table.children) {
        const Setting* setting = find_setting(at.schema, child.key);
        if (setting == nullptr) {
            unknown_key(child, at);
        } else if (is_levelled(at.schema) && !allows(setting->levels, at.level)) {
            misplaced_key(child, *setting, at);
        } else {
            const bool is_inherited = (setting->levels & (static_cast<Levels>(at.level) - 1)) != 0;
            if (is_inherited && child.is_text() && child.text == "unset") {
                child.state = Node::State::unset;
                continue;
            }
            check_value(child, *setting, at, join_key(at.path, child.key));
        }
        if (findings_.is_full()) {
            return;
        }
    }
}

void Checker::check_value(Node& node, const Setting& setting, const Position& at, const std::string& path)
{
    node.state = Node::State::good;
    switch (setting.type) {
    case Type::integer:
    case Type::duration:
    case Type::size:
        return check_number(node, setting, path);
    case Type::boolean:
        return check_boolean(node, path);
    case Type::percent:
        return check_percent(node, setting, path);
    case Type::choice:
        return check_choice(node, setting, path);
    case Type::text:
        return check_text(node, path, "a string");
    case Type::path:
        return check_text(node, path, "a path");
    case Type::texts:
        return check_texts(node, path);
    case Type::statuses:
        numbers_to_texts(node);
        return check_texts(node, path);
    case Type::pairs:
        return check_pairs(node, path);
    case Type::weights:
        return check_weights(node, setting, path);
    case Type::table:
        return check_sub_table(node, setting, at, path);
    case Type::tables:
        return check_tables(node, setting, at, path);
    case Type::named:
        return check_named(node, setting, path);
    case Type::servers:
        return check_servers(node, setting, at, path);
    }
}

/// "600s" or "10m" for 600: what a bare number most likely meant.
std::string propose_unit(const Setting& setting, std::int64_t integer)
{
    if (integer < 0) {
        return {};
    }
    const auto value = static_cast<std::uint64_t>(integer);
    const Bounds bounds = bounds_of(setting);
    const std::uint64_t factor = setting.type == Type::duration ? 1000 : 1;
    if (value > UINT64_MAX / (1ull << 20) / 1000) {
        return {};
    }
    std::string plain = setting.type == Type::duration ? fmt::format("{}s", value) : fmt::format("{}B", value);
    std::string larger = setting.type == Type::duration ? format_duration(value * factor) : format_size(value);
    if (setting.type == Type::size && larger == plain && value > 0 && value <= 10'240 && (value << 20) <= bounds.greatest) {
        larger = value << 20 >= bounds.least ? fmt::format("{}MiB", value) : plain;
    }
    if (value * factor < bounds.least) {
        return larger == plain ? std::string() : fmt::format("write \"{}\"", larger);
    }
    return larger == plain ? fmt::format("write \"{}\"", plain) : fmt::format("write \"{}\" or \"{}\"", plain, larger);
}

/// The example in "expected a duration such as …": the value itself where it is a number, else the default.
std::string example_of(const Setting& setting, const Node& node)
{
    if (setting.type == Type::duration) {
        if (node.kind == Node::Kind::integer && node.integer > 0 && node.integer < 1'000'000'000) {
            return format_duration(static_cast<std::uint64_t>(node.integer) * 1000);
        }
        return setting.fallback.empty() ? "10s" : std::string(setting.fallback);
    }
    return setting.fallback.empty() ? "64MiB" : std::string(setting.fallback);
}

void Checker::check_number(Node& node, const Setting& setting, const std::string& path)
{
    if (node.is_text() && !setting.word.empty() && node.text == setting.word) {
        return;
    }
    if (setting.type == Type::integer) {
        if (node.kind == Node::Kind::integer && node.integer >= 0) {
            node.number = static_cast<std::uint64_t>(node.integer);
            return check_range(node, setting, path);
        }
        if (node.kind == Node::Kind::integer) {
            return reject_range(node, setting, path);
        }
        std::string hint;
        std::int64_t quoted = 0;
        const char* end = node.text.data() + node.text.size();
        if (node.is_text() && !node.text.empty() && std::from_chars(node.text.data(), end, quoted).ptr == end) {
            hint = fmt::format("write {} without quotes", node.text);
        }
        const std::string word = setting.word.empty() ? std::string() : fmt::format(" or \"{}\"", setting.word);
        return reject(node, path, fmt::format("expected a whole number{}, got {}", word, describe(node)), hint);
    }
    if (node.is_text()) {
        const Parsed<std::uint64_t> parsed = setting.type == Type::duration ? parse_duration(node.text) : parse_size(node.text);
        if (!parsed) {
            return reject(node, path, parsed.error().message, parsed.error().hint);
        }
        node.number = *parsed;
        return check_range(node, setting, path);
    }
    const std::string_view what = setting.type == Type::duration ? "a duration" : "a size";
    reject(node, path, fmt::format("expected {} such as \"{}\", got {}", what, example_of(setting, node), describe(node)),
           node.kind == Node::Kind::integer ? propose_unit(setting, node.integer) : std::string());
}

void Checker::check_boolean(Node& node, const std::string& path)
{
    if (node.kind == Node::Kind::boolean) {
        node.number = node.boolean ? 1 : 0;
        return;
    }
    const bool is_quoted = node.is_text() && (node.text == "true" || node.text == "false");
    reject(node, path, fmt::format("expected true or false, got {}", describe(node)),
           is_quoted ? fmt::format("write {} without quotes", node.text) : std::string());
}

void Checker::check_percent(Node& node, const Setting& setting, const std::string& path)
{
    if (!node.is_text()) {
        const bool is_share = node.kind == Node::Kind::integer && node.integer >= 0 && node.integer <= 100;
        return reject(node, path, fmt::format("expected a share such as \"{}\", got {}", setting.fallback, describe(node)),
                      is_share ? fmt::format("write \"{}%\"", node.integer) : std::string());
    }
    const Parsed<std::uint64_t> parsed = parse_percent(node.text);
    if (!parsed) {
        return reject(node, path, parsed.error().message, parsed.error().hint);
    }
    node.number = *parsed;
    check_range(node, setting, path);
}

void Checker::check_range(Node& node, const Setting& setting, const std::string& path)
{
    const Bounds bounds = bounds_of(setting);
    if (node.number >= bounds.least && node.number <= bounds.greatest) {
        return;
    }
    reject_range(node, setting, path);
}

void Checker::reject_range(Node& node, const Setting& setting, const std::string& path)
{
    const std::size_t dots = setting.range.find("..");
    reject(node, path,
           fmt::format("{} must be from {} to {}, got {}", path, setting.range.substr(0, dots), setting.range.substr(dots + 2),
                       node.is_text() ? node.text : fmt::format("{}", node.integer)),
           std::string(setting.why));
}

std::string quoted_list(const std::vector<std::string_view>& words, std::string_view last)
{
    std::string out;
    for (std::size_t at = 0; at < words.size(); ++at) {
        out += at == 0 ? "" : at + 1 == words.size() ? fmt::format(" {} ", last) : ", ";
        out += fmt::format("\"{}\"", words[at]);
    }
    return out;
}

/// The word that was mistyped, or of which only the beginning was written ("warn").
std::string_view nearest_choice(const std::string& written, const std::vector<std::string_view>& choices)
{
    if (const std::string_view near = nearest(written, choices); !near.empty()) {
        return near;
    }
    const auto begins_so = [&written](std::string_view choice) { return written.size() > 1 && choice.starts_with(written); };
    const auto found = std::find_if(choices.begin(), choices.end(), begins_so);
    return found == choices.end() ? std::string_view() : *found;
}

void Checker::check_choice(Node& node, const Setting& setting, const std::string& path)
{
    const std::vector<std::string_view> choices = split_choices(setting.range);
    if (node.is_text()) {
        for (std::size_t at = 0; at < choices.size(); ++at) {
            if (choices[at] == node.text) {
                node.number = at;
                return;
            }
        }
    }
    const std::string_view near = node.is_text() ? nearest_choice(node.text, choices) : std::string_view();
    reject(node, path, fmt::format("expected {}, got {}", quoted_list(choices, "or"), describe(node)),
           near.empty() ? std::string() : fmt::format("did you mean \"{}\"?", near));
}

void Checker::check_text(Node& node, const std::string& path, std::string_view expected)
{
    if (!node.is_text()) {
        const bool scalar = node.kind == Node::Kind::integer || node.kind == Node::Kind::boolean;
        return reject(node, path, fmt::format("expected {}, got {}", expected, describe(node)),
                      scalar ? "put it in quotes" : std::string());
    }
    if (node.text.find('\0') != std::string::npos) {
        reject(node, path, fmt::format("expected {}, got one with a NUL in it", expected));
    }
}

/// A status is the same with and without quotes.
void Checker::numbers_to_texts(Node& node)
{
    if (node.kind == Node::Kind::integer) {
        node.kind = Node::Kind::text;
        node.text = fmt::format("{}", node.integer);
    } else if (node.is_array()) {
        for (Node& child : node.children) {
            if (!child.is_array()) {
                numbers_to_texts(child);
            }
        }
    }
}

void Checker::check_texts(Node& node, const std::string& path)
{
    if (node.is_text()) {
        Node item = node;
        item.key.clear();
        node.kind = Node::Kind::array;
        node.children = {std::move(item)};
    } else if (!node.is_array()) {
        return reject(node, path, fmt::format("expected a string or a list of strings, got {}", describe(node)));
    }
    for (std::size_t at = 0; at < node.children.size(); ++at) {
        node.children[at].state = Node::State::good;
        check_text(node.children[at], fmt::format("{}[{}]", path, at), "a string");
    }
}

void Checker::check_pairs(Node& node, const std::string& path)
{
    if (!node.is_table()) {
        return reject(node, path, fmt::format("expected a table of strings, got {}", describe(node)), "write { NAME = \"VALUE\" }");
    }
    for (Node& child : node.children) {
        child.state = Node::State::good;
        check_text(child, join_key(path, child.key), "a string");
    }
}

void Checker::check_weights(Node& node, const Setting& setting, const std::string& path)
{
    if (!node.is_table()) {
        return reject(node, path, fmt::format("expected a table of numbers, got {}", describe(node)),
                      "write { NAME = 95, OTHER = 5 }");
    }
    for (Node& child : node.children) {
        child.state = Node::State::good;
        const std::string child_path = join_key(path, child.key);
        if (child.kind != Node::Kind::integer) {
            reject(child, child_path, fmt::format("expected a whole number, got {}", describe(child)),
                   "shares need not add up to 100");
            continue;
        }
        child.number = child.integer < 0 ? UINT64_MAX : static_cast<std::uint64_t>(child.integer);
        check_range(child, setting, child_path);
    }
}

void Checker::check_sub_table(Node& node, const Setting& setting, const Position& at, const std::string& path)
{
    if (!node.is_table() && !node.is_array() && !setting.word.empty()) {
        // The shorthand: a plain value is the table with that one key.
        Node value = node;
        value.key = std::string(setting.word);
        node.kind = Node::Kind::table;
        node.children = {std::move(value)};
    }
    if (!node.is_table()) {
        return reject(node, path, fmt::format("expected a table, got {}", describe(node)),
                      fmt::format("write [{}] and its keys below", path));
    }
    check_table(node, {setting.range, at.level, path, fmt::format("[{}]", path)});
}

void Checker::check_tables(Node& node, const Setting& setting, const Position& at, const std::string& path)
{
    if (node.is_table()) {
        return reject(node, path, fmt::format("{} is a list of tables, here is one table", setting.key),
                      fmt::format("write [[{}]] with two brackets", path));
    }
    if (!node.is_array()) {
        return reject(node, path, fmt::format("expected tables [[{}]], got {}", path, describe(node)));
    }
    for (std::size_t index = 0; index < node.children.size() && !findings_.is_full(); ++index) {
        Node& item = node.children[index];
        if (!item.is_table()) {
            reject(item, path, fmt::format("expected a table, got {}", describe(item)));
            continue;
        }
        const Level level = at.level == Level::site ? Level::route : at.level;
        check_table(item, {setting.range, level, fmt::format("{}[{}]", path, index), fmt::format("[[{}]]", path)});
    }
}

void Checker::check_named(Node& node, const Setting& setting, const std::string& path)
{
    if (!node.is_table()) {
        return reject(
            node, path, fmt::format("expected tables [{}.NAME], got {}", path, describe(node)),
            find_setting("site", node.key) != nullptr ? fmt::format("the {} of a site stands in [site.\"NAME\"]", node.key) : "");
    }
    const Level level = setting.range == "site" ? Level::site : Level::server;
    for (Node& child : node.children) {
        const std::string child_path = join_key(path, child.key);
        if (!child.is_table()) {
            std::string hint;
            if (const Setting* own = find_setting(setting.range, child.key); own != nullptr) {
                hint = fmt::format("\"{}\" belongs in [{}.NAME]: the name is missing", child.key, path);
            }
            reject(child, child_path, fmt::format("expected a table [{}], got {}", child_path, describe(child)), hint);
            continue;
        }
        check_table(child, {setting.range, level, child_path, fmt::format("[{}]", child_path)});
        if (findings_.is_full()) {
            return;
        }
    }
}

void Checker::check_servers(Node& node, const Setting& setting, const Position& at, const std::string& path)
{
    if (node.is_text()) {
        Node item = node;
        item.key.clear();
        node.kind = Node::Kind::array;
        node.children = {std::move(item)};
    } else if (!node.is_array()) {
        return reject(node, path, fmt::format("expected a list of servers, got {}", describe(node)), "write [\"10.0.0.1:8080\"]");
    }
    for (std::size_t index = 0; index < node.children.size() && !findings_.is_full(); ++index) {
        Node& item = node.children[index];
        const std::string item_path = fmt::format("{}[{}]", path, index);
        item.state = Node::State::good;
        if (item.is_table()) {
            check_table(item, {setting.range, at.level, item_path, fmt::format("[{}]", item_path)});
            if (item.find("address") == nullptr) {
                reject(item, item_path, "a server needs an \"address\"");
            }
        } else {
            check_text(item, item_path, "a server such as \"10.0.0.1:8080\"");
        }
    }
}

/// site."example.com" for the "com" of [site.example.com], which TOML takes for a table in a table; empty where that was not meant.
std::string dotted_name(const Node& node, const Position& at)
{
    const std::size_t dot = at.path.find('.');
    if (at.schema != "site" || !node.is_table() || dot == std::string::npos || at.path.find('"') != std::string::npos) {
        return {};
    }
    std::string name = at.path.substr(dot + 1) + "." + node.key;
    for (const Node* inner = &node; inner->children.size() == 1 && inner->children[0].is_table();) {
        inner = &inner->children[0];
        if (find_setting("site", inner->key) != nullptr) {
            break;
        }
        name += "." + inner->key;
    }
    return fmt::format("site.\"{}\"", name);
}

void Checker::unknown_key(Node& node, const Position& at)
{
    node.state = Node::State::bad;
    const std::vector<const Setting*> known = settings_of(at.schema);
    std::vector<std::string_view> names;
    for (const Setting* setting : known) {
        if (!is_levelled(at.schema) || allows(setting->levels, at.level)) {
            names.push_back(setting->key);
        }
    }
    std::string hint;
    if (std::string dotted = dotted_name(node, at); !dotted.empty()) {
        hint = fmt::format("a name with dots stands in quotes: write [{}]", dotted);
    } else if (const std::string_view near = nearest(node.key, names); !near.empty()) {
        hint = fmt::format("did you mean \"{}\"?", near);
    }
    // A key that is right somewhere else beats a vague likeness only where there is none.
    for (const Setting& setting : all_settings()) {
        if (hint.empty() && setting.key == node.key && !setting.schema.empty()) {
            const Schema* home = find_schema(setting.schema);
            std::string_view title = home->title;
            hint = setting.schema == "upstream" ? "this key belongs in [upstream.*]"
                   : setting.schema == "site"   ? "this key belongs in [site.*]"
                   : setting.schema == "route"  ? "this key belongs in [[site.*.route]]"
                   : setting.schema == "listen" ? "this key belongs in [listen.*]"
                                                : fmt::format("this key belongs in {}", title);
        }
    }
    if (hint.empty() && !at.schema.empty() && find_setting("", node.key) != nullptr) {
        hint = fmt::format("[{}] stands at the top level of the file", node.key);
    }
    if (hint.empty()) {
        hint = "known here: ";
        for (std::size_t index = 0; index < names.size(); ++index) {
            hint += fmt::format("{}{}", index == 0 ? "" : ", ", names[index]);
        }
    }
    const bool is_top = at.schema.empty();
    findings_.error(node.key_place, join_key(at.path, node.key),
                    is_top && node.is_table()
                        ? fmt::format("unknown table [{}]", quoted_key(node.key))
                        : fmt::format("unknown key \"{}\" {}", node.key, is_top ? "at the top level" : "in " + at.title),
                    std::move(hint));
}

void Checker::misplaced_key(Node& node, const Setting& setting, const Position& at)
{
    node.state = Node::State::bad;
    findings_.error(node.key_place, join_key(at.path, node.key), fmt::format("\"{}\" cannot be set in {}", node.key, at.title),
                    fmt::format("this key belongs in [{}]: it counts before the site is known", setting.schema));
}

} // namespace

std::string quoted_key(std::string_view key)
{
    const bool is_bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    });
    return is_bare ? std::string(key) : fmt::format("\"{}\"", key);
}

std::string join_key(const std::string& path, std::string_view key)
{
    return path.empty() ? quoted_key(key) : fmt::format("{}.{}", path, quoted_key(key));
}

std::string describe(const Node& node)
{
    switch (node.kind) {
    case Node::Kind::text:
        return fmt::format("the string \"{}\"", node.text);
    case Node::Kind::integer:
        return fmt::format("the integer {}", node.integer);
    case Node::Kind::floating:
        return fmt::format("the number {}", node.floating);
    case Node::Kind::boolean:
        return fmt::format("the boolean {}", node.boolean);
    case Node::Kind::date:
        return "a date or time";
    case Node::Kind::array:
        return "a list";
    case Node::Kind::table:
        return "a table";
    }
    return "nothing";
}

void check_tree(Node& root, Findings& findings)
{
    Checker(findings).check_table(root, {"", Level::server, "", ""});
}

} // namespace ladle::config
