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
        Upstream& worker = turn ? *upstream : *other;
        const bool is_ejected = worker.report_speed(member, static_cast<loop::Nanos>(time.count()), now);
        worker.report_success(member, static_cast<loop::Nanos>(time.count()), now);
        return is_ejected;
    }

    /// One that was sent now.
    bool answer_later(std::uint32_t member, std::chrono::nanoseconds time)
    {
        now += static_cast<loop::Nanos>(time.count());
        return answer(member, time);
    }

    void abandon(std::uint32_t member, std::chrono::nanoseconds time)
    {
        turn = !turn;
        (turn ? *upstream : *other).report_abandoned(member, static_cast<loop::Nanos>(time.count()), now);
    }

    /// Until the first one is back from an ejection; the second one answers in the meantime.
    void end_rest(std::chrono::nanoseconds time = 10ms)
    {
        while (health(0).out_until_ns > now) {
            rounds(1, {0ms, time});
        }
    }

    bool is_shared(std::uint32_t member) // among the workers' requests, though it has one under way
    {
        other->begin_request(member);
        const bool is_chosen = choices(8).find(static_cast<char>('a' + member)) != std::string::npos;
        other->end_request(member);
        return is_chosen;
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

    std::uint32_t count(std::uint32_t member)
    {
        return shm::pool(shm::read_times(health(member).times, settings.eject.within, now)).count;
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
    CHECK(off.count(0) == 0);
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
    SlowBench again(2);
    for (unsigned times = 1; times <= 3; ++times) {
        CHECK(again.rounds(60, {900ms, 10ms}).starts_with("a"));
        const loop::Nanos since = again.health(0).out_since_ns;
        CHECK(again.health(0).out_until_ns - since == loop::Nanos{times} * 30'000'000'000);
        again.now = again.health(0).out_until_ns;
        again.answer_later(1, 10ms);
        again.answer_later(0, 10ms); // the trial goes well
    }
}

TEST_CASE("the last one in order is not ejected, however slow it is beside one that went out")
{
    for (const bool is_other_in_order : {true, false}) {
        SlowBench bench(2);
        bench.settings.eject.share = 100;
        REQUIRE(bench.rounds(20, {900ms, 10ms}) == "");
        bench.health(1).order = is_other_in_order ? shm::ServerOrder::none : shm::ServerOrder::down;
        CHECK(bench.answer(0, 900ms) == is_other_in_order);
    }
}

TEST_CASE("a server that was slow comes back on trial: one quick answer ends it, three slow ones in a row put it out again")
{
    SlowBench bench(2);
    REQUIRE(bench.rounds(31, {900ms, 10ms}) == "a");
    bench.end_rest();
    CHECK_FALSE(bench.answer_later(0, 900ms));
    CHECK_FALSE(bench.is_shared(0));
    CHECK_FALSE(bench.answer_later(0, 900ms));
    CHECK(bench.answer_later(0, 900ms));
    CHECK(bench.health(0).out_until_ns == bench.now + 60'000'000'000);
    bench.end_rest();
    CHECK_FALSE(bench.answer_later(0, 900ms)); // a request of a slow kind
    CHECK_FALSE(bench.answer_later(0, 12ms));
    CHECK(bench.is_shared(0));
    for (int i = 0; i < 10; ++i) {
        CHECK_FALSE(bench.answer_later(0, 900ms)); // the trial is over: it takes a window again
    }
}

TEST_CASE("the slower a server, the longer its trial: three answers put it out again whatever time they take")
{
    SlowBench bench(2);
    REQUIRE(bench.rounds(31, {6s, 10ms}) == "a");
    bench.end_rest();
    for (const bool is_last : {false, false, true}) {
        CHECK(bench.is_shared(0) == false);
        bench.rounds(20, {0ms, 10ms});
        CHECK(bench.answer(0, 6s) == is_last);
    }
    CHECK(bench.health(0).out_until_ns == bench.now + 60'000'000'000);

    SlowBench busy(2); // a tunnel keeps it from being asked; then it gets its share, but the trial is not over
    REQUIRE(busy.rounds(31, {900ms, 10ms}) == "a");
    busy.end_rest();
    busy.rounds(17, {0ms, 10ms});
    CHECK(busy.is_shared(0));
    CHECK_FALSE(busy.answer_later(0, 900ms));
    CHECK_FALSE(busy.answer_later(0, 900ms));
    CHECK(busy.answer_later(0, 900ms));
}

TEST_CASE("what was sent before the ejection was over is no trial, neither slow nor quick, and an error ends none")
{
    SlowBench bench(2);
    REQUIRE(bench.rounds(31, {900ms, 10ms}) == "a");
    bench.end_rest();
    for (int i = 0; i < 3; ++i) {
        CHECK_FALSE(bench.answer(0, 40s));
    }
    bench.now += 50'000'000;
    CHECK_FALSE(bench.answer(0, 60ms + 10s));
    bench.upstream->report_error(0, 1'000'000, bench.now);
    CHECK_FALSE(bench.is_shared(0));
    CHECK_FALSE(bench.answer_later(0, 900ms));
    CHECK_FALSE(bench.answer_later(0, 900ms));
    CHECK(bench.answer_later(0, 900ms));
}

TEST_CASE("a failure on trial for slowness puts the server out again")
{
    SlowBench bench(2);
    REQUIRE(bench.rounds(31, {900ms, 10ms}) == "a");
    bench.end_rest();
    CHECK(bench.upstream->report_failure(0, shm::ServerFailure::timeout, bench.now));
}

TEST_CASE("on trial an answer of a kind that is slow on all servers says nothing; what is beyond that does")
{
    SlowBench bench(2);
    const auto mixed = [&](unsigned many) {
        for (unsigned i = 0; i < many; ++i) {
            bench.rounds(1, {0ms, i % 2 == 0 ? 5s : 5ms});
        }
    };
    REQUIRE(bench.rounds(31, {900ms, 10ms}) == "a");
    while (bench.health(0).out_until_ns > bench.now) {
        mixed(2);
    }
    for (int i = 0; i < 4; ++i) {
        mixed(17);
        CHECK_FALSE(bench.answer(0, 5s));
    }
    CHECK(bench.health(0).slow_trials == 1);
    CHECK_FALSE(bench.answer_later(0, 5ms));
    CHECK(bench.health(0).slow_trials == 0);
}

TEST_CASE("all become slow at once: a server that has answered nothing before is no slower than the others")
{
    SlowBench bench(3);
    CHECK(bench.rounds(64, {0ms, 40ms, 40ms}) == "");
    CHECK(bench.rounds(32, {800ms, 800ms, 800ms}) == "");
    CHECK(bench.rounds(64, {40ms, 40ms, 40ms}) == "");
    CHECK(bench.rounds(60, {8s, 800ms, 800ms}) == "a");
}

TEST_CASE("a server that warms up is not judged: back from checks, reached again, or new; nor by what it did before that")
{
    SlowBench slow_process(2);
    CHECK(slow_process.rounds(19, {900ms, 40ms}) == "");
    slow_process.health(0).back_ns = slow_process.now;
    CHECK(slow_process.rounds(100, {60ms, 40ms}) == "");

    for (const auto since : {&shm::ServerHealth::back_ns, &shm::ServerHealth::known_ns}) {
        SlowBench cold(2);
        CHECK(cold.rounds(32, {0ms, 40ms}) == "");
        (cold.health(0).*since) = cold.now;
        CHECK(cold.rounds(31, {900ms, 40ms}) == "");
        CHECK(cold.rounds(64, {60ms, 40ms}) == "");
        CHECK(cold.rounds(60, {900ms, 40ms}) == "a");
        cold.end_rest(40ms);
        CHECK_FALSE(cold.answer_later(0, 60ms));
        CHECK(cold.rounds(31, {900ms, 40ms}) == ""); // an ejection is a time away, too
        CHECK(cold.rounds(60, {900ms, 40ms}) == "a");
    }
    SlowBench starting(2);
    starting.settings.slow_start = 60s;
    starting.health(0).back_ns = starting.now;
    CHECK(starting.rounds(190, {900ms, 40ms}) == "");
    CHECK(starting.rounds(60, {900ms, 40ms}) == "a");

    SlowBench reached(2);
    reached.upstream->report_connected(0);
    CHECK(reached.health(0).known_ns == 0);
    reached.upstream->report_failure(0, shm::ServerFailure::connect, reached.now);
    reached.upstream->report_connected(0);
    CHECK(reached.health(0).known_ns != 0);
}

TEST_CASE("a server whose clients leave before it answers is slow by as long as they waited; one that had little time is not")
{
    SlowBench bench(3);
    bench.rounds(32, {0ms, 40ms, 40ms});
    for (unsigned i = 0; i < 32 && bench.health(0).out_until_ns == 0; ++i) {
        bench.abandon(0, 2s);
        bench.rounds(1, {0ms, 40ms, 40ms});
    }
    CHECK(bench.health(0).out_until_ns > bench.now);
    CHECK(bench.health(0).out_for == shm::kOutForSlowness);
    CHECK(shm::unpack_slowness(bench.health(0).slowness).own > 1900ms);
    while (bench.health(0).out_until_ns > bench.now) {
        bench.rounds(1, {0ms, 40ms, 40ms});
    }
    for (unsigned i = 0; i < 3; ++i) { // and on trial
        CHECK(bench.health(0).out_until_ns <= bench.now);
        bench.rounds(7, {0ms, 40ms, 40ms});
        bench.abandon(0, 2s);
    }
    CHECK(bench.health(0).out_until_ns > bench.now);

    SlowBench fine(3);
    fine.rounds(32, {0ms, 40ms, 40ms});
    for (unsigned i = 0; i < 64; ++i) {
        fine.abandon(0, 190ms);
        fine.rounds(1, {0ms, 40ms, 40ms});
    }
    CHECK(fine.count(0) == 0);
}

TEST_CASE("one of many about which enough is known is not the middle of the others")
{
    SlowBench bench(6);
    CHECK(bench.rounds(40, {900ms, 10ms, 0ms, 0ms, 0ms, 0ms}) == "");
    CHECK(bench.rounds(40, {900ms, 10ms, 10ms, 0ms, 0ms, 0ms}) == "");
    CHECK(bench.rounds(40, {900ms, 10ms, 10ms, 10ms, 0ms, 0ms}) == "a");
}

TEST_CASE("slow servers are ejected with eject.failures = 0 as well, which leaves no trial behind for others")
{
    SlowBench bench(2);
    bench.settings.eject.failures = 0;
    CHECK(bench.rounds(31, {900ms, 10ms}) == "a");
    bench.now = bench.health(0).out_until_ns;
    CHECK_FALSE(bench.is_shared(0));
    bench.answer_later(0, 10ms);
    CHECK(bench.is_shared(0));
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
    CHECK(bench.count(2) == 0);
}
