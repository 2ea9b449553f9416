// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/worker/upstream_bench.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;

namespace {

constexpr auto kRound = config::Balance::round_robin;
constexpr auto kLeastBusy = config::Balance::least_busy;

} // namespace

TEST_CASE("round_robin goes in turn, smoothly by weight")
{
    CHECK(Bench(kRound, {1, 1, 1}).choices(7) == "abcabca");
    CHECK(Bench(kRound, {5, 1, 1}).choices(14) == "aabacaaaabacaa");
    CHECK(Bench(kRound, {10, 10}).choices(4) == "abab");
    CHECK(Bench(kRound, {3}).choices(3) == "aaa");
}

TEST_CASE("round_robin is one order over all workers")
{
    Bench bench(kRound, {1, 1, 1});
    CHECK(bench.choices(1) == "a");
    CHECK(bench.other->choose({}, bench.now).member == 1);
    CHECK(bench.choices(1) == "c");
}

TEST_CASE("least_busy takes the fewest in flight for its weight, over all workers")
{
    Bench bench(kLeastBusy, {1, 1});
    bench.upstream->begin_request(0);
    CHECK(bench.choices(4) == "bbbb");
    bench.other->begin_request(1);
    bench.other->begin_request(1);
    CHECK(bench.choices(4) == "aaaa");
    bench.other->end_request(1);
    bench.other->end_request(1);
    bench.upstream->end_request(0);
    const std::string idle = bench.choices(10);
    CHECK(std::count(idle.begin(), idle.end(), 'a') == 5);

    Bench weighted(kLeastBusy, {3, 1});
    std::map<std::uint32_t, int> taken;
    for (int i = 0; i < 40; ++i) {
        const std::uint32_t member = weighted.upstream->choose({}, weighted.now).member;
        weighted.upstream->begin_request(member);
        ++taken[member];
    }
    CHECK(taken[0] == 30);
    CHECK(taken[1] == 10);
}

TEST_CASE("max_conn counts all workers, and a dead one's requests are gone with its row")
{
    for (const auto balance : {kRound, kLeastBusy}) {
        Bench bench(balance, {1, 1}, 1);
        bench.other->begin_request(0);
        CHECK(bench.choices(3) == "bbb");
        bench.upstream->begin_request(1);
        CHECK(bench.choices(2) == "==");
        shm::retire_row(bench.arena.regions(), 1);
        CHECK(bench.choices(2) == "aa");
    }
    Bench single(kLeastBusy, {1}, 1);
    single.upstream->begin_request(0);
    CHECK(single.choices(1) == "=");
    single.upstream->end_request(0);
    CHECK(single.choices(1) == "a");
}

TEST_CASE("what was tried is not chosen again")
{
    for (const auto balance : {kRound, kLeastBusy}) {
        Bench bench(balance, {1, 1, 1});
        CHECK(bench.choices(3, 0b011) == "ccc");
        CHECK(bench.choices(1, 0b111) == "-");
    }
    CHECK(Bench(kLeastBusy, {1}).choices(1, 1) == "-");
}

constexpr loop::Nanos kBenchSecond = 1'000'000'000;

TEST_CASE("requests of an old configuration neither blame nor follow a server that has been given the place of theirs")
{
    Bench bench(kLeastBusy, {1, 1});
    shm::ServerTable& table = bench.arena.regions().servers;
    const auto index = static_cast<std::uint32_t>(shm::find_server(table, "app", "10.0.0.1:80"));
    shm::free_server(table, index);
    REQUIRE(shm::find_or_assign_server(table, "other", "10.9.9.9:80") == static_cast<int>(index));
    shm::ServerEntry& entry = table.entries[index];
    CHECK_FALSE(bench.upstream->report_failure(0, shm::ServerFailure::connect, bench.now));
    CHECK(entry.health.out_until_ns == 0);
    CHECK(entry.health.failures[static_cast<std::size_t>(shm::ServerFailure::connect)] == 0);
    bench.upstream->begin_request(0);
    bench.upstream->report_success(0, 1000, bench.now);
    bench.upstream->end_request(0);
    CHECK(entry.requests == 0);
    CHECK(entry.health.asked == 0);
    CHECK(shm::latency_quantile(entry.health, 50).count() == 0);
    entry.health.failures_in_row = 1; // of the new one's own
    entry.health.connect_failures = 1;
    bench.upstream->report_success(0, 1000, bench.now);
    bench.upstream->report_connected(0);
    CHECK(entry.health.failures_in_row == 1);
    CHECK(entry.health.connect_failures == 1);
    CHECK(bench.upstream->take_retry(bench.now));
    CHECK(entry.health.retries == 0);
    entry.health.order = shm::ServerOrder::down;
    entry.health.out_until_ns = bench.now + kBenchSecond;
    CHECK(bench.choices(1, 0b10) == "a");
}

