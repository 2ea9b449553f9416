// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/address_turn.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

using ladle::worker::first_address;

namespace {

std::vector<ladle::shm::ServerAddress> addresses_of(const std::vector<std::uint32_t>& weights)
{
    std::vector<ladle::shm::ServerAddress> out(weights.size());
    for (std::size_t i = 0; i < weights.size(); ++i) {
        out[i].weight = weights[i];
    }
    return out;
}

std::vector<unsigned> shares(const std::vector<std::uint32_t>& weights, std::uint32_t from, unsigned count)
{
    std::vector<unsigned> out(weights.size());
    for (std::uint32_t turn = from; turn != from + count; ++turn) {
        ++out.at(first_address(addresses_of(weights), turn));
    }
    return out;
}

} // namespace

TEST_CASE("addresses without weights, or with equal ones, take turns")
{
    for (std::uint32_t turn = 0; turn < 10; ++turn) {
        CHECK(first_address(addresses_of({0, 0, 0}), turn) == turn % 3);
        CHECK(first_address(addresses_of({7, 7, 7}), turn) == turn % 3);
    }
    CHECK(first_address(addresses_of({5}), 0xffff'ffffu) == 0);
}

TEST_CASE("addresses with weights have their shares among few connections too, wherever the count stands")
{
    for (const std::uint32_t from : {0u, 1000u, 0xffff'ffd0u}) {
        CAPTURE(from);
        const auto many = shares({6, 3, 1}, from, 1000);
        CHECK(many[0] == doctest::Approx(600).epsilon(0.01));
        CHECK(many[1] == doctest::Approx(300).epsilon(0.02));
        CHECK(many[2] == doctest::Approx(100).epsilon(0.03));
        const auto few = shares({3, 1}, from, 12);
        CHECK(few[1] >= 2);
        CHECK(few[1] <= 4);
    }
}

TEST_CASE("the largest weights do not overflow")
{
    const std::uint32_t most = 32u * 240 * 65535; // 32 records, all of one place
    const auto out = shares({most, most - 1}, 0, 100);
    CHECK(out[0] >= 48);
    CHECK(out[0] <= 52);
}
