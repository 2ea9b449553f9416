// SPDX-License-Identifier: Apache-2.0
#include "worker/net/h2_fields.h"

#include "common/http/grammar.h"

#include <algorithm>
#include <array>

namespace ladle::worker {

bool is_connection_field(std::string_view name) noexcept
{
    static constexpr std::array<std::string_view, 5> kNames = {"connection", "keep-alive", "proxy-connection", "transfer-encoding",
                                                               "upgrade"};
    return std::ranges::any_of(kNames, [&](std::string_view known) { return http::equals_ignoring_case(name, known); });
}

bool is_h2_field_name(std::string_view name) noexcept
{
    return http::is_token(name) && std::ranges::none_of(name, [](char c) { return c != http::to_lower(c); });
}

bool breaks_line(std::string_view value) noexcept
{
    // Each of these looks at many bytes at once, find_first_of() has a call for each byte.
    constexpr auto kNone = std::string_view::npos;
    return value.find('\r') != kNone || value.find('\n') != kNone || value.find('\0') != kNone;
}

bool next_field_line(std::string_view& lines, std::string_view& name, std::string_view& value) noexcept
{
    while (!lines.empty()) {
        const std::string_view line = lines.substr(0, lines.find("\r\n"));
        lines.remove_prefix(std::min(lines.size(), line.size() + 2));
        const std::size_t colon = line.find(':');
        if (colon != std::string_view::npos) {
            name = line.substr(0, colon);
            value = http::trim(line.substr(colon + 1));
            return true;
        }
    }
    return false;
}

} // namespace ladle::worker
