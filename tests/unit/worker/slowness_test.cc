// SPDX-License-Identifier: Apache-2.0
//
// Ejection of servers that are slow beside the others.
#include "tests/unit/worker/upstream_bench.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;
using namespace std::chrono_literals;

namespace {

/// Servers that answer in these times, each once in a 32nd of the window, to two workers in turn.
struct SlowBench : Bench {
    explicit SlowBench(std::size_t count) : Bench(config::Balance::round_robin, std::vector<std::uint32_t>(count, 1))
    {
        settings.eject.slow = 5;
    }

    bool answer(std::uint32_t member, std::chrono::nanoseconds time)
    {
        turn = !turn;
        return (turn ? *upstream : *other).report_success(member, static_cast<loop::Nanos>(time.count()), now);
    }

    /// The members that are ejected, in order, in so many rounds; "ab".
    std::string rounds(unsigned many, const std::vector<std::chrono::nanoseconds>& times)
    {
        std::string out;
        for (unsigned i = 0; i < many; ++i) {
            for (std::uint32_t member = 0; member < times.size(); ++member) {
                if (times[member] != 0ns && health(member).out_until_ns <= now && answer(member, times[member])) {
                    out += static_cast<char>('a' + member);
                }
            }
            now += static_cast<loop::Nanos>(std::chrono::nanoseconds(settings.eject.within).count() / 32);
        }
        return out;
    }

    bool turn = false;
};

} // namespace

TEST_CASE("a server that takes many times longer than the others is ejected, after enough answers and not before")
{
    SlowBench bench(3);
    CHECK(bench.rounds(19, {812ms, 40ms, 45ms}) == "");
    CHECK(bench.rounds(2, {812ms, 40ms, 45ms}) == "a");
    CHECK(bench.choices(4).find('a') == std::string::npos);
    CHECK(bench.health(0).out_for == shm::kOutForSlowness);
    CHECK(bench.health(0).out_until_ns > bench.now + 29'000'000'000);
    CHECK(shm::describe_slowness(bench.health(0).slowness).starts_with("slow: 8"));
    CHECK(bench.row.value(shm::Metric::server_ejections_slow) + bench.other_row.value(shm::Metric::server_ejections_slow) == 1);
    CHECK(bench.row.value(shm::Metric::server_ejections) + bench.other_row.value(shm::Metric::server_ejections) == 1);
}

TEST_CASE("of two servers the one is compared with the other")
{
    CHECK(SlowBench(2).rounds(40, {40ms, 400ms}) == "b");
}

TEST_CASE("nobody is ejected who is not slow: by factor, by floor, alone, without enough to compare with, or with slow = 0")
{
    CHECK(SlowBench(3).rounds(200, {150ms, 40ms, 40ms}) == "");
    CHECK(SlowBench(3).rounds(200, {90ms, 1ms, 1ms}) == "");
    CHECK(SlowBench(3).rounds(200, {900ms, 900ms, 900ms}) == "");
    CHECK(SlowBench(1).rounds(200, {900ms}) == "");
    CHECK(SlowBench(3).rounds(200, {900ms, 0ms, 0ms}) == "");
    SlowBench off(3);
    off.settings.eject.slow = 0;
    CHECK(off.rounds(200, {900ms, 10ms, 10ms}) == "");
    CHECK(off.health(0).times == 0);
    SlowBench low(3);
    low.settings.eject.slow_least = 10ms;
    CHECK(low.rounds(30, {90ms, 1ms, 1ms}) == "a");
}

TEST_CASE("one slow answer, and a burst of them, ejects nobody")
{
    SlowBench bench(2);
    CHECK(bench.rounds(30, {5ms, 5ms}) == "");
    for (int i = 0; i < 1000; ++i) {
        CHECK_FALSE(bench.answer(0, 20s)); // after a pause, all in one instant
    }
    CHECK(bench.rounds(100, {5ms, 5ms}) == "");
}

TEST_CASE("the same caps as for failures: a part of the servers, never the last one, and longer each time")
{
    SlowBench bench(4);
    CHECK(bench.rounds(30, {900ms, 10ms, 10ms, 900ms}) == "da"); // d answers when all others have
    SlowBench five(5);
    CHECK(five.rounds(30, {900ms, 10ms, 800ms, 10ms, 10ms}) == "ac");
    SlowBench capped(5);
    capped.settings.eject.share = 20;
    CHECK(capped.rounds(100, {900ms, 10ms, 800ms, 10ms, 10ms}) == "a");
    SlowBench last(2);
    last.settings.eject.share = 100;
    CHECK(last.rounds(40, {900ms, 10ms}) == "a");
    CHECK(last.rounds(40, {0ms, 900ms}) == "");

    SlowBench again(2);
    for (unsigned times = 1; times <= 3; ++times) {
        CHECK(again.rounds(35, {900ms, 10ms}).starts_with("a"));
        const loop::Nanos since = again.health(0).out_since_ns;
        CHECK(again.health(0).out_until_ns - since == loop::Nanos{times} * 30'000'000'000);
        again.now = again.health(0).out_until_ns;
        again.answer(1, 10ms);
        again.answer(0, 10ms); // the trial goes well
    }
}

TEST_CASE("a server that was slow comes back on trial: one quick answer ends it, three slow ones in a row put it out again")
{
    SlowBench bench(2);
    REQUIRE(bench.rounds(31, {900ms, 10ms}) == "a");
    const auto end_rest = [&] {
        while (bench.health(0).out_until_ns > bench.now) {
            bench.rounds(1, {0ms, 10ms});
        }
    };
    end_rest();
    CHECK_FALSE(bench.answer(0, 900ms));
    bench.other->begin_request(0);
    CHECK(bench.choices(4) == "bbbb"); // still on trial
    bench.other->end_request(0);
    CHECK_FALSE(bench.answer(0, 900ms));
    CHECK(bench.answer(0, 900ms));
    CHECK(bench.health(0).out_until_ns == bench.now + 60'000'000'000);
    end_rest();
    CHECK_FALSE(bench.answer(0, 900ms)); // a request of a slow kind
    CHECK_FALSE(bench.answer(0, 12ms));
    bench.other->begin_request(0);
    CHECK(bench.choices(4).find('a') != std::string::npos);
    for (int i = 0; i < 10; ++i) {
        CHECK_FALSE(bench.answer(0, 900ms)); // the trial is over: it takes a window again
    }
}

TEST_CASE("slow servers are ejected with eject.failures = 0 as well, which leaves no trial behind for others")
{
    SlowBench bench(2);
    bench.settings.eject.failures = 0;
    CHECK(bench.rounds(31, {900ms, 10ms}) == "a");
    bench.now = bench.health(0).out_until_ns;
    bench.other->begin_request(0);
    CHECK(bench.choices(4) == "bbbb");
    bench.answer(0, 10ms);
    CHECK(bench.choices(4).find('a') != std::string::npos);
}

TEST_CASE("failures are no answers: a server that fails at once makes no other one slow, and what is silent is none")
{
    SlowBench bench(3);
    for (unsigned i = 0; i < 40; ++i) {
        CHECK_FALSE(bench.answer(0, 500ms));
        CHECK_FALSE(bench.answer(1, 450ms));
        bench.upstream->report_error(2, 1'000'000, bench.now);
        bench.now += 300'000'000;
    }
    CHECK(bench.health(2).times == 0);
}
