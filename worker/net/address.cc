// SPDX-License-Identifier: Apache-2.0
#include "worker/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace ladle::worker {

namespace {

bool is_v4(const Address& address) noexcept
{
    return std::memcmp(address.data(), map_v4("\0\0\0\0").data(), 12) == 0;
}

bool contains(const config::Cidr& range, const Address& address) noexcept
{
    const unsigned whole = range.prefix_bits / 8;
    if (std::memcmp(range.address.data(), address.data(), whole) != 0) {
        return false;
    }
    const unsigned rest = range.prefix_bits % 8;
    return rest == 0 || ((range.address[whole] ^ address[whole]) >> (8 - rest)) == 0;
}

} // namespace

Address map_v4(const void* four) noexcept
{
    Address address{};
    address[10] = address[11] = 0xff;
    std::memcpy(&address[12], four, 4);
    return address;
}

std::optional<Address> parse_address(std::string_view text) noexcept
{
    char plain[INET6_ADDRSTRLEN];
    if (text.empty() || text.size() >= sizeof plain) {
        return std::nullopt;
    }
    std::memcpy(plain, text.data(), text.size());
    plain[text.size()] = '\0';
    Address address{};
    std::uint8_t four[4];
    if (::inet_pton(AF_INET, plain, four) == 1) {
        return map_v4(four);
    }
    return ::inet_pton(AF_INET6, plain, address.data()) == 1 ? std::optional(address) : std::nullopt;
}

std::string to_text(const Address& address)
{
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(is_v4(address) ? AF_INET : AF_INET6, is_v4(address) ? &address[12] : address.data(), text, sizeof text);
    return text;
}

std::optional<Address> address_of(const sockaddr_storage& socket_address) noexcept
{
    if (socket_address.ss_family == AF_INET) {
        return map_v4(&reinterpret_cast<const sockaddr_in&>(socket_address).sin_addr);
    }
    if (socket_address.ss_family == AF_INET6) {
        Address address{};
        std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6&>(socket_address).sin6_addr, 16);
        return address;
    }
    return std::nullopt;
}

std::string text_of(const sockaddr_storage& socket_address)
{
    const std::optional<Address> address = address_of(socket_address);
    return address ? to_text(*address) : "unix:";
}

bool is_in(std::span<const config::Cidr> ranges, const Address& address) noexcept
{
    return std::ranges::any_of(ranges, [&](const config::Cidr& range) { return contains(range, address); });
}

http::Endpoint to_endpoint(const Address& address, std::uint16_t port) noexcept
{
    http::Endpoint endpoint{is_v4(address) ? http::Endpoint::Family::ipv4 : http::Endpoint::Family::ipv6, {}, port};
    const std::size_t skipped = is_v4(address) ? 12 : 0;
    std::copy(address.begin() + skipped, address.end(), endpoint.address.begin());
    return endpoint;
}

std::uint64_t hash_of_client(std::string_view client, std::uint64_t seed) noexcept
{
    const std::optional<Address> address = parse_address(client);
    if (!address) {
        return XXH3_64bits_withSeed(client.data(), client.size(), seed);
    }
    Address kept = *address;
    if (!is_v4(kept)) {
        std::fill(kept.begin() + 8, kept.end(), std::uint8_t{0});
    }
    return XXH3_64bits_withSeed(kept.data(), kept.size(), seed);
}

http::Endpoint to_endpoint(const sockaddr_storage& socket_address) noexcept
{
    const std::optional<Address> address = address_of(socket_address);
    if (!address) {
        return {};
    }
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    return to_endpoint(*address, ntohs(reinterpret_cast<const sockaddr_in&>(socket_address).sin_port));
}

sockaddr_storage to_socket_address(const http::Endpoint& endpoint) noexcept
{
    sockaddr_storage out{};
    if (endpoint.family == http::Endpoint::Family::ipv4) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(out);
        v4.sin_family = AF_INET;
        v4.sin_port = htons(endpoint.port);
        std::memcpy(&v4.sin_addr, endpoint.address.data(), sizeof v4.sin_addr);
    } else {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(endpoint.port);
        std::memcpy(&v6.sin6_addr, endpoint.address.data(), sizeof v6.sin6_addr);
    }
    return out;
}

} // namespace ladle::worker
