// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_load.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>

using namespace ladle;

namespace {

constexpr std::uint64_t kLoadSecond = 1'000'000'000;
constexpr shm::LoadTimes kLoadTimes{10 * kLoadSecond, 180 * kLoadSecond};
constexpr double kInfinite = std::numeric_limits<double>::infinity();

} // namespace

TEST_CASE("load: the weight is Envoy's: requests per second by utilisation, the part that fails being utilisation, too")
{
    CHECK(shm::capacity_of({0.5, 100, 0}, 100) == doctest::Approx(200));
    CHECK(shm::capacity_of({0.5, 100, 10}, 100) == doctest::Approx(100 / 0.6));
    CHECK(shm::capacity_of({0.5, 100, 10}, 0) == doctest::Approx(200));
    CHECK(shm::capacity_of({0.5, 100, 10}, 50) == doctest::Approx(100 / 0.55));
    CHECK(shm::capacity_of({0, 100, 10}, 100) == doctest::Approx(1000)); // errors alone are some
    CHECK(shm::capacity_of({2.5, 100, 0}, 100) == doctest::Approx(40));  // more than all of it
}

TEST_CASE("load: a report that tells nothing, or that nothing can be made of, makes no weight")
{
    CHECK_FALSE(shm::capacity_of({0.5, 0, 0}, 100));
    CHECK_FALSE(shm::capacity_of({0, 100, 0}, 100));
    CHECK_FALSE(shm::capacity_of({0, 100, 10}, 0));
    CHECK_FALSE(shm::capacity_of({1e-300, 1e300, 0}, 100));
    CHECK_FALSE(shm::capacity_of({1e300, 1e-300, 0}, 100));
    CHECK_FALSE(shm::capacity_of({0.5, 1e-300, 1e300}, 100));
    CHECK_FALSE(shm::capacity_of({std::nan(""), 1, 0}, 100));
    CHECK_FALSE(shm::capacity_of({kInfinite, 1, 0}, 100));
    CHECK_FALSE(shm::capacity_of({1, kInfinite, 0}, 100));
}

TEST_CASE("load: what was reported comes back to within a millionth, and what is beyond all measure is cut")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    for (const double capacity : {1.0, 0.001, 33.3, 12345.678, 1e9}) {
        shm::add_load(*health, capacity, kLoadTimes, kLoadSecond);
        CHECK(shm::last_load(*health, kLoadSecond)->capacity == doctest::Approx(capacity).epsilon(1e-6));
    }
    shm::add_load(*health, 1e300, kLoadTimes, kLoadSecond);
    CHECK(shm::last_load(*health, kLoadSecond)->capacity == doctest::Approx(std::exp2(31)));
    shm::add_load(*health, 1e-300, kLoadTimes, kLoadSecond);
    CHECK(health->load != 0);
    CHECK(shm::last_load(*health, kLoadSecond)->capacity == doctest::Approx(std::exp2(-31)));
}

TEST_CASE("load: reports count after the blackout, until the last is too old, and then the blackout begins anew")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    std::uint64_t now = 1000 * kLoadSecond;
    const auto counts = [&] { return shm::read_load(*health, kLoadTimes, now).has_value(); };
    CHECK_FALSE(counts());
    for (int second = 0; second < 10; ++second) {
        shm::add_load(*health, 10, kLoadTimes, now);
        CHECK_FALSE(counts());
        now += kLoadSecond;
    }
    shm::add_load(*health, 10, kLoadTimes, now);
    CHECK(counts());
    now += 179 * kLoadSecond;
    CHECK(counts());
    now += 2 * kLoadSecond;
    CHECK_FALSE(counts());
    shm::add_load(*health, 10, kLoadTimes, now);
    CHECK_FALSE(counts());
    now += 10 * kLoadSecond;
    CHECK(counts());
}

TEST_CASE("load: a server that comes back, from a check, an order or an ejection, is in the blackout again")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    std::uint64_t now = 1000 * kLoadSecond;
    const auto counts = [&] { return shm::read_load(*health, kLoadTimes, now).has_value(); };
    shm::add_load(*health, 10, kLoadTimes, now);
    now += 20 * kLoadSecond;
    CHECK(counts());
    health->back_ns = now - kLoadSecond;
    CHECK_FALSE(counts());
    now += 9 * kLoadSecond;
    CHECK(counts());
    health->out_until_ns = now + 30 * kLoadSecond;
    CHECK_FALSE(counts());
    now += 39 * kLoadSecond;
    CHECK_FALSE(counts());
    now += kLoadSecond;
    CHECK(counts());
}

TEST_CASE("load: a worker whose clock was read a moment earlier sees no report from the future")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    shm::add_load(*health, 10, {0, kLoadTimes.expire}, 1000 * kLoadSecond);
    CHECK(shm::last_load(*health, 999 * kLoadSecond)->age_ns == 0);
    CHECK_FALSE(shm::read_load(*health, {0, kLoadTimes.expire}, 999 * kLoadSecond)); // not yet
    CHECK(shm::read_load(*health, {0, kLoadTimes.expire}, 1000 * kLoadSecond));
}
