// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_slowness.h"

#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <tuple>

using namespace ladle::shm;
using namespace std::chrono_literals;

namespace {

using Word = std::atomic<std::uint64_t>;
constexpr std::chrono::nanoseconds kWindow = 6400ms; // of 64 steps of 100 ms
constexpr std::uint64_t kStep = 100'000'000;
constexpr std::uint64_t kStart = 640 * kStep; // a window begins there

double milliseconds(const Times& times)
{
    return std::chrono::duration<double, std::milli>(times.typical()).count();
}

Times fill(Word& word, std::chrono::nanoseconds time, unsigned count, std::uint64_t from = kStart)
{
    for (unsigned i = 0; i < count; ++i) {
        std::ignore = add_time(word, time, kWindow, from + i * kStep);
    }
    return read_times(word, kWindow, from + (count - 1) * kStep);
}

} // namespace

TEST_CASE("slowness: a mean of times is near to them, from 8 us to minutes")
{
    for (const std::chrono::nanoseconds time : {8500ns, 100'000ns, 1'000'000ns, 40'000'000ns, 812'000'000ns, 100'000'000'000ns}) {
        Word word{0};
        CHECK(milliseconds(fill(word, time, 20)) ==
              doctest::Approx(std::chrono::duration<double, std::milli>(time).count()).epsilon(0.04));
    }
    Word word{0};
    CHECK(fill(word, -5ns, 3).level == 0);
    CHECK(fill(word, 24h, 64, kStart + 640 * kStep).level == 511);
}

TEST_CASE("slowness: of all answers in one step one counts, and none that another worker's clock puts before")
{
    Word word{0};
    CHECK(add_time(word, 10ms, kWindow, kStart + 3 * kStep)->count == 1);
    CHECK_FALSE(add_time(word, 900ms, kWindow, kStart + 3 * kStep + kStep / 2));
    CHECK_FALSE(add_time(word, 900ms, kWindow, kStart + 2 * kStep));
    CHECK(milliseconds(read_times(word, kWindow, kStart + 2 * kStep)) < 11);
    CHECK(add_time(word, 10ms, kWindow, kStart + 4 * kStep)->count == 2);
}

TEST_CASE("slowness: half of the window before counts, nothing that is older, and no sum overflows")
{
    Word word{0};
    CHECK(fill(word, 24h, 64).count == 64);
    CHECK(read_times(word, kWindow, kStart + 127 * kStep).count == 64);
    CHECK(read_times(word, kWindow, kStart + 128 * kStep).count == 0);
    CHECK(add_time(word, 24h, kWindow, kStart + 64 * kStep)->count == 33);
    for (std::uint64_t i = 65; i < 6400; ++i) {
        const auto times = add_time(word, 24h, kWindow, kStart + i * kStep);
        REQUIRE(times);
        CHECK(times->level == doctest::Approx(511));
        CHECK(times->count <= 127);
    }
    const auto later = add_time(word, 10ms, kWindow, kStart + 6400 * kStep + 200 * kStep);
    CHECK(later->count == 1);
    CHECK(milliseconds(*later) == doctest::Approx(10).epsilon(0.04));
}

TEST_CASE("slowness: a server is slower by so many times or more, whatever the count where all answers are alike")
{
    Word slow{0};
    Word quick{0};
    const Times one = fill(slow, 410ms, 20);
    const Times other = fill(quick, 80ms, 20);
    CHECK(is_slower(one, other, 5));
    CHECK_FALSE(is_slower(one, other, 6));
    CHECK_FALSE(is_slower(other, one, 2));
    CHECK_FALSE(is_slower(one, Times{}, 2));
    CHECK_FALSE(is_slower(Times{}, other, 2));
}

TEST_CASE("slowness: one slow answer, or some, among quick ones makes nobody slow")
{
    Word some{0};
    Word quick{0};
    for (unsigned i = 0; i < 40; ++i) {
        std::ignore = add_time(some, i % 8 == 0 ? 10'000ms : 5ms, kWindow, kStart + i * kStep);
        std::ignore = add_time(quick, 5ms, kWindow, kStart + i * kStep);
    }
    const std::uint64_t end = kStart + 39 * kStep;
    CHECK_FALSE(is_slower(read_times(some, kWindow, end), read_times(quick, kWindow, end), 2));
}

TEST_CASE("slowness: servers that have the same two kinds of requests do not differ by chance; one that is slow at both does")
{
    std::mt19937 random(7);
    for (const double part : {0.1, 0.3, 0.5, 0.8}) {
        CAPTURE(part);
        std::bernoulli_distribution is_report(part);
        const auto took = [&] { return is_report(random) ? 5000ms : 5ms; };
        Word one{0};
        Word other{0};
        Word slow{0};
        unsigned wrong = 0;
        unsigned right = 0;
        for (std::uint64_t i = 0; i < 64 * 2000; ++i) {
            const std::uint64_t now = kStart + i * kStep;
            const auto times = add_time(one, took(), kWindow, now);
            const auto others = add_time(other, took(), kWindow, now);
            const auto slows = add_time(slow, 30 * took(), kWindow, now);
            const bool is_enough = times->count >= 20 && others->count >= 20;
            wrong += is_enough && (is_slower(*times, *others, 2) || is_slower(*others, *times, 2)) ? 1 : 0;
            right += i % 64 == 63 && is_slower(*slows, *times, 5) ? 1 : 0;
        }
        CHECK(wrong == 0);
        CHECK(right > 500); // of 2000 windows
    }
}

TEST_CASE("slowness: is told in ms")
{
    CHECK(describe_slowness(pack({812'345us, 40'000us})) == "slow: 812 ms against 40 ms");
    CHECK(describe_slowness(pack({150'000us, 1'260us})) == "slow: 150 ms against 1.3 ms");
    CHECK(describe_slowness(pack({std::chrono::microseconds(-1), 2h})) == "slow: 0.0 ms against 4294967 ms");
}
