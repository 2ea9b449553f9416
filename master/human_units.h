// SPDX-License-Identifier: Apache-2.0
//
// Durations and sizes as people read them, for what the commands print. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::master {

/// "12s", "3m 4s", "2h 5m", "4d 2h".
std::string render_duration(std::int64_t seconds);
/// "12 B", "3.4 MiB".
std::string render_bytes(std::uint64_t bytes);
/// A text that came from outside, for a terminal: control characters become '?'.
std::string printable(std::string_view text);

} // namespace ladle::master
