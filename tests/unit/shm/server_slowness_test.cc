// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_slowness.h"

#include <doctest/doctest.h>

#include <random>
#include <tuple>

using namespace ladle::shm;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::nanoseconds kWindow = 6400ms; // of 64 steps of 100 ms
constexpr std::uint64_t kStep = 100'000'000;
constexpr std::uint64_t kStart = 640 * kStep; // a slice begins there

double milliseconds(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double, std::milli>(time).count();
}

/// One answer in each step.
Times fill(TimesRing& ring, std::chrono::nanoseconds time, unsigned count, std::uint64_t from = kStart)
{
    for (unsigned i = 0; i < count; ++i) {
        std::ignore = add_time(ring, time, kWindow, from + i * kStep);
    }
    return read_times(ring, kWindow, from + (count - 1) * kStep);
}

std::uint32_t count_of(const TimesRing& ring, std::uint64_t now, std::chrono::nanoseconds within = kWindow)
{
    return pool(read_times(ring, within, now)).count;
}

} // namespace

TEST_CASE("slowness: a mean of times is near to them, from 8 us to minutes")
{
    for (const std::chrono::nanoseconds time : {8500ns, 100'000ns, 1'000'000ns, 40'000'000ns, 812'000'000ns, 100'000'000'000ns}) {
        TimesRing ring{};
        CHECK(milliseconds(pool(fill(ring, time, 20)).typical()) == doctest::Approx(milliseconds(time)).epsilon(0.04));
    }
    TimesRing ring{};
    CHECK(pool(fill(ring, -5ns, 3)).level == 0);
    CHECK(pool(fill(ring, 24h, 64, kStart + 640 * kStep)).level == 511);
    CHECK(pool(Times{}).count == 0);
}

TEST_CASE("slowness: of all answers in one step one counts, and none that another worker's clock puts before")
{
    TimesRing ring{};
    CHECK(add_time(ring, 10ms, kWindow, kStart + 3 * kStep));
    CHECK_FALSE(add_time(ring, 900ms, kWindow, kStart + 3 * kStep + kStep / 2));
    CHECK_FALSE(add_time(ring, 900ms, kWindow, kStart + 2 * kStep));
    CHECK(milliseconds(pool(read_times(ring, kWindow, kStart + 2 * kStep)).typical()) < 11);
    CHECK(add_time(ring, 10ms, kWindow, kStart + 4 * kStep));
    CHECK(count_of(ring, kStart + 3 * kStep) == 2); // a slice that has begun for the other one
}

TEST_CASE("slowness: what is older than the window is forgotten slice by slice, and no sum overflows")
{
    TimesRing ring{};
    CHECK(pool(fill(ring, 24h, 64)).count == 64);
    CHECK(count_of(ring, kStart + 64 * kStep) == 60);
    CHECK(count_of(ring, kStart + 123 * kStep) == 4);
    CHECK(count_of(ring, kStart + 124 * kStep) == 0);
    for (std::uint64_t i = 64; i < 6400; ++i) {
        REQUIRE(add_time(ring, 24h, kWindow, kStart + i * kStep));
        const Pooled all = pool(read_times(ring, kWindow, kStart + i * kStep));
        REQUIRE(all.level == 511);
        REQUIRE((all.count > 60 && all.count <= 64));
    }
}

TEST_CASE("slowness: after a pause of any length a server's answers count at once, and nothing that it did before")
{
    for (std::uint64_t steps = 128; steps < std::uint64_t{1} << 31; steps += steps / 16 + 1) {
        CAPTURE(steps);
        TimesRing ring{};
        fill(ring, 24h, 64);
        const std::uint64_t later = kStart + steps * kStep;
        REQUIRE(count_of(ring, later) == 0);
        REQUIRE(add_time(ring, 10ms, kWindow, later));
        REQUIRE(count_of(ring, later) == 1);
    }
}

