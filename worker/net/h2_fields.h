// SPDX-License-Identifier: Apache-2.0
//
// What both sides of HTTP/2 need of fields: which ones may not be there, and the way from the lines of an HTTP/1 head to them.
// Pure.
#pragma once

#include <string_view>

namespace ladle::worker {

/// RFC 9113 §8.2.2: a field for one connection only, which makes a message malformed. `name` in lower case.
bool is_connection_field(std::string_view name) noexcept;

/// RFC 9113 §8.2.1: a token in lower case.
bool is_h2_field_name(std::string_view name) noexcept;

/// Whether the value, as a line of its own, would be more than one line for whoever reads HTTP/1.
bool breaks_line(std::string_view value) noexcept;

/// Takes the next "Name: value\r\n" off `lines`. False: there is none.
bool next_field_line(std::string_view& lines, std::string_view& name, std::string_view& value) noexcept;

} // namespace ladle::worker
