// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/shm/limit_simulation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

using namespace ladle;
using namespace std::chrono_literals;
using shm::LimitChange;
using shm::LimitPhase;
using shm::LimitRules;
using shm::LimitState;
using shm::LimitWindow;
using shm::ServerLimit;

namespace {

/// In the middle of things: 100, of answers that take 8 ms without waiting.
LimitState steady(double limit = 100)
{
    LimitState state;
    state.limit = limit;
    state.baseline = shm::level_of(8ms);
    state.phase = LimitPhase::steady;
    state.starts = false;
    return state;
}

double limit_after(const LimitState& before, std::chrono::nanoseconds time, std::uint32_t most)
{
    return shm::next_limit(before, {shm::level_of(time), most}, kLimitRules, kLimitStart).limit;
}

} // namespace

TEST_CASE("limit: the gradient's steps are those that the formula gives by hand")
{
    CHECK(limit_after(steady(), 8ms, 100) == doctest::Approx(110));      // 100 × 1 + √100
    CHECK(limit_after(steady(), 4ms, 100) == doctest::Approx(110));      // no more for being quicker
    CHECK(limit_after(steady(), 10ms, 100) == doctest::Approx(110));     // 25 % longer is tolerated
    CHECK(limit_after(steady(), 16ms, 100) == doctest::Approx(72.5));    // 100 × 1.25 × 8/16 + 10
    CHECK(limit_after(steady(), 12'500us, 100) == doctest::Approx(90));  // 100 × 1.25 × 8/12.5 + 10
    CHECK(limit_after(steady(), 100ms, 100) == doctest::Approx(60));     // never less than half, and 10
    CHECK(limit_after(steady(25), 8ms, 25) == doctest::Approx(30));
    CHECK(limit_after(steady(4), 100ms, 4) == doctest::Approx(4));
    CHECK(limit_after(steady(6), 100ms, 6) == doctest::Approx(5)); // 3, and a third
    const LimitWindow slow{shm::level_of(100ms), 4};
    CHECK(shm::next_limit(steady(4), slow, {1, 1000, 25}, kLimitStart).limit == doctest::Approx(2 + 4.0 / 3));
    CHECK(shm::next_limit(steady(1.5), slow, {1, 1000, 25}, kLimitStart).limit == doctest::Approx(1.25));
    CHECK(limit_after(steady(990), 8ms, 990) == doctest::Approx(1000)); // the greatest
}

TEST_CASE("limit: it does not grow while less than half of it is used, and shrinks all the same")
{
    CHECK(limit_after(steady(), 8ms, 49) == doctest::Approx(100));
    CHECK(limit_after(steady(), 8ms, 50) == doctest::Approx(110));
    CHECK(limit_after(steady(), 16ms, 1) == doctest::Approx(72.5));
}

TEST_CASE("limit: it grows by half a window until answers first take longer")
{
    LimitState state = steady(20);
    state.starts = true;
    state = shm::next_limit(state, {shm::level_of(8ms), 20}, kLimitRules, kLimitStart);
    CHECK(state.limit == doctest::Approx(30));
    CHECK(state.starts);
    state = shm::next_limit(state, {shm::level_of(20ms), 30}, kLimitRules, kLimitStart);
    CHECK(state.limit == doctest::Approx(30 * 0.5 + std::sqrt(30)));
    CHECK_FALSE(state.starts);
    const double limit = state.limit;
    state = shm::next_limit(state, {shm::level_of(8ms), 20}, kLimitRules, kLimitStart);
    CHECK(state.limit == doctest::Approx(limit + std::sqrt(limit)));
}

TEST_CASE("limit: a quicker window pulls the baseline an eighth of the way, a slower one does not")
{
    const double eight = shm::level_of(8ms);
    const auto baseline_after = [](std::chrono::nanoseconds time) {
        return shm::next_limit(steady(), {shm::level_of(time), 100}, kLimitRules, kLimitStart).baseline;
    };
    CHECK(baseline_after(4ms) == doctest::Approx(eight - 0.125));
    CHECK(baseline_after(32ms) == doctest::Approx(eight));
}

TEST_CASE("limit: the baseline is measured at each full ten seconds, with half of what was used, where answers are late")
{
    // A window that began half a second before now.
    const auto after = [](const LimitState& state, std::chrono::nanoseconds time, std::uint64_t passed,
                          std::uint64_t samples = 16) {
        const LimitWindow window{shm::level_of(time), 60, samples, kLimitSecond / 2};
        return shm::next_limit(state, window, kLimitRules, kLimitStart + passed);
    };
    CHECK(after(steady(), 9'500us, 9 * kLimitSecond).phase == LimitPhase::steady);
    CHECK(after(steady(), 9'500us, 10 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::draining);
    CHECK(after(steady(), 9'500us, 11 * kLimitSecond).phase == LimitPhase::steady);
    const LimitState held = after(steady(), 9'500us, 10 * kLimitSecond + kLimitSecond / 4);
    CHECK(held.limit == doctest::Approx(110));
    CHECK(held.limit * held.held == doctest::Approx(30)); // of sixty
    CHECK(after(steady(20), 9'500us, 10 * kLimitSecond + kLimitSecond / 4).held == 0.5); // never more than half
    // Where answers take as long as that nobody waits, and nothing has to be measured; where they are much quicker it is too high.
    CHECK(after(steady(), 8'500us, 10 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::steady);
    CHECK(after(steady(), 7'500us, 10 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::steady);
    CHECK(after(steady(), 6ms, 10 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::draining);
    // The first measurement was with ten, and proves nothing of what is used.
    LimitState state = steady();
    state.is_first = true;
    CHECK(after(state, 8ms, 10 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::draining);
    // Of slow ones every twenty, forty, … seconds.
    state = steady();
    state.baseline = shm::level_of(300ms);
    CHECK(after(state, 400ms, 10 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::steady);
    CHECK(after(state, 400ms, 20 * kLimitSecond + kLimitSecond / 4).phase == LimitPhase::draining);
    CHECK(after(state, 400ms, 20 * kLimitSecond + kLimitSecond / 4).slower == 1);
    // A window that the moment cuts short judges a limit, and begins a measurement, only with eight samples.
    CHECK(after(steady(30), 80ms, 10 * kLimitSecond + kLimitSecond / 4, 8).limit < 30);
    CHECK(after(steady(30), 80ms, 10 * kLimitSecond + kLimitSecond / 4, 8).phase == LimitPhase::draining);
    CHECK(after(steady(30), 80ms, 10 * kLimitSecond + kLimitSecond / 4, 7).limit == 30);
    CHECK(after(steady(30), 80ms, 10 * kLimitSecond + kLimitSecond / 4, 7).phase == LimitPhase::steady);
}

TEST_CASE("limit: what was measured is the baseline; one that differs is followed by the next one sooner")
{
    const LimitWindow late{shm::level_of(500ms), 60, 16, kLimitSecond / 2};
    LimitState state = steady();
    state.phase = LimitPhase::draining;
    state = shm::next_limit(state, late, kLimitRules, kLimitStart); // what had piled up
    CHECK(state.phase == LimitPhase::measuring);
    CHECK(state.baseline == doctest::Approx(shm::level_of(8ms)));
    const auto measured = [&](std::chrono::nanoseconds time, std::uint64_t samples) {
        return shm::next_limit(state, {shm::level_of(time), 60, samples, kLimitSecond / 2}, kLimitRules, kLimitStart);
    };
    CHECK(measured(9ms, 16).phase == LimitPhase::steady);
    CHECK(measured(32ms, 16).phase == LimitPhase::unsure);
    CHECK(measured(32ms, 16).baseline == doctest::Approx(shm::level_of(32ms)));
    CHECK(measured(32ms, 8).baseline == doctest::Approx(shm::level_of(16ms))); // half of what is wanted counts half
    CHECK(measured(32ms, 16).limit == 100);
    const LimitWindow next{shm::level_of(100ms), 60, 16, kLimitSecond / 2};
    const std::uint64_t quarter = kLimitStart + kLimitSecond * 11 / 4;
    CHECK(shm::next_limit(measured(32ms, 16), next, kLimitRules, quarter).phase == LimitPhase::draining);
    CHECK(shm::next_limit(measured(9ms, 16), next, kLimitRules, quarter).phase == LimitPhase::steady);
}

TEST_CASE("limit: while the baseline is measured failures belong to no window; too many of them end that")
{
    for (const LimitPhase phase : {LimitPhase::draining, LimitPhase::measuring}) {
        for (const int failures : {1, 16}) {
            CAPTURE(failures);
            ServerLimit limit{};
            std::uint64_t now = kLimitStart + 5 * kLimitSecond;
            const auto add = [&](std::chrono::nanoseconds time, int samples, std::uint64_t every) {
                for (int i = 0; i < samples; ++i) {
                    shm::note_unanswered(limit, 20);
                    shm::add_limit_sample(limit, time, kLimitRules, limit_clock(now += every));
                }
            };
            add(8ms, 32, kLimitSecond / 100);
            now = kLimitStart + 10 * kLimitSecond - kLimitSecond / 10;
            add(20ms, 15, kLimitSecond / 100);
            REQUIRE(shm::read_limit(limit, kLimitRules).phase == LimitPhase::draining);
            if (phase == LimitPhase::measuring) {
                add(20ms, 21, kLimitSecond / 100);
                REQUIRE(shm::read_limit(limit, kLimitRules).phase == LimitPhase::measuring);
            }
            const double before = shm::read_limit(limit, kLimitRules).limit;
            add(16ms, 20, kLimitSecond / 1000);
            for (int i = 0; i < failures; ++i) {
                shm::add_limit_failure(limit, kLimitRules, limit_clock(now));
                shm::add_limit_abandoned(limit, 5s, kLimitRules, limit_clock(now));
            }
            CHECK(shm::read_limit(limit, kLimitRules).baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
            now += kLimitSecond / 3;
            add(16ms, 1, kLimitSecond / 1000);
            const LimitState state = shm::read_limit(limit, kLimitRules);
            if (failures == 16) {
                CHECK(state.phase == LimitPhase::steady);
                CHECK(state.baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
                CHECK(state.limit < 0.9 * before);
            } else {
                CHECK(state.phase == (phase == LimitPhase::draining ? LimitPhase::measuring : LimitPhase::unsure));
                CHECK(state.limit == before);
            }
        }
    }
}

TEST_CASE("limit: a client that leaves a late answer is a lower bound of it; one that leaves before it was due says nothing")
{
    for (const auto& [patience, is_late] : {std::pair(9ms, false), std::pair(16ms, true), std::pair(50ms, true)}) {
        CAPTURE(patience.count());
        ServerLimit limit{};
        std::uint64_t now = kLimitStart + kLimitSecond;
        for (int i = 0; i < 32; ++i) {
            shm::add_limit_sample(limit, 8ms, kLimitRules, limit_clock(now += kLimitSecond / 100));
        }
        REQUIRE(shm::current_limit(limit, kLimitRules) == 20);
        shm::LimitChange change = LimitChange::none;
        for (int i = 0; i < 16; ++i) {
            change = shm::add_limit_abandoned(limit, patience, kLimitRules, limit_clock(now += kLimitSecond / 100));
        }
        CHECK((change == LimitChange::lowered) == is_late);
    }
}

TEST_CASE("limit: a measurement that a pause interrupted is over when the next answer comes")
{
    ServerLimit limit{};
    std::uint64_t now = kLimitStart + 9 * kLimitSecond + kLimitSecond / 5;
    const auto add = [&](std::chrono::nanoseconds time, int samples) {
        for (int i = 0; i < samples; ++i) {
            shm::note_unanswered(limit, 20);
            shm::add_limit_sample(limit, time, kLimitRules, limit_clock(now += kLimitSecond / 50));
        }
    };
    add(8ms, 32);
    add(20ms, 15);
    REQUIRE(shm::read_limit(limit, kLimitRules).phase == LimitPhase::draining);
    now += 61 * kLimitSecond;
    add(8ms, 1);
    CHECK(shm::read_limit(limit, kLimitRules).phase == LimitPhase::steady);
    CHECK(shm::read_limit(limit, kLimitRules).baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
}

TEST_CASE("limit: a window has sixteen samples at least, 100 ms, and twice what an answer takes")
{
    const auto samples_until_news = [](std::chrono::nanoseconds time, std::uint64_t every) {
        ServerLimit limit{};
        for (unsigned count = 1; count < 100'000; ++count) {
            shm::add_limit_sample(limit, time, kLimitRules, limit_clock(kLimitStart + count * every));
            if (limit.state != 0) {
                return count;
            }
        }
        return 0u;
    };
    CHECK(samples_until_news(1ms, kLimitSecond / 100) == 16);
    CHECK(samples_until_news(1ms, kLimitSecond / 1000) == doctest::Approx(101).epsilon(0.02));
    CHECK(samples_until_news(100ms, kLimitSecond / 1000) == doctest::Approx(201).epsilon(0.02));
    CHECK(samples_until_news(1ms, kLimitSecond / 100'000) == doctest::Approx(10'000).epsilon(0.02)); // more than are counted
    CHECK(samples_until_news(1ms, kLimitSecond * 5) == 0);                                          // from before a pause
    CHECK(samples_until_news(5s, kLimitSecond * 5) == 16);                                          // that is how it is
}

TEST_CASE("limit: while the baseline is measured half of it holds; clear_limit begins anew")
{
    ServerLimit limit{};
    CHECK(shm::current_limit(limit, kLimitRules) == 10);
    CHECK(shm::current_limit(limit, {4, 6, 25}) == 3);
    CHECK(shm::read_limit(limit, kLimitRules).limit == 20);
    std::uint64_t now = kLimitStart;
    const auto add = [&](int windows) {
        for (int i = 0; i < 16 * windows; ++i) {
            shm::note_unanswered(limit, 20);
            shm::add_limit_sample(limit, 8ms, kLimitRules, limit_clock(now += kLimitSecond / 100));
        }
    };
    add(1);
    CHECK(shm::read_limit(limit, kLimitRules).phase == LimitPhase::measuring);
    CHECK(shm::current_limit(limit, kLimitRules) == 10);
    add(1);
    CHECK(shm::current_limit(limit, kLimitRules) == 20);
    CHECK(shm::read_limit(limit, kLimitRules).baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
    add(1);
    CHECK(shm::current_limit(limit, kLimitRules) == 30);
    CHECK(shm::current_limit(limit, {4, 25, 25}) == 25); // a max_conn that came later
    shm::clear_limit(limit);
    CHECK(shm::current_limit(limit, kLimitRules) == 10);
    CHECK(shm::read_limit(limit, kLimitRules).baseline == 0);
}

TEST_CASE("limit: failures count as slow answers once it is known how long answers take")
{
    ServerLimit limit{};
    std::uint64_t now = kLimitStart;
    for (int i = 0; i < 100; ++i) {
        CHECK(shm::add_limit_failure(limit, kLimitRules, limit_clock(now += kLimitSecond / 100)) == LimitChange::none);
    }
    CHECK(limit.window == 0);
    for (int i = 0; i < 32; ++i) {
        shm::add_limit_sample(limit, 8ms, kLimitRules, limit_clock(now += kLimitSecond / 100));
    }
    LimitChange change = LimitChange::none;
    for (int i = 0; i < 16; ++i) {
        change = shm::add_limit_failure(limit, kLimitRules, limit_clock(now += kLimitSecond / 100));
    }
    CHECK(change == LimitChange::lowered);
    CHECK(shm::read_limit(limit, kLimitRules).limit == doctest::Approx(20 * 0.5 + std::sqrt(20)).epsilon(0.01));
}

TEST_CASE("limit: of threads that add samples at once each window is one's alone, and none is lost")
{
    ServerLimit limit{};
    std::atomic<std::uint64_t> clock{kLimitStart}; // common, so that none is late or early by more than its turn
    std::atomic<unsigned> changes{0};
    std::vector<std::thread> threads;
    for (int worker = 0; worker < 4; ++worker) {
        threads.emplace_back([&] {
            for (int i = 0; i < 20'000; ++i) {
                const std::uint64_t now = clock.fetch_add(100'000) + 100'000;
                shm::note_unanswered(limit, 1'000'000);
                const LimitChange change = shm::add_limit_sample(limit, 8ms, {4, 1'000'000, 25}, limit_clock(now));
                changes += change == LimitChange::none ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    // 8 s are eighty windows at most. All but the first one change something, until the limit is the greatest.
    const LimitState state = shm::read_limit(limit, {4, 1'000'000, 25});
    CHECK(changes <= 80);
    CHECK(changes >= 20);
    CHECK(state.limit == doctest::Approx(std::min(1e6, 20 * std::pow(1.5, changes.load() - 1))).epsilon(0.01));
    CHECK(state.baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
}

TEST_CASE("limit: a worker that dies between a window's end and the next limit costs that window alone")
{
    ServerLimit limit{};
    std::uint64_t now = kLimitStart;
    const auto add = [&](int samples) {
        for (int i = 0; i < samples; ++i) {
            shm::note_unanswered(limit, 20);
            shm::add_limit_sample(limit, 8ms, kLimitRules, limit_clock(now += kLimitSecond / 100));
        }
    };
    add(32);
    REQUIRE(shm::current_limit(limit, kLimitRules) == 20);
    add(15);
    limit.window = 0; // taken, and nothing came of it
    add(15);
    CHECK(shm::current_limit(limit, kLimitRules) == 20);
    add(1);
    CHECK(shm::current_limit(limit, kLimitRules) == 30);
}
