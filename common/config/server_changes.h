// SPDX-License-Identifier: Apache-2.0
//
// What the operator has changed of upstreams while the proxy runs, beside their files: servers that were added, and such that were
// taken away. A text of one line each; it travels in the bundle as if it were a file, so that every process builds the same
// upstreams.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ladle::config {

/// The name of that text in a Recording: no path, as it has a ':' and nothing before the "//".
inline constexpr std::string_view kServerChanges = "changes://servers";

struct ServerChange {
    std::string upstream;
    std::string server;         ///< as UpstreamServer::text, with "https://" before it where it is spoken to over TLS
    bool is_removal = false;    ///< what follows is then not used
    std::uint32_t weight = 0;   ///< 1..1000; 0 = the upstream's
    std::uint32_t max_conn = 0; ///< 0 = the upstream's
    bool is_backup = false;

    bool operator==(const ServerChange&) const = default;
};

inline constexpr std::uint32_t kMostServerWeight = 1000;
/// At most so many are kept.
inline constexpr std::size_t kMostServerChanges = 1024;

std::string to_text(const std::vector<ServerChange>& changes);
/// Lines that are none are left out.
std::vector<ServerChange> parse_server_changes(std::string_view text);

} // namespace ladle::config
