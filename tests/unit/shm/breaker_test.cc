// SPDX-License-Identifier: Apache-2.0
#include "common/shm/arena.h"
#include "common/shm/breaker.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

using namespace ladle;
using namespace std::chrono_literals;
using shm::Admission;
using shm::BreakerChange;
using shm::BreakerPhase;

namespace {

constexpr shm::BreakerRules kBreakerRules{50, 20, 8s, 10s, 60s, 3};
constexpr std::uint64_t kBreakerSecond = 1'000'000'000;
constexpr auto kFails = shm::ServerFailure::timeout;

/// A breaker, as worker 5 sees it.
struct BreakerBench {
    Admission admit(std::uint32_t row = 5) { return shm::admit(breaker, rules, row, now); }
    BreakerChange end(const Admission& admission, std::optional<shm::ServerFailure> failure = std::nullopt)
    {
        return shm::settle_admission(breaker, admission, failure, rules, now);
    }
    /// So many requests, some of which fail; how often it opened.
    int ask(int good, int bad)
    {
        int opened = 0;
        for (int i = 0; i < good + bad; ++i) {
            const Admission admission = admit();
            REQUIRE(admission.kind == Admission::Kind::passes);
            opened += end(admission, i < good ? std::nullopt : std::optional(kFails)) == BreakerChange::opened ? 1 : 0;
        }
        return opened;
    }
    bool is_refused() { return admit().kind == Admission::Kind::refused; }
    std::chrono::seconds shut() { return std::chrono::round<std::chrono::seconds>(shm::time_shut(breaker, rules, now)); }
    BreakerPhase phase() { return shm::read_breaker(breaker, now).phase; }
    void open()
    {
        REQUIRE(ask(0, 20) == 1);
        REQUIRE(phase() == BreakerPhase::open);
    }
    void half_open(std::uint64_t after_s = 11)
    {
        open();
        now += after_s * kBreakerSecond;
    }

    shm::Breaker breaker{};
    shm::BreakerRules rules = kBreakerRules;
    std::uint64_t now = 70'000'000'000'000;
};

} // namespace

TEST_CASE("breaker: trials that were enough for a reload with fewer close it, and it is long open only where it says so")
{
    BreakerBench bench;
    bench.half_open();
    CHECK(bench.end(bench.admit()) == BreakerChange::none);
    CHECK(bench.end(bench.admit()) == BreakerChange::none);
    bench.rules.trials = 2;
    const Admission next = bench.admit();
    CHECK(next.kind == Admission::Kind::passes);
    CHECK(next.has_closed);
    CHECK(bench.phase() == BreakerPhase::closed);
    CHECK_FALSE(bench.admit().has_closed);
    bench.open();
    bench.now += 120ull * 86'400 * kBreakerSecond; // nobody has asked for so long
    CHECK(bench.admit().kind == Admission::Kind::trial);
}

TEST_CASE("breaker: a trial that hangs gives way also where it is open for an hour at a time")
{
    BreakerBench bench;
    bench.rules.time = bench.rules.longest = 1h;
    bench.half_open(3601);
    for (int i = 0; i < 3; ++i) {
        REQUIRE(bench.admit().kind == Admission::Kind::trial);
    }
    CHECK(bench.is_refused());
    bench.now += 301 * kBreakerSecond;
    CHECK(bench.admit().kind == Admission::Kind::trial);
}

TEST_CASE("breaker: it opens at the rate, with as many requests as it takes, and not before")
{
    BreakerBench bench;
    CHECK(bench.ask(0, 19) == 0);
    CHECK(bench.ask(0, 1) == 1);
    CHECK(bench.is_refused());
    BreakerBench rate;
    CHECK(rate.ask(11, 10) == 0);
    CHECK(rate.ask(0, 1) == 1); // 11 of 22
    BreakerBench good;
    CHECK(good.ask(1000, 900) == 0);
    BreakerBench late;
    CHECK(late.ask(10, 9) == 0);
    CHECK(late.ask(0, 1) == 1); // the twentieth is enough of both
}

TEST_CASE("breaker: what was longer ago than the window does not count")
{
    BreakerBench bench;
    CHECK(bench.ask(0, 19) == 0);
    bench.now += 9 * kBreakerSecond;
    CHECK(bench.ask(0, 19) == 0);
    bench.now += 6 * kBreakerSecond;
    CHECK(bench.ask(0, 1) == 1); // twenty in seven seconds
}

