// SPDX-License-Identifier: Apache-2.0
//
// Holds a tree against the settings table: unknown keys, wrong types, units and ranges, words that are none of the choices. Reports
// to Findings and marks every node good, bad or unset; good ones carry their normalised number. Grows shorthands into their tables,
// so that the builder sees one form only. What needs more than one key (references, duplicates, hidden routes) is the builder's.
#pragma once

#include "common/config/node.h"
#include "common/config/settings_table.h"

namespace ladle::config {

/// Checks the whole tree of a configuration, in place.
void check_tree(Node& root, Findings& findings);

/// The path of a member: site."example.com".timeouts + connect.
std::string join_key(const std::string& path, std::string_view key);

} // namespace ladle::config
