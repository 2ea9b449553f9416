// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/worker/upstream_bench.h"

#include <doctest/doctest.h>

using namespace ladle;
using namespace ladle::worker;
using namespace std::chrono_literals;

namespace {

constexpr loop::Nanos kMilli = 1'000'000;

/// A group that hedges, whose servers have answered in 20 ms so far.
Bench hedging_bench()
{
    return Bench(config::Balance::least_busy, {1, 1});
}

void use_hedging(Bench& bench, std::uint32_t percent)
{
    bench.settings.hedge.percent = percent;
    for (int i = 0; i < 200; ++i) {
        bench.upstream->report_success(i % 2, 20 * kMilli, bench.now);
    }
    bench.other->on_tick(bench.now);
}

} // namespace

TEST_CASE("when a request is hedged follows what all workers have met, and only where hedging is on")
{
    Bench bench = hedging_bench();
    use_hedging(bench, 0);
    CHECK(bench.other->hedge_after() == 0ms);
    use_hedging(bench, 95);
    CHECK(bench.other->hedge_after() >= 20ms);
    CHECK(bench.other->hedge_after() <= 25ms);
    for (int i = 0; i < 50; ++i) {
        bench.upstream->report_error(0, 500 * kMilli, bench.now);
    }
    bench.other->on_tick(bench.now);
    CHECK(bench.other->hedge_after() >= 500ms);
    Upstream later(bench.settings, bench.servers, bench.arena.regions(), bench.row); // after a reload
    CHECK(later.hedge_after() == bench.other->hedge_after());
}

TEST_CASE("attempts that were given up count as at least so slow, and do not bring the time of hedges down")
{
    Bench bench = hedging_bench();
    use_hedging(bench, 95);
    for (int i = 0; i < 20'000; ++i) {
        // Of a hundred three take 100 ms, and four stall: as soon as there are hedges, those are outrun.
        const auto after = loop::to_nanos(bench.upstream->hedge_after());
        const loop::Nanos time = i % 100 < 93 ? 20 * kMilli : i % 100 < 96 ? 100 * kMilli : 2000 * kMilli;
        if (i < 10'000 || time < after) {
            bench.upstream->report_success(1, time, bench.now);
        } else {
            bench.upstream->report_unanswered(1, after + kMilli, bench.now);
        }
        if (i % 500 == 499) {
            bench.now += 1'000'000'000;
            bench.upstream->on_tick(bench.now);
        }
    }
    CHECK(bench.upstream->hedge_after() >= 100ms);
    CHECK(bench.upstream->hedge_after() <= 160ms);

    shm::ServerHealth& health = bench.health(0);
    const std::uint64_t typical = shm::time_of(shm::typical_pace(health, bench.now));
    for (int i = 0; i < 100; ++i) {
        bench.upstream->report_unanswered(0, kMilli, bench.now); // a hedge that was given up soon says nothing
    }
    CHECK(shm::time_of(shm::typical_pace(health, bench.now)) == typical);
    for (int i = 0; i < 100; ++i) {
        bench.upstream->report_unanswered(0, 900 * kMilli, bench.now);
    }
    CHECK(shm::time_of(shm::typical_pace(health, bench.now)) > 10 * typical);
}

TEST_CASE("a hedge goes to no backup, to nobody who is out or full, and to nobody while requests wait")
{
    Bench bench(config::Balance::least_busy, {1, 1}, 1);
    const Tried first = members_of(0b01);
    const auto may = [&] { return bench.upstream->has_other(first, bench.now, Upstream::Backups::not_they); };
    CHECK(may());
    bench.settings.servers[1].is_backup = true;
    CHECK_FALSE(may());
    CHECK(bench.upstream->has_other(first, bench.now));
    bench.settings.servers[1].is_backup = false;
    bench.other->begin_request(1);
    CHECK_FALSE(may());
    bench.other->end_request(1);
    bench.health(1).out_until_ns = bench.now + 1;
    CHECK_FALSE(may());
    bench.health(1).out_until_ns = 0;
    CHECK(may());
    loop::Wake wake(*bench.loop);
    QueuePlace place;
    place.wake = &wake;
    REQUIRE(bench.upstream->enqueue(place));
    CHECK_FALSE(may());
    bench.upstream->leave_queue(place);
}

TEST_CASE("the budget of hedges is one of all workers")
{
    Bench bench = hedging_bench();
    bench.settings.hedge = {95, 10, 10ms};
    bench.upstream->on_tick(bench.now);
    for (int i = 0; i < 200; ++i) {
        bench.upstream->begin_request(i % 2);
        bench.upstream->end_request(i % 2);
    }
    int taken = 0;
    for (int i = 0; i < 100; ++i) {
        taken += (i % 2 == 0 ? bench.upstream : bench.other)->take_hedge(bench.now) ? 1 : 0;
    }
    CHECK(taken == 20);
    CHECK(bench.row.value(shm::Metric::server_hedges_refused) + bench.other_row.value(shm::Metric::server_hedges_refused) == 80);
}
