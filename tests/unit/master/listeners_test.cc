// SPDX-License-Identifier: Apache-2.0
#include "common/os/socket.h"
#include "master/listeners.h"

#include <doctest/doctest.h>

#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

using namespace ladle;
using master::ListenerSet;

namespace {

config::BindAddress tcp(std::uint16_t port)
{
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    config::BindAddress bind;
    std::memcpy(&bind.address, &in, sizeof in);
    bind.address_length = sizeof in;
    bind.text = os::to_text(bind.address, sizeof in);
    return bind;
}

std::uint16_t free_port()
{
    auto socket = os::bind_stream(tcp(0).address, sizeof(sockaddr_in), os::Sharing::alone);
    REQUIRE(socket);
    sockaddr_in in{};
    socklen_t length = sizeof in;
    ::getsockname(socket->get(), reinterpret_cast<sockaddr*>(&in), &length);
    return ntohs(in.sin_port);
}

config::Config listening_on(std::vector<config::BindAddress> binds)
{
    config::Config config;
    config.listens.push_back({"test", std::move(binds)});
    return config;
}

} // namespace

TEST_CASE("one socket for each slot of a TCP address, one for a Unix address")
{
    config::BindAddress path;
    path.text = "unix:/tmp/ladle-unit-" + std::to_string(::getpid()) + ".sock";
    path.address_length = os::unix_address(path.text.substr(5), path.address).value();
    const config::Config config = listening_on({tcp(free_port()), path});
    ListenerSet set;
    REQUIRE(set.prepare(config, 3));
    REQUIRE(set.listen_pending());
    set.commit(config);
    REQUIRE(set.active().size() == 2);
    CHECK(set.active()[0].slots.size() == 3);
    CHECK(set.active()[1].slots.size() == 1);
    CHECK(::access(path.text.c_str() + 5, F_OK) == 0);
    REQUIRE(set.grow(5));
    CHECK(set.active()[0].slots.size() == 5);
    CHECK(set.slots() == 5);
    set.close_all();
    CHECK(::access(path.text.c_str() + 5, F_OK) != 0);
}

TEST_CASE("a port in use is refused in one line, and nothing is kept")
{
    const config::BindAddress used = tcp(free_port());
    auto other = os::bind_stream(used.address, used.address_length, os::Sharing::group);
    REQUIRE(other);
    REQUIRE(os::start_listening(other->get()));
    ListenerSet set;
    const auto refused = set.prepare(listening_on({tcp(free_port()), used}), 2);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EADDRINUSE);
    CHECK(refused.error().detail.starts_with("cannot listen on " + used.text + ": Address already in use"));
    CHECK(set.pending().empty());
}

TEST_CASE("another configuration adds, keeps and leaves addresses")
{
    const config::BindAddress a = tcp(free_port());
    const config::BindAddress b = tcp(free_port());
    const config::BindAddress c = tcp(free_port());
    ListenerSet set;
    const config::Config first = listening_on({a, b});
    REQUIRE(set.prepare(first, 1));
    REQUIRE(set.listen_pending());
    set.commit(first);
    const int kept = set.active()[1].slots[0].get();
    const config::Config second = listening_on({b, c});
    REQUIRE(set.prepare(second, 1));
    REQUIRE(set.pending().size() == 1);
    REQUIRE(set.listen_pending());
    set.commit(second);
    REQUIRE(set.active().size() == 2);
    CHECK(set.active()[0].slots[0].get() == kept);
    REQUIRE(set.leaving().size() == 1);
    CHECK(set.leaving()[0].bind.text == a.text);
    set.close_left(a.text);
    CHECK(set.leaving().empty());
}

TEST_CASE("a socket that was handed to us is taken for its address")
{
    const config::BindAddress a = tcp(free_port());
    auto passed = os::bind_stream(a.address, a.address_length, os::Sharing::group);
    REQUIRE(passed);
    REQUIRE(os::start_listening(passed->get()));
    const int number = passed->get();
    ListenerSet set;
    set.offer(std::move(*passed));
    const config::Config config = listening_on({a});
    REQUIRE(set.prepare(config, 2));
    REQUIRE(set.listen_pending());
    set.commit(config);
    REQUIRE(set.grow(2));
    REQUIRE(set.active().size() == 1);
    CHECK(set.active()[0].slots[0].get() == number);
    CHECK(set.active()[0].slots.size() == 2);
}
