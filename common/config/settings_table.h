// SPDX-License-Identifier: Apache-2.0
//
// Every setting there is, one row each. The loader's checks, the defaults, "did you mean", the manual page, the JSON schema and the
// Markdown reference all come from these rows: adding a setting is one row here and its use in the builder.
//
// A row belongs to a schema: the kind of table that it stands in. [timeouts] of the file, of a site and of a route are one schema,
// "timeouts"; where a row may not stand everywhere, its Levels say so. Constant data, no state.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

enum class Type : std::uint8_t {
    integer,
    boolean,  ///< true or false; 1 or 0
    percent,  ///< "10%"; in percent
    duration, ///< "10s"; in milliseconds
    size,     ///< "64MiB"; in bytes
    text,
    path,    ///< a file or folder; relative ones are relative to the file that names them
    choice,  ///< one of the words in `range`
    texts,   ///< a string, or a list of strings
    statuses, ///< the same, and whole numbers in it: "2xx", 204, ["connect", 503]
    pairs,   ///< a table of strings, with free keys
    weights, ///< a table of whole numbers in `range`, with free keys
    table,   ///< a table of the schema named in `range`
    tables,  ///< an array of tables of the schema named in `range`
    named,   ///< tables with free names, of the schema named in `range`: [site."example.com"]
    servers, ///< a list of strings and of tables of the schema named in `range`
};

/// Where in the inheritance server → site → route a table stands.
enum class Level : std::uint8_t { server = 1, site = 2, route = 4 };

/// The levels that accept a row; more than one = a value is inherited, and "unset" removes it.
using Levels = std::uint8_t;
inline constexpr Levels kServer = 1;
inline constexpr Levels kSite = 2;
inline constexpr Levels kRoute = 4;
inline constexpr Levels kSiteRoute = kSite | kRoute;
inline constexpr Levels kEverywhere = kServer | kSite | kRoute;

struct Setting {
    std::string_view schema;
    std::string_view key;
    Type type;
    std::string_view fallback; ///< the default, as it would be written (without quotes); "" = none
    std::string_view range;    ///< "1..28", "1ms..1h", "a|b", or the schema of a table
    std::string_view doc;      ///< one line
    Levels levels = kServer;
    std::string_view why{};  ///< the reason for the range
    std::string_view word{}; ///< a word that may stand instead ("auto"); of a table: the key that a plain value fills ("to")
};

/// A kind of table: how people call it, and one line about it.
struct Schema {
    std::string_view name;
    std::string_view title; ///< "[upstream.NAME]"
    std::string_view doc;
};

/// Every setting, in the order of the documentation.
std::span<const Setting> all_settings();
std::span<const Schema> all_schemas();

/// The row of a key, or null.
const Setting* find_setting(std::string_view schema, std::string_view key);
/// The rows of one schema, in table order.
std::vector<const Setting*> settings_of(std::string_view schema);
/// Never null for the name of a schema.
const Schema* find_schema(std::string_view name);

/// "a|b|c" taken apart.
std::vector<std::string_view> split_choices(std::string_view range);

/// The least and the greatest value of a row's range, in the row's unit; the whole of uint64 where it has none.
struct Bounds {
    std::uint64_t least = 0;
    std::uint64_t greatest = UINT64_MAX;
};
Bounds bounds_of(const Setting& setting);

/// A row's default as a number in its unit (milliseconds, bytes, percent, the integer, 1 for true, the index of the choice). 0
/// where it is a word.
std::uint64_t fallback_number(const Setting& setting);

} // namespace ladle::config
