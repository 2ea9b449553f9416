// SPDX-License-Identifier: Apache-2.0
//
// The PROXY protocol (haproxy's doc/proxy-protocol.txt), versions 1 and 2: the few bytes in front of everything else by which a
// proxy tells the next one who its client is. Read as strictly as heads are: what two receivers could take for different things is
// refused. Of version 2 a connection of the proxy's own (LOCAL) and families that we have no use for are taken without their
// addresses; further fields (TLVs) must be well-formed, and of those only the checksum (CRC32c) is looked at. Pure.
#pragma once

#include "common/http/head.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::http {

/// One end of a connection.
struct Endpoint {
    enum class Family : std::uint8_t { unknown, ipv4, ipv6 };
    Family family = Family::unknown;
    std::array<std::uint8_t, 16> address{}; ///< in network order; of IPv4 the first four
    std::uint16_t port = 0;
    bool operator==(const Endpoint&) const noexcept = default;
};

enum class ProxyVersion : std::uint8_t { v1 = 1, v2 = 2 };

/// Of a whole header; of version 1 alone.
inline constexpr std::size_t kMostProxyHeader = 4096;
inline constexpr std::size_t kMostProxyLine = 107;

struct ProxyHeader {
    Endpoint source; ///< the client; unknown = nothing is said, the connection's own ends count
    Endpoint destination;
    std::size_t size = 0;     ///< bytes of a complete one: what comes behind is the client's
    std::string_view problem; ///< of a refused one; a constant text
};

/// Looks for a header at the front of what was received. `incomplete` only for what may still become one, and less than
/// kMostProxyHeader bytes.
Progress parse_proxy_header(std::string_view received, ProxyHeader& header) noexcept;

/// The header that announces this client, which had connected there; at most kMostProxyLine bytes. With an unknown source it
/// says that the connection is the proxy's own; an unknown destination is told as 0.0.0.0 or ::, ends of two families as IPv6.
std::string make_proxy_header(ProxyVersion version, const Endpoint& source, const Endpoint& destination);

} // namespace ladle::http