TEST_CASE("a server that takes no connections rests, longer each time, but never so that none is left")
{
    for (const auto balance : {kRound, kLeastBusy}) {
        Bench bench(balance, {1, 1});
        const auto refuse = [&](std::uint32_t member) {
            return bench.upstream->report_failure(member, shm::ServerFailure::connect, bench.now);
        };
        CHECK(refuse(0));
        CHECK_FALSE(refuse(0)); // what was under way fails as well
        CHECK(bench.choices(3) == "bbb");
        CHECK(bench.other->choose({}, bench.now).member == 1); // all workers know it
        bench.now += kBenchSecond;
        CHECK(bench.choices(4).find('a') != std::string::npos);
        CHECK(refuse(0));
        bench.now += 2 * kBenchSecond - 1;
        CHECK(bench.choices(3) == "bbb");
        for (int i = 0; i < 50; ++i) {
            bench.now += 10 * kBenchSecond;
            CHECK(refuse(0));
        }
        bench.now += 10 * kBenchSecond - 1;
        CHECK(bench.choices(3) == "bbb");
        CHECK(bench.choices(2, 0b10) == "aa"); // resting is better than nothing
        CHECK(refuse(1));
        CHECK(bench.choices(4).find('-') == std::string::npos);
        bench.upstream->report_connected(0);
        CHECK(bench.choices(3) == "aaa");
    }
}

TEST_CASE("five failures in a row eject a server, each time for longer, and it comes back on trial")
{
    Bench bench(kLeastBusy, {1, 1});
    const auto fail = [&](std::uint32_t member) {
        bench.upstream->begin_request(member);
        bench.upstream->end_request(member);
        return bench.upstream->report_failure(member, shm::ServerFailure::reset, bench.now);
    };
    for (int i = 0; i < 4; ++i) {
        CHECK_FALSE(fail(0));
    }
    bench.upstream->report_success(0, 1, bench.now);
    for (int i = 0; i < 4; ++i) {
        bench.now += 20 * kBenchSecond; // longer than `within`: they are not compared with the requests between them
        CHECK_FALSE(fail(0));
    }
    CHECK(fail(0));
    CHECK(bench.choices(3) == "bbb");
    bench.upstream->report_success(0, 1, bench.now); // begun before
    CHECK(bench.choices(3) == "bbb");
    bench.now += 30 * kBenchSecond - 1;
    CHECK(bench.choices(3) == "bbb");
    bench.now += 1;
    CHECK(bench.choices(4).find('a') != std::string::npos);
    bench.other->begin_request(0);
    CHECK(bench.choices(4) == "bbbb"); // until that one has ended well it gets no other
    bench.other->end_request(0);
    CHECK(fail(0)); // and not five this time
    bench.now += 60 * kBenchSecond - 1;
    CHECK(bench.choices(3) == "bbb");
    bench.now += 1;
    bench.upstream->report_success(0, 1, bench.now);
    bench.other->begin_request(1);
    CHECK(bench.choices(3) == "aaa");
}

TEST_CASE("an ejection never lasts longer than `longest`, and is short again after a good time")
{
    Bench bench(kLeastBusy, {1, 1, 1});
    bench.settings.eject.failures = 1;
    bench.settings.eject.longest = std::chrono::seconds(100);
    for (int i = 0; i < 10; ++i) {
        CHECK(bench.upstream->report_failure(0, shm::ServerFailure::timeout, bench.now));
        bench.now += 100 * kBenchSecond;
        CHECK(bench.choices(9).find('a') != std::string::npos);
    }
    bench.now += 31 * kBenchSecond;
    bench.upstream->report_success(0, 1, bench.now);
    CHECK(bench.upstream->report_failure(0, shm::ServerFailure::timeout, bench.now));
    bench.now += 30 * kBenchSecond;
    CHECK(bench.choices(9).find('a') != std::string::npos);
}

