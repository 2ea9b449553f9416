// SPDX-License-Identifier: Apache-2.0
//
// Appends formatted text to a string. The same as fmt::format_to(std::back_inserter(out), …), but for the time to compile it: that
// instantiates all of fmt in each file where it stands, 5 s each (g++ 12, fmt 9); this one does it in append.cc alone.
#pragma once

#include <fmt/core.h>
#include <string>
#include <utility>

namespace ladle {

/// Not for use by itself: append() checks the text at compile time.
void append_formatted(std::string& out, fmt::string_view text, fmt::format_args values);

/// out += fmt::format(text, values…), without the string in between.
template <typename... Values>
void append(std::string& out, fmt::format_string<Values...> text, Values&&... values)
{
    append_formatted(out, text, fmt::make_format_args(values...));
}

} // namespace ladle
