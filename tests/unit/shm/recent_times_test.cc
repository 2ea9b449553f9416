// SPDX-License-Identifier: Apache-2.0
#include "common/shm/recent_times.h"
#include "common/shm/server_health.h"

#include <doctest/doctest.h>

#include <memory>

using namespace ladle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kTick = 1'000'000'000;

std::unique_ptr<shm::RecentTimes> times_of(int quick, int slow)
{
    auto times = std::make_unique<shm::RecentTimes>();
    shm::clear_times(*times);
    for (int i = 0; i < quick + slow; ++i) {
        shm::add_time(*times, i < quick ? std::chrono::nanoseconds(5ms) : std::chrono::nanoseconds(400ms));
    }
    return times;
}

} // namespace

TEST_CASE("the time within which most answers come is known from a hundred answers on, to within a fifth")
{
    CHECK(shm::time_within(*times_of(99, 0), 95).count() == 0);
    const auto times = times_of(96, 4);
    CHECK(shm::time_within(*times, 50) >= 5ms);
    CHECK(shm::time_within(*times, 95) <= 6250us);
    CHECK(shm::time_within(*times, 99) >= 400ms);
    CHECK(shm::time_within(*times, 99) <= 500ms);
    const auto slower = times_of(90, 10);
    CHECK(shm::time_within(*slower, 90) <= 6250us);
    CHECK(shm::time_within(*slower, 95) >= 400ms);
}

TEST_CASE("a hedge's time is never below the soonest, and whole milliseconds")
{
    const auto times = times_of(1000, 100);
    CHECK(shm::time_to_hedge(*times_of(50, 0), 95, 10ms) == 0ms);
    CHECK(shm::time_to_hedge(*times, 75, 10ms) == 10ms);
    CHECK(shm::time_to_hedge(*times, 75, 1ms) == 6ms);
    CHECK(shm::time_to_hedge(*times, 95, 10ms) >= 400ms);
}

TEST_CASE("a busy upstream's times are forgotten in some seconds, a quiet one's last answers are kept")
{
    const auto times = times_of(0, 2000);
    std::uint64_t now = 1000 * kTick;
    for (int second = 0; second < 60; ++second, now += kTick) {
        for (int i = 0; i < 100; ++i) {
            shm::add_time(*times, 5ms);
        }
        shm::age_times(*times, now);
        shm::age_times(*times, now + kTick / 2); // another worker, within the same second
    }
    CHECK(shm::time_within(*times, 95) <= 6250us);

    const auto quiet = times_of(240, 0);
    for (int second = 0; second < 1000; ++second, now += kTick) {
        shm::age_times(*quiet, now);
    }
    CHECK(shm::time_within(*quiet, 95) > 0us);
    const auto full = times_of(100'000, 0);
    for (int second = 0; second < 1000; ++second, now += kTick) {
        shm::age_times(*full, now);
    }
    std::uint64_t left = 0;
    for (const auto& count : full->counts) {
        left += count.load();
    }
    CHECK(left <= shm::kKeptTimes * shm::kTimeUnit);
    CHECK(left >= shm::kLeastTimes * shm::kTimeUnit);
}

TEST_CASE("hedges never come to more than their share of the requests, and to none without requests")
{
    std::atomic<std::uint64_t> word{0};
    std::uint64_t now = 1000 * kTick;
    CHECK_FALSE(shm::take_hedge(word, 0, 100, now));
    CHECK_FALSE(shm::take_hedge(word, 5'000'000, 100, now)); // nobody knows when those were
    shm::settle_hedges(word, 0, now);
    std::uint64_t requests = 0;
    std::uint64_t taken = 0;
    for (int second = 0; second < 200; ++second, now += kTick) {
        shm::settle_hedges(word, requests, now);
        for (int i = 0; i < 50; ++i) {
            ++requests;
            taken += shm::take_hedge(word, requests, 5, now) ? 1 : 0;
        }
        REQUIRE(taken * 100 <= requests * 5);
    }
    CHECK(taken * 100 >= requests * 4);
    CHECK_FALSE(shm::take_hedge(word, requests, 0, now));
}