TEST_CASE("half of the requests failing ejects as well, a few among many do not")
{
    Bench bench(kLeastBusy, {1, 1, 1, 1});
    const auto ask = [&](std::uint32_t member, bool is_good) {
        bench.upstream->begin_request(member);
        bench.upstream->end_request(member);
        if (is_good) {
            bench.upstream->report_success(member, 1, bench.now);
            return false;
        }
        return bench.upstream->report_failure(member, shm::ServerFailure::bad_status, bench.now);
    };
    bool is_out = false;
    for (int i = 0; i < 100; ++i) {
        is_out = ask(0, i % 10 != 0) || is_out;
    }
    CHECK_FALSE(is_out);
    int asked = 0;
    while (!ask(1, asked % 2 != 0) && asked < 100) {
        ++asked;
    }
    CHECK(asked == 8); // the fifth failure of nine requests
}

TEST_CASE("no more servers are ejected than `max`, and never the last one")
{
    Bench bench(kLeastBusy, {1, 1, 1, 1});
    bench.settings.eject.failures = 1;
    CHECK(bench.upstream->report_failure(0, shm::ServerFailure::reset, bench.now));
    CHECK(bench.upstream->report_failure(1, shm::ServerFailure::reset, bench.now));
    CHECK_FALSE(bench.upstream->report_failure(2, shm::ServerFailure::reset, bench.now));
    bench.settings.eject.share = 100;
    CHECK(bench.upstream->report_failure(2, shm::ServerFailure::reset, bench.now));
    CHECK_FALSE(bench.upstream->report_failure(3, shm::ServerFailure::reset, bench.now));
    CHECK(bench.choices(3) == "ddd");
    Bench single(kLeastBusy, {1});
    single.settings.eject = {1, std::chrono::seconds(10), 50, std::chrono::seconds(30), std::chrono::seconds(30), 100};
    CHECK_FALSE(single.upstream->report_failure(0, shm::ServerFailure::reset, single.now));
    CHECK(single.choices(2) == "aa");
    Bench never(kLeastBusy, {1, 1});
    never.settings.eject.failures = 0;
    CHECK_FALSE(never.upstream->report_failure(0, shm::ServerFailure::connect, never.now));
    CHECK(never.choices(8).find('a') != std::string::npos);
}

TEST_CASE("what checks have found down is not chosen, unless all are; a backup only without any other")
{
    for (const auto balance : {kRound, kLeastBusy}) {
        Bench bench(balance, {1, 1, 1});
        bench.settings.servers[2].is_backup = true;
        const auto set = [&](std::uint32_t member, shm::Verdict verdict) {
            bench.upstream->members()[member].entry->health.verdict = verdict;
        };
        CHECK(bench.choices(6).find('c') == std::string::npos);
        set(0, shm::Verdict::down);
        CHECK(bench.choices(3) == "bbb");
        set(1, shm::Verdict::down);
        CHECK(bench.choices(3) == "ccc");
        set(2, shm::Verdict::down);
        CHECK(bench.choices(9).find('-') == std::string::npos);
        CHECK(bench.choices(9).find('a') != std::string::npos);
        bench.settings.panics = false;
        CHECK(bench.choices(3) == "---");
        set(1, shm::Verdict::up);
        CHECK(bench.choices(3) == "bbb");
    }
}

TEST_CASE("a copy for a mirror goes to no server that is out, where a request would try it as there is no other")
{
    Bench bench(config::Balance::least_busy, {1, 1});
    const auto copy = [&bench] { return bench.upstream->choose({}, bench.now, {}, Upstream::Purpose::copy); };
    bench.health(0).verdict = shm::Verdict::down;
    CHECK(copy().outcome == Upstream::Outcome::chosen);
    CHECK(copy().member == 1);
    bench.health(1).verdict = shm::Verdict::down;
    CHECK(bench.upstream->choose({}, bench.now).outcome == Upstream::Outcome::chosen);
    CHECK(copy().outcome == Upstream::Outcome::none_left);
}

