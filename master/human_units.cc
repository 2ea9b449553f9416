// SPDX-License-Identifier: Apache-2.0
#include "master/human_units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace ladle::master {

std::string render_duration(std::int64_t seconds)
{
    if (seconds >= 86400) {
        return fmt::format("{}d {}h", seconds / 86400, seconds % 86400 / 3600);
    }
    if (seconds >= 3600) {
        return fmt::format("{}h {}m", seconds / 3600, seconds % 3600 / 60);
    }
    return seconds >= 60 ? fmt::format("{}m {}s", seconds / 60, seconds % 60) : fmt::format("{}s", seconds);
}

std::string render_bytes(std::uint64_t bytes)
{
    constexpr std::array<std::pair<std::uint64_t, const char*>, 3> kUnits{
        {{1ull << 30, "GiB"}, {1ull << 20, "MiB"}, {1ull << 10, "KiB"}}};
    for (const auto& [unit, name] : kUnits) {
        if (bytes >= unit) {
            return fmt::format("{:.1f} {}", static_cast<double>(bytes) / static_cast<double>(unit), name);
        }
    }
    return fmt::format("{} B", bytes);
}

std::string printable(std::string_view text)
{
    std::string out(text);
    std::replace_if(
        out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }, '?');
    return out;
}

} // namespace ladle::master
