// SPDX-License-Identifier: Apache-2.0
#include "common/base/append.h"

#include <fmt/format.h>
#include <iterator>

namespace ladle {

void append_formatted(std::string& out, fmt::string_view text, fmt::format_args values)
{
    fmt::vformat_to(std::back_inserter(out), text, values);
}

} // namespace ladle