TEST_CASE("a server that the operator took out is not even chosen when all are out; its weight may be another one")
{
    Bench bench(kRound, {1, 1});
    shm::ServerHealth& health = bench.upstream->members()[0].entry->health;
    health.order = shm::ServerOrder::drain;
    CHECK(bench.choices(3) == "bbb");
    CHECK(bench.choices(1, 0b10) == "-");
    health.order = shm::ServerOrder::none;
    health.weight = 3;
    ++bench.arena.regions().servers.orders;
    const std::string taken = bench.choices(40);
    CHECK(std::count(taken.begin(), taken.end(), 'a') == 30);
}

TEST_CASE("the share of a server that came back grows from a tenth to the whole")
{
    for (const auto balance : {kRound, kLeastBusy}) {
        Bench bench(balance, {1, 1});
        bench.settings.slow_start = std::chrono::seconds(10);
        bench.upstream->members()[0].entry->health.back_ns = bench.now;
        const auto share = [&] {
            const std::string taken = bench.choices(2000);
            return std::count(taken.begin(), taken.end(), 'a');
        };
        const auto first = share();
        bench.now += 5 * kBenchSecond;
        const auto middle = share();
        bench.now += 5 * kBenchSecond;
        const auto last = share();
        CHECK(first > 40);
        CHECK(first < 260);
        CHECK(middle > 400);
        CHECK(middle < 800);
        CHECK(last == 1000);
    }
}

TEST_CASE("while the others are full a server that starts slowly is chosen all the same")
{
    for (const auto balance : {kRound, kLeastBusy}) {
        Bench bench(balance, {1, 1}, 1);
        bench.settings.slow_start = std::chrono::seconds(10);
        bench.upstream->members()[0].entry->health.back_ns = bench.now;
        bench.upstream->begin_request(1);
        CHECK(bench.choices(50) == std::string(50, 'a'));
    }
}

TEST_CASE("another server is one that has room, while nobody waits")
{
    Bench bench(kLeastBusy, {1, 1}, 1);
    CHECK(bench.upstream->has_other(members_of(0b01), bench.now));
    bench.upstream->begin_request(1);
    CHECK_FALSE(bench.upstream->has_other(members_of(0b01), bench.now));
    bench.upstream->end_request(1);
    bench.settings.queue_size = 1;
    QueuePlace place;
    loop::Wake wake(*bench.loop);
    place.wake = &wake;
    REQUIRE(bench.upstream->enqueue(place));
    CHECK_FALSE(bench.upstream->has_other(members_of(0b01), bench.now));
    bench.upstream->leave_queue(place);
}