TEST_CASE("slowness: with another `within` after a reload all that is known is new within a window")
{
    for (const std::chrono::nanoseconds other : {1000ms, 3200ms, 10'000ms, 60'000ms, 3'600'000ms}) {
        for (std::uint64_t begin = kStart; begin < kStart * 1000; begin += kStart * 7 + 13 * kStep) {
            CAPTURE(other.count());
            CAPTURE(begin);
            TimesRing ring{};
            fill(ring, 24h, 64, begin);
            const std::uint64_t step = static_cast<std::uint64_t>(other.count()) / 64;
            const std::uint64_t now = begin + 65 * kStep;
            unsigned counted = 0;
            for (std::uint64_t i = 0; i < 128; ++i) {
                counted += add_time(ring, 10ms, other, now + i * step) ? 1 : 0;
            }
            REQUIRE(counted >= 64);
            const Pooled all = pool(read_times(ring, other, now + 127 * step));
            REQUIRE(all.count > 60);
            REQUIRE(milliseconds(all.typical()) < 11);
        }
    }
}

TEST_CASE("slowness: what began before a given time does not count")
{
    TimesRing ring{};
    fill(ring, 24h, 32);
    fill(ring, 10ms, 32, kStart + 32 * kStep);
    const std::uint64_t now = kStart + 63 * kStep;
    CHECK(pool(read_times(ring, kWindow, now, kStart)).count == 64);
    CHECK(pool(read_times(ring, kWindow, now, kStart + 32 * kStep)).count == 32);
    CHECK(milliseconds(pool(read_times(ring, kWindow, now, kStart + 32 * kStep)).typical()) < 11);
    CHECK(pool(read_times(ring, kWindow, now, kStart + 33 * kStep)).count == 28);
    CHECK(pool(read_times(ring, kWindow, now, now + 1)).count == 0);
}

TEST_CASE("slowness: a server is slower by so many times or more")
{
    TimesRing slow{};
    TimesRing quick{};
    const Times one = fill(slow, 410ms, 20);
    const Times other = fill(quick, 80ms, 20);
    CHECK(is_slower(compare(one, other), 5));
    CHECK_FALSE(is_slower(compare(one, other), 6));
    CHECK_FALSE(is_slower(compare(other, one), 2));
    CHECK_FALSE(is_slower(compare(one, Times{}), 2));
    CHECK_FALSE(is_slower(compare(Times{}, other), 2));
    CHECK(milliseconds(compare(one, other).own()) == doctest::Approx(410).epsilon(0.04));
    CHECK(milliseconds(compare(one, other).others()) == doctest::Approx(80).epsilon(0.04));
}

TEST_CASE("slowness: all become slow at once: one that has not been asked before is no slower than the others")
{
    for (unsigned before = 0; before < 60; ++before) {
        CAPTURE(before);
        TimesRing fresh{};
        TimesRing known{};
        fill(known, 40ms, before + 1);
        unsigned wrong = 0;
        for (unsigned i = before; i < before + 64; ++i) {
            const std::uint64_t now = kStart + i * kStep;
            std::ignore = add_time(known, 4000ms, kWindow, now);
            std::ignore = add_time(fresh, 4000ms, kWindow, now);
            const Difference difference = compare(read_times(fresh, kWindow, now), read_times(known, kWindow, now));
            wrong += difference.count >= 20 && is_slower(difference, 2) ? 1 : 0;
        }
        CHECK(wrong == 0);
    }
}

