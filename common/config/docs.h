// SPDX-License-Identifier: Apache-2.0
//
// The documents that come from the settings table: the manual page ladle.toml(5), the JSON schema for editors (`ladle check
// --schema`), and the settings reference in Markdown. Pure functions of the table; used by the command line and by the build
// (generate_docs.cc).
#pragma once

#include <string>

namespace ladle::config {

/// ladle.toml(5) in roff.
std::string manual_page();

/// A JSON schema (draft 2020-12) of the file.
std::string json_schema();

/// Every setting in Markdown tables.
std::string markdown_reference();

} // namespace ladle::config