TEST_CASE("breaker: open it lets nothing through; then as many trials as it has, of all workers")
{
    BreakerBench bench;
    bench.rules.within = 60s;
    bench.open();
    CHECK(bench.shut() == 10s);
    bench.now += 9 * kBreakerSecond;
    CHECK(bench.is_refused());
    CHECK(bench.shut() == 1s);
    bench.now += 2 * kBreakerSecond;
    CHECK(bench.shut() == 0s);
    const Admission first = bench.admit(5);
    const Admission second = bench.admit(6);
    const Admission third = bench.admit(7);
    CHECK(first.kind == Admission::Kind::trial);
    CHECK(second.kind == Admission::Kind::trial);
    CHECK(third.kind == Admission::Kind::trial);
    CHECK(bench.phase() == BreakerPhase::half_open);
    CHECK(bench.is_refused());
    CHECK(bench.end(first) == BreakerChange::none);
    CHECK(bench.is_refused()); // three in all, not three at once
    CHECK(bench.end(second) == BreakerChange::none);
    CHECK(shm::read_breaker(bench.breaker, bench.now).good == 2);
    CHECK(bench.end(third) == BreakerChange::closed);
    CHECK(bench.ask(10, 9) == 0); // what had failed before is forgotten
    CHECK(bench.ask(0, 1) == 1);
}

TEST_CASE("breaker: a trial that fails opens it for twice as long, up to the longest; once for all workers")
{
    BreakerBench bench;
    bench.open();
    const std::uint64_t times[] = {10, 20, 40, 60, 60};
    for (const std::uint64_t seconds : times) {
        CHECK(bench.shut() == std::chrono::seconds(seconds));
        bench.now += seconds * kBreakerSecond;
        const Admission first = bench.admit(1);
        const Admission second = bench.admit(2);
        REQUIRE(second.kind == Admission::Kind::trial);
        CHECK(bench.end(first, kFails) == BreakerChange::opened);
        CHECK(bench.end(second, kFails) == BreakerChange::none);
        CHECK(bench.phase() == BreakerPhase::open);
        const shm::BreakerReading reading = shm::read_breaker(bench.breaker, bench.now);
        CHECK(reading.was_trial);
        CHECK(reading.last == kFails);
    }
}

TEST_CASE("breaker: it is open for longer when it opens soon after it closed, and as at first when that was long ago")
{
    for (const bool is_soon : {true, false}) {
        BreakerBench bench;
        bench.rules.trials = 1;
        bench.half_open();
        REQUIRE(bench.end(bench.admit()) == BreakerChange::closed);
        bench.now += (is_soon ? 5 : 15) * kBreakerSecond;
        bench.open();
        CHECK(bench.shut() == (is_soon ? 20s : 10s));
    }
}

TEST_CASE("breaker: why it opened is kept")
{
    BreakerBench bench;
    CHECK(bench.ask(10, 10) == 1);
    const shm::BreakerReading reading = shm::read_breaker(bench.breaker, bench.now + 3 * kBreakerSecond);
    CHECK(reading.phase == BreakerPhase::open);
    CHECK(std::chrono::round<std::chrono::seconds>(std::chrono::nanoseconds(reading.age_ns)) == 3s);
    CHECK(reading.requests == 20);
    CHECK(reading.failures == 10);
    CHECK(reading.last == kFails);
    CHECK_FALSE(reading.was_trial);
}

TEST_CASE("breaker: how a request ends counts in its own round alone")
{
    BreakerBench bench;
    const Admission early = bench.admit();
    bench.half_open();
    const Admission trial = bench.admit();
    CHECK(bench.end(early) == BreakerChange::none); // neither as a trial
    CHECK(shm::read_breaker(bench.breaker, bench.now).good == 0);
    CHECK(bench.end(trial, kFails) == BreakerChange::opened);
    CHECK(bench.end(early, kFails) == BreakerChange::none);
    bench.now += 21 * kBreakerSecond;
    const Admission second = bench.admit();
    REQUIRE(second.kind == Admission::Kind::trial);
    CHECK(bench.end(trial) == BreakerChange::none); // said twice, and of another round
    CHECK(shm::read_breaker(bench.breaker, bench.now).good == 0);
    CHECK(bench.end(Admission{Admission::Kind::refused}, kFails) == BreakerChange::none);
}

TEST_CASE("breaker: a trial that tells nothing gives its place back")
{
    BreakerBench bench;
    bench.half_open();
    const Admission trials[] = {bench.admit(), bench.admit(), bench.admit()};
    CHECK(bench.is_refused());
    shm::give_back(bench.breaker, trials[1]);
    const Admission again = bench.admit(6);
    CHECK(again.kind == Admission::Kind::trial);
    shm::give_back(bench.breaker, trials[1]); // not its own any more
    CHECK(bench.is_refused());
}