TEST_CASE("slowness: one slow answer, or some, among quick ones makes nobody slow")
{
    TimesRing some{};
    TimesRing quick{};
    for (unsigned i = 0; i < 40; ++i) {
        std::ignore = add_time(some, i % 8 == 0 ? 10'000ms : 5ms, kWindow, kStart + i * kStep);
        std::ignore = add_time(quick, 5ms, kWindow, kStart + i * kStep);
    }
    const std::uint64_t end = kStart + 39 * kStep;
    CHECK_FALSE(is_slower(compare(read_times(some, kWindow, end), read_times(quick, kWindow, end)), 2));
}

TEST_CASE("slowness: servers that have the same two kinds of requests do not differ by chance; one that is slow at both does")
{
    std::mt19937 random(7);
    for (const double part : {0.1, 0.3, 0.5, 0.8}) {
        CAPTURE(part);
        std::bernoulli_distribution is_report(part);
        const auto took = [&] { return is_report(random) ? 5000ms : 5ms; };
        TimesRing one{};
        TimesRing other{};
        TimesRing slow{};
        unsigned wrong = 0;
        unsigned right = 0;
        for (std::uint64_t i = 0; i < 64 * 2000; ++i) {
            const std::uint64_t now = kStart + i * kStep;
            std::ignore = add_time(one, took(), kWindow, now);
            std::ignore = add_time(other, took(), kWindow, now);
            std::ignore = add_time(slow, 30 * took(), kWindow, now);
            const Times times = read_times(one, kWindow, now);
            const Times others = read_times(other, kWindow, now);
            const Difference difference = compare(times, others);
            wrong += difference.count >= 20 && (is_slower(difference, 2) || is_slower(compare(others, times), 2)) ? 1 : 0;
            right += i % 64 == 63 && is_slower(compare(read_times(slow, kWindow, now), times), 5) ? 1 : 0;
        }
        CHECK(wrong == 0);
        CHECK(right > 500); // of 2000 windows
    }
}

TEST_CASE("slowness: the fewest answers that are ever enough are few, but not wrong: bursts of two kinds after pauses")
{
    std::mt19937 random(11);
    for (const double part : {0.2, 0.35, 0.5, 0.65}) {
        CAPTURE(part);
        std::bernoulli_distribution is_report(part);
        unsigned wrong = 0;
        unsigned enough = 0;
        for (std::uint64_t burst = 0; burst < 10'000; ++burst) {
            TimesRing one{};
            TimesRing other{};
            for (std::uint64_t i = 0; i < 10; ++i) {
                const std::uint64_t now = kStart + i * kStep;
                std::ignore = add_time(one, is_report(random) ? 5000ms : 5ms, kWindow, now);
                std::ignore = add_time(other, is_report(random) ? 5000ms : 5ms, kWindow, now);
                const Difference difference = compare(read_times(one, kWindow, now), read_times(other, kWindow, now));
                enough += difference.count >= 5 ? 1 : 0;
                wrong += difference.count >= 5 && (is_slower(difference, 2)) ? 1 : 0;
            }
        }
        CHECK(enough == 60'000);
        CHECK(wrong == 0);
    }
}

TEST_CASE("slowness: one answer is too slow that is beyond nearly all of the others, not one of a slow kind")
{
    TimesRing alike{};
    const Pooled quick = pool(fill(alike, 40ms, 20));
    CHECK(is_too_slow(205ms, quick, 5));
    CHECK_FALSE(is_too_slow(190ms, quick, 5));
    TimesRing mixed{};
    for (unsigned i = 0; i < 60; ++i) {
        std::ignore = add_time(mixed, i % 3 == 0 ? 5000ms : 5ms, kWindow, kStart + i * kStep);
    }
    const Pooled two_kinds = pool(read_times(mixed, kWindow, kStart + 59 * kStep));
    CHECK(5000ms > 5 * two_kinds.typical());
    CHECK_FALSE(is_too_slow(5000ms, two_kinds, 5));
    CHECK(is_too_slow(60'000ms, two_kinds, 5));
}

TEST_CASE("slowness: is told in ms")
{
    CHECK(unpack_slowness(pack({812'345us, 40'000us})).own == 812'345us);
    CHECK(unpack_slowness(pack({812'345us, 40'000us})).others == 40'000us);
    CHECK(describe_slowness(pack({812'345us, 40'000us})) == "slow: 812 ms against 40 ms");
    CHECK(describe_slowness(pack({150'000us, 1'260us})) == "slow: 150 ms against 1.3 ms");
    CHECK(describe_slowness(pack({std::chrono::microseconds(-1), 2h})) == "slow: 0.0 ms against 4294967 ms");
}
