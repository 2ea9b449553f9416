// SPDX-License-Identifier: Apache-2.0
//
// A TOML file as a tree of plain values that know where they stand. Between toml++, which only toml_reader.cc sees, and the rest:
// several files become one tree, the checker (checker.h) marks what is wrong and writes normalised numbers into it, and the builder
// reads from it. Belongs to one load().
#pragma once

#include "common/config/diagnostic.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

struct Node {
    enum class Kind : std::uint8_t { text, integer, floating, boolean, date, array, table };
    /// What the checker made of it: `bad` values have been reported and count as absent; `unset` removes what would be inherited.
    enum class State : std::uint8_t { unchecked, good, bad, unset };

    Kind kind = Kind::table;
    State state = State::unchecked;
    std::string key; ///< of a member of a table
    Place key_place; ///< of its key; of a table with a header, the header's last key
    Place place;     ///< of the value; of a table with a header, the header
    std::string text;
    std::int64_t integer = 0;
    double floating = 0;
    bool boolean = false;
    std::uint64_t number = 0;   ///< by the checker: milliseconds, bytes, percent, the integer, 1 for true, or a choice's index
    std::vector<Node> children; ///< members or items, in file order

    bool is_text() const { return kind == Kind::text; }
    bool is_table() const { return kind == Kind::table; }
    bool is_array() const { return kind == Kind::array; }
    Node* find(std::string_view name)
    {
        for (Node& child : children) {
            if (child.key == name) {
                return &child;
            }
        }
        return nullptr;
    }
    const Node* find(std::string_view name) const { return const_cast<Node*>(this)->find(name); }
};

/// Reads one file's text (already added to `findings` under index `file`) into a tree. A syntax error is reported to `findings` and
/// gives nullopt. Never throws, whatever the text.
std::optional<Node> read_toml(std::string_view text, std::uint32_t file, Findings& findings);

/// "the integer 600", "the string \"x\"", "a table": how a message names a value.
std::string describe(const Node& node);

/// A key as it must be written in a path: example or "example.com".
std::string quoted_key(std::string_view key);

} // namespace ladle::config