TEST_CASE("breaker: the trials of a dead process are given back, wherever it died")
{
    auto arena = std::move(*shm::Arena::make());
    shm::Regions& regions = arena.regions();
    BreakerBench bench;
    bench.half_open();
    shm::Breaker& breaker = regions.servers.entries[3].breaker;
    breaker.state = bench.breaker.state.load();
    const auto admit = [&](std::uint32_t row) { return shm::admit(breaker, bench.rules, row, bench.now); };
    const Admission dead[] = {admit(5), admit(5)};
    const Admission living = admit(6);
    REQUIRE(living.kind == Admission::Kind::trial);
    REQUIRE(admit(6).kind == Admission::Kind::refused);
    // It died when the first one was counted, but not marked.
    CHECK(shm::settle_admission(breaker, dead[0], std::nullopt, bench.rules, bench.now) == BreakerChange::none);
    breaker.trials[dead[0].trial] = dead[0].word;
    regions.rows[5].pid = 1;
    shm::retire_row(regions, 5);
    const Admission next = admit(7);
    CHECK(next.kind == Admission::Kind::trial);
    CHECK(shm::settle_admission(breaker, living, std::nullopt, bench.rules, bench.now) == BreakerChange::none);
    CHECK(shm::settle_admission(breaker, next, std::nullopt, bench.rules, bench.now) == BreakerChange::closed);
}

TEST_CASE("breaker: trials that do not end do not keep it half open")
{
    BreakerBench bench;
    bench.half_open();
    const Admission hung[] = {bench.admit(), bench.admit(), bench.admit()};
    bench.now += 9 * kBreakerSecond;
    CHECK(bench.is_refused());
    bench.now += 2 * kBreakerSecond;
    const Admission trials[] = {bench.admit(6), bench.admit(6), bench.admit(6)};
    for (const Admission& trial : trials) {
        CHECK(trial.kind == Admission::Kind::trial);
    }
    CHECK(bench.is_refused());
    CHECK(bench.end(trials[0]) == BreakerChange::none);
    CHECK(bench.end(hung[0], kFails) == BreakerChange::opened); // its end, when it comes, is one
    CHECK(bench.end(trials[1]) == BreakerChange::none);
}

TEST_CASE("breaker: an order closes it whatever it does, and what it was open for is forgotten; trials under way count no more")
{
    BreakerBench bench;
    CHECK_FALSE(shm::close_breaker(bench.breaker, bench.now));
    bench.open();
    CHECK(shm::close_breaker(bench.breaker, bench.now));
    CHECK(bench.phase() == BreakerPhase::closed);
    CHECK(shm::read_breaker(bench.breaker, bench.now).openings == 0);
    CHECK(bench.ask(0, 19) == 0); // the twenty before are gone
    CHECK(bench.ask(0, 1) == 1);
    CHECK(bench.shut() == 10s); // as at the first time
    bench.now += 11 * kBreakerSecond;
    const Admission trial = bench.admit();
    REQUIRE(trial.kind == Admission::Kind::trial);
    CHECK(shm::close_breaker(bench.breaker, bench.now));
    CHECK(bench.end(trial, kFails) == BreakerChange::none);
    CHECK(bench.phase() == BreakerPhase::closed);
}

TEST_CASE("breaker: clear_breaker closes it")
{
    BreakerBench bench;
    bench.half_open();
    bench.admit();
    shm::clear_breaker(bench.breaker);
    CHECK(bench.phase() == BreakerPhase::closed);
    CHECK(bench.ask(0, 19) == 0);
    CHECK(shm::read_breaker(bench.breaker, bench.now).openings == 0);
}

TEST_CASE("breaker: threads that fail at once open it once, and those that try at once have as many trials as it has")
{
    for (int round = 0; round < 20; ++round) {
        BreakerBench bench;
        std::atomic<int> opened = 0;
        std::atomic<int> closed = 0;
        std::atomic<int> trials = 0;
        const auto run = [&bench](auto work) {
            std::vector<std::thread> threads;
            for (std::uint32_t row = 0; row < 4; ++row) {
                threads.emplace_back(work, row);
            }
            for (std::thread& thread : threads) {
                thread.join();
            }
        };
        run([&](std::uint32_t row) {
            for (int i = 0; i < 50; ++i) {
                const Admission admission = shm::admit(bench.breaker, bench.rules, row, bench.now);
                opened += shm::settle_admission(bench.breaker, admission, kFails, bench.rules, bench.now) == BreakerChange::opened;
            }
        });
        CHECK(opened == 1);
        bench.now += 11 * kBreakerSecond;
        run([&](std::uint32_t row) {
            for (int i = 0; i < 50; ++i) {
                const Admission admission = shm::admit(bench.breaker, bench.rules, row, bench.now);
                if (admission.kind == Admission::Kind::trial) {
                    ++trials;
                    const auto change = shm::settle_admission(bench.breaker, admission, std::nullopt, bench.rules, bench.now);
                    closed += change == BreakerChange::closed;
                }
            }
        });
        CHECK(trials == 3);
        CHECK(closed == 1);
        CHECK(bench.phase() == BreakerPhase::closed);
    }
}
