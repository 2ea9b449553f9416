// SPDX-License-Identifier: Apache-2.0
#include "common/config/docs.h"

#include "common/base/json.h"
#include "common/config/settings_table.h"

#include <fmt/format.h>

namespace ladle::config {

namespace {

using Json = nlohmann::ordered_json;

/// How a value is written, in one or two words.
std::string type_name(const Setting& setting)
{
    switch (setting.type) {
    case Type::integer:
        return setting.word.empty() ? "integer" : fmt::format("integer or \"{}\"", setting.word);
    case Type::boolean:
        return "true or false";
    case Type::percent:
        return "percentage";
    case Type::duration:
        return "duration";
    case Type::size:
        return "size";
    case Type::text:
        return "string";
    case Type::path:
        return "path";
    case Type::choice:
        return "word";
    case Type::texts:
        return "string or list of strings";
    case Type::statuses:
        return "string, number or list of both";
    case Type::pairs:
        return "table of strings";
    case Type::weights:
        return "table of numbers";
    case Type::table:
        return "table";
    case Type::tables:
        return "array of tables";
    case Type::named:
        return "tables by name";
    case Type::servers:
        return "list of strings and tables";
    }
    return {};
}

bool is_quoted(Type type)
{
    return type != Type::integer && type != Type::boolean;
}

std::string default_text(const Setting& setting)
{
    if (setting.fallback.empty()) {
        return {};
    }
    const bool is_word = setting.type == Type::integer && setting.fallback == setting.word;
    return is_quoted(setting.type) || is_word ? fmt::format("\"{}\"", setting.fallback) : std::string(setting.fallback);
}

/// "1s to 1h", "\"full\" or \"stream\""; empty where anything goes.
std::string range_text(const Setting& setting)
{
    if (setting.type == Type::choice) {
        std::string out;
        for (const std::string_view word : split_choices(setting.range)) {
            out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", word);
        }
        return out;
    }
    const std::size_t dots = setting.range.find("..");
    return dots == std::string_view::npos ? std::string()
                                          : fmt::format("{} to {}", setting.range.substr(0, dots), setting.range.substr(dots + 2));
}

/// Where an inherited setting may stand as well.
std::string level_text(const Setting& setting)
{
    if (setting.schema == "timeouts" && setting.levels == kServer) {
        return "only here, not in a site";
    }
    return {};
}

std::string roff(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        if (c == '\\') {
            out += "\\e";
        } else if (c == '-') {
            out += "\\-";
        } else if (c == '\'') {
            out += "\\(aq";
        } else {
            out += c;
        }
    }
    return out;
}

constexpr std::string_view kManualHead = R"(.TH LADLE.TOML 5 "" "ladle" "File formats"
.SH NAME
ladle.toml \- configuration of the reverse proxy ladle
.SH SYNOPSIS
.I /etc/ladle/ladle.toml
.SH DESCRIPTION
The file is TOML. It names the host names that are served and the servers behind them; everything else has a default.
.PP
.EX
[site."example.com"]
upstream = "http://127.0.0.1:3000"
.EE
.PP
.B ladle check
reads the file and says what is wrong with it, all at once and with the place of each mistake; it changes nothing.
.B ladle reload
puts it into effect without closing a connection, or says why not and keeps the old one.
.SS Values
Durations are strings such as "500ms", "10s", "5m", "2h" or "1d"; sizes such as "512B", "64KiB", "64MB" or
"1GiB"; ranges of addresses such
as "10.0.0.0/8". A number without its unit is an error. An unknown key is an error.
.SS Files
.B include
reads further files, each of which may define any table; no site, upstream or setting may be defined twice.
Relative paths are taken from
the folder of the file in which they stand.
.SS Which site, which route
The site with the most specific host name is taken: the exact one, else the longest "*.", else "*". In it the
first route in file order that
matches is taken, else the upstream of the site itself. A route that can never match is an error. In a pattern "*" stands for any
characters and nothing else is special. Paths are matched after percent\-encoded letters are decoded and dot
segments resolved, and sent on
as they came, unless strip or rewrite says otherwise.
.SS Inheritance
timeouts, buffer, cache, body, headers, upstream and error_pages of a site hold for its routes, and those at the top
of the file for every site: tables key
by key, lists as a whole. The string "unset" removes what would be inherited.
.SS Shorthands
Where a table has one chief key, its value may stand for the table: respond = 403 is respond = { status = 403
}, cache = true is cache = { on = true }, access = "off" is access = {
to = "off" }. A list of one string may be written as the string.
)";

