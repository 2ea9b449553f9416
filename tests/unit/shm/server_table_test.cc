// SPDX-License-Identifier: Apache-2.0
#include "common/shm/arena.h"
#include "common/shm/server_table.h"

#include <doctest/doctest.h>

#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

using namespace ladle;

namespace {

shm::ServerAddress make_address(std::uint8_t fill)
{
    shm::ServerAddress address{};
    address.family = AF_INET;
    address.port = 80;
    address.address.fill(fill);
    return address;
}

} // namespace

TEST_CASE("a server's index is its identity, by upstream and text")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerTable& table = arena->regions().servers;
    const int first = shm::find_or_assign_server(table, "app", "10.0.0.1:80");
    const int second = shm::find_or_assign_server(table, "app", "10.0.0.2:80");
    const int other = shm::find_or_assign_server(table, "api", "10.0.0.1:80");
    CHECK(first != second);
    CHECK(first != other);
    CHECK(shm::find_or_assign_server(table, "app", "10.0.0.1:80") == first);
    CHECK(shm::find_server(table, "app", "10.0.0.3:80") == -1);
    shm::free_server(table, static_cast<std::uint32_t>(first));
    CHECK(shm::find_server(table, "app", "10.0.0.1:80") == -1);
    CHECK(shm::find_or_assign_server(table, std::string(600, 'x'), "a") == -1);
}

TEST_CASE("a full table refuses")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerTable& table = arena->regions().servers;
    for (std::uint32_t i = 0; i < shm::kMaxServers; ++i) {
        REQUIRE(shm::find_or_assign_server(table, "app", std::to_string(i)) >= 0);
    }
    CHECK(shm::find_or_assign_server(table, "app", "one more") == -1);
    CHECK(shm::find_or_assign_server(table, "app", "7") >= 0);
}

TEST_CASE("published addresses are read as they were written")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerEntry& entry = arena->regions().servers.entries[0];
    std::vector<sockaddr_storage> out;
    CHECK_FALSE(shm::read_addresses(entry, out));
    REQUIRE(shm::publish_addresses(entry, {make_address(1), make_address(2)}, shm::NameState::resolved, 7));
    REQUIRE(shm::read_addresses(entry, out));
    REQUIRE(out.size() == 2);
    sockaddr_in in{};
    std::memcpy(&in, &out[1], sizeof in);
    CHECK(in.sin_addr.s_addr == 0x02020202u);
    CHECK(ntohs(in.sin_port) == 80);
    // A name that fails now keeps what it had; one that never had any gives none.
    REQUIRE(shm::publish_addresses(entry, {make_address(1)}, shm::NameState::failed, 8));
    CHECK(shm::read_addresses(entry, out));
    REQUIRE(shm::publish_addresses(entry, {}, shm::NameState::failed, 9));
    CHECK_FALSE(shm::read_addresses(entry, out));
}

TEST_CASE("another order of the same addresses is no change, another address is")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerEntry& entry = arena->regions().servers.entries[0];
    REQUIRE(shm::publish_addresses(entry, {make_address(1), make_address(2)}, shm::NameState::resolved, 1));
    const std::uint32_t version = entry.address_version.load();
    REQUIRE(shm::publish_addresses(entry, {make_address(2), make_address(1)}, shm::NameState::resolved, 2));
    CHECK(entry.address_version.load() == version);
    REQUIRE(shm::publish_addresses(entry, {make_address(2), make_address(2)}, shm::NameState::resolved, 3));
    CHECK(entry.address_version.load() == version + 1);
    REQUIRE(shm::publish_addresses(entry, {make_address(2), make_address(3)}, shm::NameState::resolved, 4));
    CHECK(entry.address_version.load() == version + 2);
}

TEST_CASE("an entry that a dead caretaker left half written is not read, and is repaired")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerEntry& entry = arena->regions().servers.entries[0];
    REQUIRE(shm::publish_addresses(entry, {make_address(1)}, shm::NameState::resolved, 1));
    entry.seq.fetch_add(1);
    std::vector<sockaddr_storage> out;
    CHECK_FALSE(shm::read_addresses(entry, out));
    CHECK_FALSE(shm::publish_addresses(entry, {make_address(2)}, shm::NameState::resolved, 2));
    shm::repair_after_caretaker(arena->regions().servers);
    CHECK_FALSE(shm::read_addresses(entry, out));
    REQUIRE(shm::publish_addresses(entry, {make_address(2)}, shm::NameState::resolved, 3));
    CHECK(shm::read_addresses(entry, out));
}

TEST_CASE("a reader never sees half of one list and half of another")
{
    auto arena = shm::Arena::make();
    REQUIRE(arena);
    shm::ServerEntry& entry = arena->regions().servers.entries[0];
    const auto all = [](std::uint8_t fill) { return std::vector<shm::ServerAddress>(shm::kMaxAddresses, make_address(fill)); };
    REQUIRE(shm::publish_addresses(entry, all(0), shm::NameState::resolved, 0));
    const pid_t writer = ::fork();
    if (writer == 0) {
        for (std::uint8_t i = 0;; ++i) {
            std::ignore = shm::publish_addresses(entry, all(i), shm::NameState::resolved, i);
        }
    }
    int mixed = 0;
    int seen = 0;
    std::vector<sockaddr_storage> out;
    // Until enough was read, however busy the machine is.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (int i = 0; i < 200'000 || (seen <= 100 && std::chrono::steady_clock::now() < end); ++i) {
        if (!shm::read_addresses(entry, out)) {
            continue;
        }
        ++seen;
        for (const sockaddr_storage& address : out) {
            mixed += std::memcmp(&address, out.data(), sizeof address) != 0 ? 1 : 0;
        }
    }
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    CHECK(seen > 100);
    CHECK(mixed == 0);
}
