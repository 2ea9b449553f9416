// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/resolver.h"

#include "common/os/fd.h"

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <vector>

namespace {

using ladle::worker::Resolver;

/// A DNS server that never answers, and can be asked whether it was asked.
class SilentDns {
public:
    SilentDns() : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof in;
        REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&in), length) == 0);
        REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&in), &length) == 0);
        servers_ = {"127.0.0.1:" + std::to_string(ntohs(in.sin_port))};
    }

    const std::vector<std::string>& servers() const { return servers_; }

    bool was_asked_for(const std::string& label)
    {
        bool found = false;
        char query[512];
        pollfd ready{socket_.get(), POLLIN, 0};
        while (::poll(&ready, 1, found ? 0 : 50) == 1) {
            const ssize_t n = ::recv(socket_.get(), query, sizeof query, 0);
            found |= n > 0 && std::string(query, static_cast<std::size_t>(n)).find(label) != std::string::npos;
        }
        return found;
    }

private:
    ladle::os::Fd socket_;
    std::vector<std::string> servers_;
};

ladle::worker::Sought host(const char* name)
{
    return {ladle::worker::Sought::Kind::addresses, name};
}

} // namespace

TEST_CASE("resolver: other DNS servers are asked from commit on, and never where they cannot be used or were given up")
{
    auto loop = ladle::loop::Loop::make();
    REQUIRE(loop);
    SilentDns old;
    SilentDns other;
    Resolver resolver(**loop, [](void*, ladle::worker::Resolution) {}, nullptr);
    REQUIRE(resolver.init(old.servers()));

    REQUIRE(resolver.prepare(other.servers()));
    CHECK(resolver.is_prepared());
    resolver.ask(host("prepared.ladle.test"));
    CHECK(old.was_asked_for("prepared"));
    CHECK_FALSE(other.was_asked_for("prepared"));

    resolver.abort();
    resolver.commit(); // of nothing
    resolver.ask(host("aborted.ladle.test"));
    CHECK(old.was_asked_for("aborted"));

    const auto bad = resolver.prepare({"no-address"});
    REQUIRE_FALSE(bad);
    CHECK(bad.error().detail.find("no-address") != std::string::npos);
    CHECK_FALSE(resolver.is_prepared());
    resolver.ask(host("failed.ladle.test"));
    CHECK(old.was_asked_for("failed"));

    REQUIRE(resolver.prepare(old.servers()));
    CHECK_FALSE(resolver.is_prepared());

    REQUIRE(resolver.prepare(other.servers()));
    resolver.commit();
    resolver.ask({ladle::worker::Sought::Kind::services, "committed.ladle.test"});
    CHECK(other.was_asked_for("committed"));
    CHECK_FALSE(old.was_asked_for("committed"));
}
