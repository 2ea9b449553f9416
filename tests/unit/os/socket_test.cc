// SPDX-License-Identifier: Apache-2.0
#include "common/os/socket.h"

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

using namespace ladle;

namespace {

sockaddr_storage loopback(std::uint16_t port)
{
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_storage out{};
    std::memcpy(&out, &in, sizeof in);
    return out;
}

std::uint16_t port_of(const os::Fd& socket)
{
    sockaddr_in in{};
    socklen_t length = sizeof in;
    REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&in), &length) == 0);
    return ntohs(in.sin_port);
}

} // namespace

TEST_CASE("sockets of a group share an address, a lone one does not")
{
    auto first = os::bind_stream(loopback(0), sizeof(sockaddr_in), os::Sharing::group);
    REQUIRE(first);
    REQUIRE(os::start_listening(first->get()));
    const sockaddr_storage same = loopback(port_of(*first));
    CHECK(os::bind_stream(same, sizeof(sockaddr_in), os::Sharing::group));
    const auto alone = os::bind_stream(same, sizeof(sockaddr_in), os::Sharing::alone);
    REQUIRE_FALSE(alone);
    CHECK(alone.error().code == EADDRINUSE);
}

TEST_CASE("addresses have one text")
{
    CHECK(os::to_text(loopback(80), sizeof(sockaddr_in)) == "127.0.0.1:80");
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(443);
    in6.sin6_addr = in6addr_loopback;
    sockaddr_storage six{};
    std::memcpy(&six, &in6, sizeof in6);
    CHECK(os::to_text(six, sizeof in6) == "[::1]:443");
    sockaddr_storage path{};
    const auto length = os::unix_address("/run/x.sock", path);
    REQUIRE(length);
    CHECK(os::to_text(path, *length) == "unix:/run/x.sock");
    CHECK_FALSE(os::unix_address(std::string(108, 'a'), path));
    CHECK_FALSE(os::unix_address("", path));
}