constexpr std::string_view kManualTail = R"(.SH FILES
.TP
.I /etc/ladle/ladle.toml
The default configuration; it includes
.IR /etc/ladle/sites.d/*.toml .
.TP
.I /usr/share/doc/ladle/examples
Examples.
.SH SEE ALSO
.BR ladle (8)
)";

std::string manual_entry(const Setting& setting)
{
    std::string out = fmt::format(".TP\n\\fB{}\\fR ({})\n", roff(setting.key), roff(type_name(setting)));
    std::string text(setting.doc);
    text[0] = static_cast<char>(text[0] >= 'a' && text[0] <= 'z' ? text[0] - 32 : text[0]);
    text += ".";
    if (const std::string range = range_text(setting); !range.empty()) {
        text += fmt::format(" {}: {}.", setting.type == Type::choice ? "One of" : "Range", range);
    }
    if (const std::string fallback = default_text(setting); !fallback.empty()) {
        text += fmt::format(" Default: {}.", fallback);
    }
    if (const std::string level = level_text(setting); !level.empty()) {
        text += fmt::format(" It stands {}.", level);
    }
    // \& keeps a line that begins with a quote or a dot from being a request.
    return out + "\\&" + roff(text) + "\n";
}

/// A pattern for values with a unit, as ECMAScript writes it.
std::string_view unit_pattern(Type type)
{
    if (type == Type::percent) {
        return "^[0-9]+%$";
    }
    return type == Type::duration ? "^[0-9]+(ms|s|m|h|d)$" : "^[0-9]+(B|KB|KiB|MB|MiB|GB|GiB)$";
}

constexpr std::array<std::pair<Level, std::string_view>, 3> kLevelNames{
    {{Level::server, ""}, {Level::site, "_of_site"}, {Level::route, "_of_route"}}};

/// Whether a table of this kind takes other values in a route than in a site, or at the top.
bool differs_by_level(std::string_view schema)
{
    return schema == "timeouts" || schema == "buffer" || schema == "route_cache" || schema == "headers";
}

/// One definition for each schema; three for those that differ by level.
std::string definition_name(std::string_view schema, Level level)
{
    for (const auto& [known, suffix] : kLevelNames) {
        if (differs_by_level(schema) && known == level) {
            return std::string(schema) + std::string(suffix);
        }
    }
    return std::string(schema);
}

Json reference(std::string_view schema, Level level)
{
    return {{"$ref", "#/$defs/" + definition_name(schema, level)}};
}

Json value_schema(const Setting& setting, Level level)
{
    const Json text = {{"type", "string"}};
    const Level below = setting.range == "site" ? Level::site : setting.range == "route" ? Level::route : level;
    switch (setting.type) {
    case Type::integer: {
        const Bounds bounds = bounds_of(setting);
        Json number = {{"type", "integer"}, {"minimum", bounds.least}, {"maximum", bounds.greatest}};
        return setting.word.empty() ? number : Json{{"anyOf", {number, {{"const", setting.word}}}}};
    }
    case Type::boolean:
        return {{"type", "boolean"}};
    case Type::percent:
    case Type::duration:
    case Type::size:
        return {{"type", "string"}, {"pattern", unit_pattern(setting.type)}};
    case Type::choice:
        return {{"enum", split_choices(setting.range)}};
    case Type::text:
    case Type::path:
        return text;
    case Type::texts:
        return {{"anyOf", {text, {{"type", "array"}, {"items", text}}}}};
    case Type::statuses: {
        const Json item = {{"type", {"string", "integer"}}};
        return {{"anyOf", {item, {{"type", "array"}, {"items", item}}}}};
    }
    case Type::pairs:
        return {{"type", "object"}, {"additionalProperties", text}};
    case Type::weights: {
        const Bounds bounds = bounds_of(setting);
        const Json number = {{"type", "integer"}, {"minimum", bounds.least}, {"maximum", bounds.greatest}};
        return {{"type", "object"}, {"additionalProperties", number}};
    }
    case Type::table: {
        const Setting* plain = setting.word.empty() ? nullptr : find_setting(setting.range, setting.word);
        return plain == nullptr ? reference(setting.range, level)
                                : Json{{"anyOf", {reference(setting.range, level), value_schema(*plain, level)}}};
    }
    case Type::tables:
        return {{"type", "array"}, {"items", reference(setting.range, below)}};
    case Type::named:
        return {{"type", "object"}, {"additionalProperties", reference(setting.range, below)}};
    case Type::servers: {
        const Json list = {{"type", "array"}, {"items", {{"anyOf", {text, reference(setting.range, level)}}}}};
        return {{"anyOf", {text, list}}};
    }
    }
    return {};
}

Json table_schema(const Schema& schema, Level level)
{
    Json properties = Json::object();
    for (const Setting* setting : settings_of(schema.name)) {
        const bool may_stand = schema.name != "timeouts" || (setting->levels & static_cast<Levels>(level)) != 0;
        if (!may_stand) {
            continue;
        }
        Json value = value_schema(*setting, level);
        if ((setting->levels & (static_cast<Levels>(level) - 1)) != 0) {
            value = {{"anyOf", {value, {{"const", "unset"}}}}};
        }
        value["description"] = setting->doc;
        if (setting->type == Type::boolean) {
            value["default"] = fallback_number(*setting) == 1;
        } else if (!setting->fallback.empty() && setting->type != Type::integer) {
            value["default"] = setting->fallback;
        } else if (setting->type == Type::integer && setting->fallback == setting->word) {
            value["default"] = setting->word;
        } else if (setting->type == Type::integer) {
            value["default"] = fallback_number(*setting);
        }
        properties[std::string(setting->key)] = std::move(value);
    }
    return {{"type", "object"}, {"description", schema.doc}, {"additionalProperties", false}, {"properties", properties}};
}

Level level_of(std::string_view schema)
{
    return schema == "site" ? Level::site : schema == "route" || schema == "respond" || schema == "rewrite" || schema == "redirect"
                                        ? Level::route
                                         : Level::server;
}

/// Text for a cell of a Markdown table.
std::string cell(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        out += c == '|' ? std::string("\\|") : std::string(1, c);
    }
    return out;
}

std::string code(std::string_view text)
{
    return text.empty() ? std::string() : fmt::format("`{}`", text);
}

} // namespace

std::string manual_page()
{
    std::string out(kManualHead);
    out += ".SH TABLES\n";
    for (const Schema& schema : all_schemas()) {
        if (schema.name.empty()) {
            out += ".SS At the top of the file\n";
        } else {
            out += fmt::format(".SS {}\n{}\n", roff(schema.title), roff(schema.doc));
        }
        for (const Setting* setting : settings_of(schema.name)) {
            out += manual_entry(*setting);
        }
    }
    out += kManualTail;
    return out;
}

std::string json_schema()
{
    Json definitions = Json::object();
    for (const Schema& schema : all_schemas()) {
        if (differs_by_level(schema.name)) {
            for (const auto& [level, suffix] : kLevelNames) {
                definitions[definition_name(schema.name, level)] = table_schema(schema, level);
            }
        } else if (!schema.name.empty()) {
            definitions[std::string(schema.name)] = table_schema(schema, level_of(schema.name));
        }
    }
    Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "ladle.toml"}};
    root.update(table_schema(*find_schema(""), Level::server));
    root["$defs"] = std::move(definitions);
    return root.dump(2) + "\n";
}

std::string markdown_reference()
{
    std::string out = "# Settings of ladle.toml\n\nGenerated from `common/config/settings_table.cc`.\n";
    for (const Schema& schema : all_schemas()) {
        const std::string title = schema.name.empty() ? "At the top of the file" : code(schema.title);
        out += fmt::format("\n## {}\n\n{}\n\n| key | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n", title,
                           schema.doc);
        for (const Setting* setting : settings_of(schema.name)) {
            const std::string level = level_text(*setting);
            out += fmt::format("| `{}` | {} | {} | {} | {}{}{} |\n", setting->key, cell(type_name(*setting)),
                               code(default_text(*setting)), cell(range_text(*setting)), cell(setting->doc),
                               level.empty() ? "" : "; ", level);
        }
    }
    return out;
}

} // namespace ladle::config
