// SPDX-License-Identifier: Apache-2.0
//
// IP addresses as the worker compares and shows them: as text without a port, and as 16 bytes in which IPv4 is v4-mapped IPv6, so
// that one comparison serves both. Pure functions.
#pragma once

#include "common/config/config.h"
#include "common/http/proxy_header.h"

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ladle::worker {

using Address = std::array<std::uint8_t, 16>; ///< IPv4 as v4-mapped

/// Of the 4 bytes of an IPv4 address.
Address map_v4(const void* four) noexcept;
/// "192.0.2.1", "2001:db8::1", without brackets.
std::optional<Address> parse_address(std::string_view text) noexcept;
/// The same the other way round; a v4-mapped one as IPv4.
std::string to_text(const Address& address);
/// Nothing for a Unix socket.
std::optional<Address> address_of(const sockaddr_storage& socket_address) noexcept;
/// "192.0.2.1", "2001:db8::1", "unix:".
std::string text_of(const sockaddr_storage& socket_address);

bool is_in(std::span<const config::Cidr> ranges, const Address& address) noexcept;

/// A hash of who a client is, of an IPv6 address by its /64: within that a client changes its address at will.
std::uint64_t hash_of_client(std::string_view client, std::uint64_t seed) noexcept;

/// As the PROXY protocol has it, IPv4 where it is v4-mapped; unknown for a Unix socket.
http::Endpoint to_endpoint(const sockaddr_storage& socket_address) noexcept;
http::Endpoint to_endpoint(const Address& address, std::uint16_t port) noexcept;
/// Precondition: it is known.
sockaddr_storage to_socket_address(const http::Endpoint& endpoint) noexcept;

} // namespace ladle::worker
