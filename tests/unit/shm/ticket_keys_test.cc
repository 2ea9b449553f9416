// SPDX-License-Identifier: Apache-2.0
#include "common/shm/ticket_keys.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <string_view>

using namespace ladle;

TEST_CASE("ticket keys: there are none before the master has made them, and then three different ones")
{
    const auto keys = std::make_unique<shm::TicketKeys>();
    CHECK_FALSE(shm::read_ticket_keys(*keys));
    REQUIRE(shm::tend_ticket_keys(*keys, 1000, 60));
    const auto set = shm::read_ticket_keys(*keys);
    REQUIRE(set);
    CHECK((*set)[0].name != (*set)[1].name);
    CHECK((*set)[1].cipher != (*set)[2].cipher);
}

TEST_CASE("ticket keys: each takes the next one's place after its period, and not before")
{
    const auto keys = std::make_unique<shm::TicketKeys>();
    REQUIRE(shm::tend_ticket_keys(*keys, 1000, 60));
    const auto first = *shm::read_ticket_keys(*keys);
    REQUIRE(shm::tend_ticket_keys(*keys, 1059, 60));
    CHECK((*shm::read_ticket_keys(*keys))[1].name == first[1].name);
    REQUIRE(shm::tend_ticket_keys(*keys, 1060, 60));
    const auto second = *shm::read_ticket_keys(*keys);
    CHECK(second[1].name == first[0].name);
    CHECK(second[2].name == first[1].name);
    CHECK(second[0].name != first[0].name);
}

TEST_CASE("ticket keys: a master that died while it wrote leaves none, and the next one makes new ones")
{
    const auto keys = std::make_unique<shm::TicketKeys>();
    REQUIRE(shm::tend_ticket_keys(*keys, 1000, 60));
    keys->sequence.fetch_add(1);
    CHECK_FALSE(shm::read_ticket_keys(*keys));
    REQUIRE(shm::tend_ticket_keys(*keys, 1001, 60));
    CHECK(shm::read_ticket_keys(*keys));
}

TEST_CASE("ticket keys: those of the image before are taken over")
{
    const auto before = std::make_unique<shm::TicketKeys>();
    const auto after = std::make_unique<shm::TicketKeys>();
    REQUIRE(shm::tend_ticket_keys(*before, 1000, 60));
    shm::restore_ticket_keys(*after, *shm::read_ticket_keys(*before), 1000);
    REQUIRE(shm::tend_ticket_keys(*after, 1030, 60));
    CHECK((*shm::read_ticket_keys(*after))[1].mac == (*shm::read_ticket_keys(*before))[1].mac);
}

TEST_CASE("ticket keys: those of a file stand where they are said to, as nginx reads the same bytes")
{
    const auto keys = std::make_unique<shm::TicketKeys>();
    const std::string first = std::string(16, 'n') + std::string(32, 'h') + std::string(32, 'a');
    const std::string second(80, '2');
    const std::string_view given[] = {first, second};
    shm::adopt_ticket_keys(*keys, given, 1000);
    const auto set = *shm::read_ticket_keys(*keys);
    CHECK(set[1].name[0] == 'n');
    CHECK(set[1].mac[31] == 'h');
    CHECK(set[1].cipher[0] == 'a');
    CHECK(set[0].name[0] == '2');
    CHECK(set[2].name[0] == '2');
    const std::uint64_t sequence = keys->sequence.load();
    shm::adopt_ticket_keys(*keys, given, 2000);
    CHECK(keys->sequence.load() == sequence);
}

TEST_CASE("ticket keys: a single one of a file is all there is")
{
    const auto keys = std::make_unique<shm::TicketKeys>();
    REQUIRE(shm::tend_ticket_keys(*keys, 1000, 60));
    const std::string only(80, 'x');
    const std::string_view given[] = {only};
    shm::adopt_ticket_keys(*keys, given, 1000);
    const shm::TicketKeySet set = *shm::read_ticket_keys(*keys);
    for (const shm::TicketKey& key : set) {
        CHECK(key.name[0] == 'x');
    }
}
