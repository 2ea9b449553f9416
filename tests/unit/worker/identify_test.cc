// SPDX-License-Identifier: Apache-2.0
#include "worker/request/identify.h"

#include "worker/client/connection.h"

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>
#include <string>

using namespace ladle;
using namespace ladle::worker;

namespace {

config::Cidr range_v4(const char* text, unsigned bits)
{
    config::Cidr range;
    range.address[10] = range.address[11] = 0xff;
    REQUIRE(::inet_pton(AF_INET, text, &range.address[12]) == 1);
    range.prefix_bits = 96 + bits;
    return range;
}

config::Cidr range_v6(const char* text, unsigned bits)
{
    config::Cidr range;
    REQUIRE(::inet_pton(AF_INET6, text, range.address.data()) == 1);
    range.prefix_bits = bits;
    return range;
}

/// A worker's parts around one request from `peer`; 10.0.0.0/9 and fd00::/8 are trusted.
struct IdentifyBench {
    explicit IdentifyBench(const char* peer) : arena(std::move(*shm::Arena::make())), loop(std::move(*loop::Loop::make()))
    {
        auto made = std::make_shared<config::Config>();
        made->forwarded_from = {range_v4("10.0.0.0", 9), range_v6("fd00::", 8)};
        parts = std::make_unique<WorkerParts>(*loop, arena.regions(), 0, nullptr, -1, made->budget);
        live = std::make_shared<LiveConfig>(made, parts->servers, arena.regions(), parts->row);
        client = std::make_unique<ClientConnection>(*loop, parts->row);
        client->peer_text = peer;
        auto& v4 = reinterpret_cast<sockaddr_in&>(client->peer);
        auto& v6 = reinterpret_cast<sockaddr_in6&>(client->peer);
        if (::inet_pton(AF_INET, peer, &v4.sin_addr) == 1) {
            v4.sin_family = AF_INET;
        } else if (::inet_pton(AF_INET6, peer, &v6.sin6_addr) == 1) {
            v6.sin6_family = AF_INET6;
        } else {
            client->peer.ss_family = AF_UNIX;
        }
    }
    Request& identify_with(const std::string& lines)
    {
        bytes = "GET / HTTP/1.1\r\n" + lines + "\r\n";
        request.emplace(*parts, *client, live);
        REQUIRE(request->head.parse(bytes, {}) == http::Progress::complete);
        identify(*request);
        return *request;
    }
    std::string address_with(const std::string& lines) { return identify_with(lines).client_address; }

    shm::Arena arena;
    std::unique_ptr<loop::Loop> loop;
    std::unique_ptr<WorkerParts> parts;
    std::shared_ptr<LiveConfig> live;
    std::unique_ptr<ClientConnection> client;
    std::string bytes;
    std::optional<Request> request;
};

} // namespace

TEST_CASE("a stranger is who it is, whatever it says")
{
    IdentifyBench bench("192.0.2.1");
    CHECK(bench.address_with("X-Forwarded-For: 10.1.1.1\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\n") == "192.0.2.1");
    CHECK(bench.request->scheme == "http");
    CHECK_FALSE(bench.request->is_trusted_peer);
    CHECK(IdentifyBench("10.128.0.1").address_with("X-Forwarded-For: 1.2.3.4\r\n") == "10.128.0.1"); // just outside the range
    CHECK(IdentifyBench("unix:").address_with("X-Forwarded-For: 1.2.3.4\r\n") == "unix:");
}

TEST_CASE("of a trusted peer's chain, the last hop that is not trusted is the client")
{
    IdentifyBench bench("10.1.2.3");
    CHECK(bench.address_with("") == "10.1.2.3");
    CHECK(bench.address_with("X-Forwarded-For: 192.0.2.9\r\n") == "192.0.2.9");
    CHECK(bench.address_with("X-Forwarded-For: 6.6.6.6, 192.0.2.9, 10.0.0.5\r\n") == "192.0.2.9");
    CHECK(bench.address_with("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.9, 10.0.0.5\r\nX-Forwarded-For: 10.0.0.6\r\n") ==
          "192.0.2.9");
    CHECK(bench.address_with("X-Forwarded-For: 10.0.0.7, 10.0.0.5\r\n") == "10.0.0.7"); // all trusted: the first
    CHECK(bench.address_with("X-Forwarded-For: 2001:db8::1, [fd00::1]:80\r\n") == "2001:db8::1");
    CHECK(bench.address_with("X-Forwarded-For: 192.0.2.9:4711\r\n") == "192.0.2.9");
    CHECK(bench.address_with("Forwarded: for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=https, for=10.0.0.5\r\n") == "2001:db8::1");
    CHECK(bench.address_with("X-Forwarded-Proto: https\r\n") == "10.1.2.3");
    CHECK(bench.request->scheme == "https");
}

TEST_CASE("what stands before a hop that nobody can name is not believed")
{
    IdentifyBench bench("10.1.2.3");
    CHECK(bench.address_with("X-Forwarded-For: 6.6.6.6, unknown\r\n") == "10.1.2.3");
    CHECK(bench.address_with("X-Forwarded-For: 6.6.6.6, _hidden, 10.0.0.5\r\n") == "10.0.0.5");
    CHECK(bench.address_with("Forwarded: for=6.6.6.6, proto=https, for=10.0.0.5\r\n") == "10.0.0.5");
    CHECK(bench.address_with("X-Forwarded-For: 6.6.6.6, 1.2.3, 10.0.0.5\r\n") == "10.0.0.5");
}

TEST_CASE("an IPv6 peer and mapped addresses are matched by their ranges")
{
    CHECK(IdentifyBench("fd12::1").address_with("X-Forwarded-For: 192.0.2.9\r\n") == "192.0.2.9");
    CHECK(IdentifyBench("fe80::1").address_with("X-Forwarded-For: 192.0.2.9\r\n") == "fe80::1");
    CHECK(IdentifyBench("::ffff:10.0.0.9").address_with("X-Forwarded-For: 192.0.2.9\r\n") == "192.0.2.9");
}

TEST_CASE("a good request id is taken over, any other is made")
{
    IdentifyBench bench("192.0.2.1");
    CHECK(bench.identify_with("X-Request-Id: abc-123_x.y~z\r\n").id == "abc-123_x.y~z");
    const std::string first = bench.identify_with("X-Request-Id: a b\r\n").id;
    const std::string second = bench.identify_with("X-Request-Id: " + std::string(129, 'a') + "\r\n").id;
    CHECK(first.size() == 32);
    CHECK(second.size() == 32);
    CHECK(first != second);
    CHECK(first.find_first_not_of("0123456789abcdef") == std::string::npos);
}
