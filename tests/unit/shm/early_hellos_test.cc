// SPDX-License-Identifier: Apache-2.0
#include "common/shm/early_hellos.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>

using namespace ladle;

namespace {

constexpr std::uint64_t kHelloTime = 1'700'000'000;

/// Hashes that share a set, with marks of their own.
std::uint64_t hash_in_set(std::uint64_t set, std::uint64_t mark)
{
    return mark << 32 | set;
}

} // namespace

TEST_CASE("early data: a hello is let in once, as long as OpenSSL would let it")
{
    const auto table = std::make_unique<shm::EarlyHellos>();
    CHECK(shm::admit_hello(*table, 12345, kHelloTime));
    for (std::uint64_t later = 0; later <= shm::kEarlyWindowS; ++later) {
        CHECK_FALSE(shm::admit_hello(*table, 12345, kHelloTime + later));
    }
    CHECK(shm::admit_hello(*table, 12345, kHelloTime + shm::kEarlyWindowS + 1));
    CHECK_FALSE(shm::admit_hello(*table, 12345, kHelloTime + shm::kEarlyWindowS + 1));
}

TEST_CASE("early data: where the clock is set back, what came before counts as new")
{
    const auto table = std::make_unique<shm::EarlyHellos>();
    CHECK(shm::admit_hello(*table, 12345, kHelloTime));
    CHECK_FALSE(shm::admit_hello(*table, 12345, kHelloTime - 3600));
}

TEST_CASE("early data: a set has so many places, and they are free again when their time is over")
{
    const auto table = std::make_unique<shm::EarlyHellos>();
    for (std::uint64_t mark = 1; mark <= shm::kEarlyWays; ++mark) {
        CHECK(shm::admit_hello(*table, hash_in_set(7, mark), kHelloTime));
    }
    CHECK_FALSE(shm::admit_hello(*table, hash_in_set(7, 100), kHelloTime));
    CHECK(shm::admit_hello(*table, hash_in_set(8, 100), kHelloTime));
    CHECK_FALSE(shm::admit_hello(*table, hash_in_set(7, 1), kHelloTime));
    CHECK(shm::admit_hello(*table, hash_in_set(7, 100), kHelloTime + shm::kEarlyWindowS + 1));
}

TEST_CASE("early data: of workers that bring the same hello at once, one at the most is let in")
{
    const auto table = std::make_unique<shm::EarlyHellos>();
    constexpr std::uint64_t kRounds = 20'000;
    std::atomic<std::uint64_t> ready{0};
    std::atomic<int> admitted[kRounds] = {};
    const auto bring = [&] {
        for (std::uint64_t round = 0; round < kRounds; ++round) {
            ready.fetch_add(1);
            while (ready.load() < 2 * (round + 1)) {
            }
            const std::uint64_t hash = hash_in_set(round % shm::kEarlySets, round + 1);
            admitted[round] += shm::admit_hello(*table, hash, kHelloTime) ? 1 : 0;
        }
    };
    std::thread other(bring);
    bring();
    other.join();
    std::uint64_t total = 0;
    for (const std::atomic<int>& count : admitted) {
        REQUIRE(count.load() <= 1);
        total += static_cast<std::uint64_t>(count.load());
    }
    CHECK(total > kRounds / 2); // both refused is seldom
}
