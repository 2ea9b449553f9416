// SPDX-License-Identifier: Apache-2.0
#include "common/shm/staples.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>

using namespace ladle;

namespace {

shm::StapleKey key_of(std::uint8_t first, std::uint8_t last = 0)
{
    shm::StapleKey key{};
    key.front() = first;
    key.back() = last;
    return key;
}

std::vector<std::uint8_t> bytes(const std::string& text)
{
    return {text.begin(), text.end()};
}

} // namespace

TEST_CASE("staples: an answer is there until its time is over, and only for its certificate")
{
    const auto table = std::make_unique<shm::StapleTable>();
    std::vector<std::uint8_t> out;
    CHECK_FALSE(shm::read_staple(*table, key_of(1), 100, out));
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("good"), 200));
    CHECK(shm::read_staple(*table, key_of(1), 199, out));
    CHECK(out == bytes("good"));
    CHECK_FALSE(shm::read_staple(*table, key_of(1), 200, out));
    CHECK_FALSE(shm::read_staple(*table, key_of(1, 1), 100, out));
    CHECK(shm::staple_until(*table, key_of(1)) == 200);
}

TEST_CASE("staples: a newer answer takes the place of the one before, also a shorter one")
{
    const auto table = std::make_unique<shm::StapleTable>();
    std::vector<std::uint8_t> out;
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("a long answer"), 200));
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("short"), 300));
    CHECK(shm::read_staple(*table, key_of(1), 250, out));
    CHECK(out == bytes("short"));
}

TEST_CASE("staples: those whose places meet stand side by side, as many as there are places, and no more")
{
    const auto table = std::make_unique<shm::StapleTable>();
    std::vector<std::uint8_t> out;
    std::uint8_t count = 0;
    while (count < 100 && shm::publish_staple(*table, key_of(1, count), bytes(std::to_string(count)), 200)) {
        ++count;
    }
    CHECK(count == 16);
    for (std::uint8_t at = 0; at < count; ++at) {
        CHECK(shm::read_staple(*table, key_of(1, at), 100, out));
        CHECK(out == bytes(std::to_string(at)));
    }
    shm::withdraw_staple(*table, key_of(1, 3));
    CHECK_FALSE(shm::read_staple(*table, key_of(1, 3), 100, out));
    CHECK(shm::publish_staple(*table, key_of(1, 50), bytes("new"), 200));
}

TEST_CASE("staples: one that is too large is not taken")
{
    const auto table = std::make_unique<shm::StapleTable>();
    CHECK_FALSE(shm::publish_staple(*table, key_of(1), std::vector<std::uint8_t>(shm::kMostStapleBytes + 1), 200));
    CHECK_FALSE(shm::publish_staple(*table, key_of(1), {}, 200));
    CHECK(shm::publish_staple(*table, key_of(1), std::vector<std::uint8_t>(shm::kMostStapleBytes), 200));
}

TEST_CASE("staples: a caretaker that died while it wrote leaves none, and the next one writes it again")
{
    const auto table = std::make_unique<shm::StapleTable>();
    std::vector<std::uint8_t> out;
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("good"), 200));
    table->staples[1].seq.fetch_add(1);
    CHECK_FALSE(shm::read_staple(*table, key_of(1), 100, out));
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("again"), 200));
    CHECK(shm::read_staple(*table, key_of(1), 100, out));
}

TEST_CASE("staples: what two writers have mixed is not shown")
{
    const auto table = std::make_unique<shm::StapleTable>();
    std::vector<std::uint8_t> out;
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("good"), 200));
    table->answers[1][0] ^= 1;
    CHECK_FALSE(shm::read_staple(*table, key_of(1), 100, out));
}

TEST_CASE("staples: certificates that no configuration has any more are forgotten")
{
    const auto table = std::make_unique<shm::StapleTable>();
    std::vector<std::uint8_t> out;
    REQUIRE(shm::publish_staple(*table, key_of(1), bytes("a"), 200));
    REQUIRE(shm::publish_staple(*table, key_of(2), bytes("b"), 200));
    shm::keep_staples(*table, {key_of(2)});
    CHECK_FALSE(shm::read_staple(*table, key_of(1), 100, out));
    CHECK(shm::read_staple(*table, key_of(2), 100, out));
}