TEST_CASE("a reload that takes a busy server out leaves the budget of retries as it was")
{
    Bench bench(kRound, {1, 1});
    bench.settings.retry.budget = 20;
    for (int i = 0; i < 100'000; ++i) {
        bench.upstream->begin_request(1);
        bench.upstream->end_request(1);
    }
    bench.upstream->on_tick(bench.now);
    bench.settings.servers.pop_back();
    Upstream after(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    int taken = 0;
    while (taken < 1000 && after.take_retry(bench.now)) {
        ++taken;
    }
    CHECK(taken == 10);
}

TEST_CASE("of many servers those in order are taken, by weight, the less busy ones first")
{
    std::vector<std::uint32_t> weights(100, 1);
    weights[7] = 50;
    Bench bench(kLeastBusy, weights);
    for (std::uint32_t at = 0; at < 100; ++at) {
        bench.upstream->members()[at].entry->health.verdict = at % 2 == 0 && at != 42 ? shm::Verdict::down : shm::Verdict::up;
    }
    std::map<std::uint32_t, int> taken;
    for (int i = 0; i < 2000; ++i) {
        ++taken[bench.upstream->choose({}, bench.now).member];
    }
    CHECK(taken.size() == 51);
    CHECK(taken[7] > 400);
    for (std::uint32_t at = 0; at < 100; ++at) {
        if (at != 42) {
            bench.upstream->begin_request(at);
        }
    }
    taken.clear();
    for (int i = 0; i < 2000; ++i) {
        ++taken[bench.upstream->choose({}, bench.now).member];
    }
    CHECK(taken[42] > 5);
}

TEST_CASE("retries are a part of the requests, over all workers, and a few in any case")
{
    Bench bench(kLeastBusy, {1, 1});
    const auto count = [&](Upstream& upstream) {
        int taken = 0;
        while (taken < 10'000 && upstream.take_retry(bench.now)) {
            ++taken;
        }
        return taken;
    };
    bench.upstream->on_tick(bench.now);
    CHECK(count(*bench.upstream) == 10);
    for (int i = 0; i < 1000; ++i) {
        bench.upstream->begin_request(0);
    }
    CHECK(count(*bench.other) == 200);
    CHECK(count(*bench.upstream) == 0);
    bench.now += 200 * kBenchSecond; // without any request
    CHECK(count(*bench.upstream) < 40);
}

TEST_CASE("the queue is bounded, and the oldest of all workers is next")
{
    Bench bench(kLeastBusy, {1}, 1);
    bench.settings.queue_size = 2;
    bench.row.heartbeat_ns = bench.other_row.heartbeat_ns = bench.now;
    loop::Wake wake(*bench.loop);
    QueuePlace a;
    QueuePlace b;
    QueuePlace c;
    QueuePlace newcomer;
    a.wake = b.wake = c.wake = newcomer.wake = &wake;
    CHECK(bench.upstream->has_turn(newcomer, {}, bench.now));
    CHECK(bench.other->enqueue(a));
    CHECK_FALSE(bench.upstream->has_turn(newcomer, {}, bench.now)); // somebody waits, if in another worker
    CHECK(bench.upstream->enqueue(b));
    CHECK(bench.upstream->enqueue(c));
    CHECK_FALSE(bench.upstream->enqueue(newcomer));
    CHECK(bench.row.value(shm::Metric::server_queue) == 2);
    CHECK(bench.other->has_turn(a, {}, bench.now));
    CHECK_FALSE(bench.upstream->has_turn(b, {}, bench.now));
    bench.other->leave_queue(a);
    CHECK(bench.upstream->has_turn(b, {}, bench.now));
    CHECK_FALSE(bench.upstream->has_turn(c, {}, bench.now));
    bench.upstream->leave_queue(b);
    CHECK(bench.upstream->has_turn(c, {}, bench.now));
    bench.upstream->leave_queue(c);
    CHECK(bench.row.value(shm::Metric::server_queue) == 0);
    CHECK(bench.other->has_turn(newcomer, {}, bench.now));
}

TEST_CASE("where there is room for several of those that wait, so many go at once; newcomers only behind them")
{
    Bench bench(kLeastBusy, {1}, 4);
    bench.row.heartbeat_ns = bench.other_row.heartbeat_ns = bench.now;
    loop::Wake wake(*bench.loop);
    QueuePlace places[6];
    for (QueuePlace& place : places) {
        place.wake = &wake;
        REQUIRE((&place == &places[0] ? *bench.other : *bench.upstream).enqueue(place));
    }
    QueuePlace newcomer;
    newcomer.wake = &wake;
    const auto having_turn = [&] {
        std::string out;
        for (QueuePlace& place : places) {
            out += (&place == &places[0] ? *bench.other : *bench.upstream).has_turn(place, {}, bench.now) ? 'y' : 'n';
        }
        return out;
    };
    CHECK(having_turn() == "yyyynn");
    CHECK_FALSE(bench.upstream->has_turn(newcomer, {}, bench.now));
    CHECK(bench.other->has_turn(newcomer, {}, bench.now) == false); // its own worker has one that waits
    bench.other->begin_request(0);
    bench.other->begin_request(0);
    CHECK(having_turn() == "yynnnn");
    bench.other->begin_request(0);
    bench.other->begin_request(0);
    CHECK(having_turn() == "ynnnnn"); // the oldest may always look
    Bench two(kLeastBusy, {1, 1}, 1);
    two.row.heartbeat_ns = two.other_row.heartbeat_ns = two.now;
    two.upstream->begin_request(0);
    QueuePlace stuck;
    QueuePlace behind;
    stuck.wake = behind.wake = &wake;
    REQUIRE(two.upstream->enqueue(stuck));
    REQUIRE(two.upstream->enqueue(behind));
    CHECK_FALSE(two.upstream->has_turn(behind, {}, two.now)); // the one place is the other's
    for (QueuePlace& place : places) {
        (&place == &places[0] ? *bench.other : *bench.upstream).leave_queue(place);
    }
    two.upstream->leave_queue(stuck);
    two.upstream->leave_queue(behind);
}

TEST_CASE("nobody waits for a worker that does not move or is no more")
{
    Bench bench(kLeastBusy, {1}, 1);
    bench.row.heartbeat_ns = bench.other_row.heartbeat_ns = bench.now;
    loop::Wake wake(*bench.loop);
    QueuePlace a;
    a.wake = &wake;
    REQUIRE(bench.other->enqueue(a));
    CHECK_FALSE(bench.upstream->has_turn({}, {}, bench.now));
    CHECK(bench.upstream->has_turn({}, {}, bench.now + kBenchSecond));
    bench.row.heartbeat_ns = bench.other_row.heartbeat_ns = bench.now + kBenchSecond;
    CHECK_FALSE(bench.upstream->has_turn({}, {}, bench.now + kBenchSecond));
    shm::retire_row(bench.arena.regions(), 1);
    CHECK(bench.upstream->has_turn({}, {}, bench.now + kBenchSecond));
    bench.other->leave_queue(a);
}

TEST_CASE("the last place of a server is taken once, whoever has found it free")
{
    Bench bench(kLeastBusy, {1}, 1);
    const Upstream::Choice mine = bench.upstream->choose({}, bench.now);
    const Upstream::Choice theirs = bench.other->choose({}, bench.now);
    REQUIRE(mine.outcome == Upstream::Outcome::chosen);
    REQUIRE(theirs.outcome == Upstream::Outcome::chosen);
    const Lease lease = bench.upstream->take(mine, bench.now);
    CHECK(lease);
    CHECK_FALSE(bench.other->take(theirs, bench.now));
}

TEST_CASE("the gate of a server is one process's, and that of a dead one is opened")
{
    Bench bench(kLeastBusy, {1}, 1);
    shm::ServerEntry& entry = *bench.upstream->members()[0].entry;
    const Upstream::Choice choice = bench.upstream->choose({}, bench.now);
    entry.gate = 2; // the other one died in it
    CHECK_FALSE(bench.upstream->take(choice, bench.now));
    shm::retire_row(bench.arena.regions(), 1);
    CHECK(bench.upstream->take(choice, bench.now));
    CHECK(entry.gate == 0);
}

TEST_CASE("a server that returns from an ejection by rate is on trial as well")
{
    Bench bench(kLeastBusy, {1, 1});
    bench.settings.eject.failures = 3;
    bench.settings.eject.time = std::chrono::seconds(10);
    const auto fail = [&] { return bench.upstream->report_failure(0, shm::ServerFailure::bad_status, bench.now); };
    const auto answer = [&] { bench.upstream->report_success(0, 1'000'000, bench.now); };
    bool is_ejected = false;
    for (int i = 0; i < 20 && !is_ejected; ++i) {
        bench.upstream->begin_request(0);
        bench.upstream->end_request(0);
        is_ejected = fail();
        if (!is_ejected) {
            answer();
        }
    }
    REQUIRE(is_ejected);
    bench.now += 11 * kBenchSecond;
    const Upstream::Choice choice{Upstream::Outcome::chosen, 0};
    const Lease trial = bench.upstream->take(choice, bench.now);
    CHECK(trial);
    CHECK_FALSE(bench.other->take(choice, bench.now));
    CHECK(bench.other->take({Upstream::Outcome::chosen, 0, true}, bench.now)); // without any other
    CHECK(bench.choices(6) == "bbbbbb");
}

TEST_CASE("a lease counts one request, wherever it is moved")
{
    Bench bench(kLeastBusy, {1});
    const auto in_flight = [&] { return shm::in_flight(bench.arena.regions(), bench.upstream->members()[0].server->index()); };
    {
        Lease lease(*bench.upstream, 0);
        CHECK(in_flight() == 1);
        Lease moved = std::move(lease);
        CHECK(in_flight() == 1);
        moved = Lease(*bench.upstream, 0);
        CHECK(in_flight() == 1);
        lease.end();
        CHECK(in_flight() == 1);
    }
    CHECK(in_flight() == 0);
}

TEST_CASE("a place in the table that went to another server brings none of the old one's state")
{
    Bench bench(kLeastBusy, {1});
    const std::shared_ptr<Server> old = bench.servers.find(0, "one");
    CHECK(bench.servers.find(0, "one") == old);
    CHECK(bench.servers.find(0, "two") != old);
}
