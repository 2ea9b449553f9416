// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_pace.h"

#include <doctest/doctest.h>

#include <memory>
#include <thread>
#include <vector>

using namespace ladle;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kPaceSecond = 1'000'000'000;

struct Paced {
    std::unique_ptr<shm::ServerHealth> health = std::make_unique<shm::ServerHealth>();
    std::uint64_t now = 5'000 * kPaceSecond;

    void answer(std::chrono::nanoseconds time, int times = 1, std::uint64_t apart = 1'000'000)
    {
        for (int i = 0; i < times; ++i) {
            now += apart;
            shm::add_pace(*health, time, now);
        }
    }
    void fail(int times, std::uint64_t apart = 1'000'000)
    {
        for (int i = 0; i < times; ++i) {
            now += apart;
            shm::add_failed_pace(*health, now);
        }
    }
    double typical_ms() const { return static_cast<double>(shm::time_of(shm::typical_pace(*health, now))) / 1e6; }
    double peak_ms() const { return static_cast<double>(shm::time_of(shm::peak_pace(*health, now))) / 1e6; }
};

} // namespace

TEST_CASE("pace: nothing is known at first, then what the answers took")
{
    Paced server;
    CHECK(server.typical_ms() == 0);
    CHECK(server.peak_ms() == 0);
    server.answer(20ms);
    CHECK(server.typical_ms() == 0); // one is no evidence
    server.answer(20ms, 7);
    CHECK(server.typical_ms() == doctest::Approx(20).epsilon(0.01));
    CHECK(server.peak_ms() == doctest::Approx(20).epsilon(0.01));
    server.answer(200ms, 600);
    CHECK(server.typical_ms() == doctest::Approx(200).epsilon(0.05));
}

TEST_CASE("pace: one slow request hardly moves what is typical, and is the peak, which sinks in ten seconds or so")
{
    Paced server;
    server.answer(5ms, 400);
    server.answer(10s);
    CHECK(server.typical_ms() < 6.5);
    CHECK(server.peak_ms() == doctest::Approx(10'000).epsilon(0.01));
    server.answer(5ms, 10'000);
    CHECK(server.peak_ms() < 500);
    server.answer(5ms, 60'000);
    CHECK(server.peak_ms() < 6);
}

TEST_CASE("pace: a slow first answer is soon one of many")
{
    Paced server;
    server.answer(100ms);
    server.answer(4ms, 7);
    CHECK(server.typical_ms() < 8);
    CHECK(server.typical_ms() > 4);
}

TEST_CASE("pace: few answers count by the time between them")
{
    Paced server;
    server.answer(5ms, 40, kPaceSecond);
    CHECK(server.typical_ms() > 4.5);
    server.answer(80ms, 20, 4 * kPaceSecond);
    CHECK(server.typical_ms() > 70);
}

TEST_CASE("pace: what nobody asks becomes quicker in our eyes, after five seconds, by half in five more")
{
    Paced server;
    server.answer(64ms, 600);
    const double before = server.typical_ms();
    server.now += 5 * kPaceSecond - 1'000'000;
    CHECK(server.typical_ms() == doctest::Approx(before).epsilon(0.01));
    server.now += 10 * kPaceSecond;
    CHECK(server.typical_ms() == doctest::Approx(before / 4).epsilon(0.05));
    CHECK(server.peak_ms() == doctest::Approx(16).epsilon(0.05));
    server.now += 3'000'000 * kPaceSecond;
    CHECK(server.typical_ms() < 0.001);
    CHECK(server.typical_ms() > 0); // it is still known
}

TEST_CASE("pace: failures make a server slow in our eyes, one alone does not, and a second at most is soon forgotten")
{
    Paced quick;
    quick.answer(4ms, 400);
    quick.fail(1, 2 * kPaceSecond);
    CHECK(quick.typical_ms() < 8);
    quick.answer(4ms, 100);
    quick.fail(100);
    CHECK(quick.typical_ms() > 100);
    CHECK(quick.peak_ms() > 100);
    quick.fail(10'000);
    CHECK(quick.typical_ms() == doctest::Approx(1000).epsilon(0.02));
    quick.answer(4ms, 500);
    CHECK(quick.typical_ms() < 5);

    Paced slow;
    slow.answer(3s, 600);
    slow.fail(100);
    CHECK(slow.typical_ms() == doctest::Approx(3000).epsilon(0.02)); // nor do they make it quicker
    Paced untried;
    untried.fail(200);
    CHECK(untried.typical_ms() > 500);
    CHECK(untried.peak_ms() > 500);
}

TEST_CASE("pace: many workers write at once, and a clock that was read earlier does no harm")
{
    Paced server;
    std::vector<std::thread> workers;
    for (int i = 0; i < 4; ++i) {
        workers.emplace_back([&server, i] {
            for (std::uint64_t turn = 0; turn < 20'000; ++turn) {
                shm::add_pace(*server.health, 10ms, server.now + turn * 100'000 - static_cast<std::uint64_t>(i) * 3'000'000);
            }
        });
    }
    for (std::thread& worker : workers) {
        worker.join();
    }
    server.now += 2 * kPaceSecond;
    CHECK(server.typical_ms() == doctest::Approx(10).epsilon(0.02));
    CHECK(server.peak_ms() == doctest::Approx(10).epsilon(0.02));
}
