// SPDX-License-Identifier: Apache-2.0
//
// How `adaptive` limits what servers are sent: counted over all workers, as max_conn is.
#include "common/shm/server_agent.h"
#include "tests/unit/worker/upstream_bench.h"
#include "worker/upstream/limit_samples.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;

namespace {

constexpr loop::Nanos kMillisecond = 1'000'000;

struct AdaptiveBench : Bench {
    explicit AdaptiveBench(const std::vector<std::uint32_t>& weights = {1}, std::uint32_t max_conn = 0)
        : Bench(config::Balance::least_busy, weights, max_conn)
    {
        // A second after a full ten of the wall clock: no test here is to come upon a moment at which baselines are measured.
        const auto wall = std::chrono::system_clock::now().time_since_epoch();
        const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(wall % std::chrono::seconds(10));
        now = loop::clock_now() - static_cast<loop::Nanos>(since.count()) + 1000 * kMillisecond;
        settings.adaptive.emplace();
        upstream.emplace(settings, servers, arena.regions(), row);
        other.emplace(settings, other_servers, arena.regions(), other_row);
    }
    /// Takes as many as there is room for, by turns of both workers.
    std::vector<Lease> fill()
    {
        std::vector<Lease> leases;
        for (;;) {
            Upstream& worker = leases.size() % 2 == 0 ? *upstream : *other;
            const Upstream::Choice choice = worker.choose({}, now);
            if (choice.outcome != Upstream::Outcome::chosen) {
                return leases;
            }
            leases.push_back(worker.take(choice, now));
            REQUIRE(leases.back());
        }
    }
    /// So many windows in which both workers saw answers that took so long.
    void answer(int windows, loop::Nanos time, std::uint32_t member = 0)
    {
        for (int i = 0; i < 16 * windows; ++i) {
            now += 10 * kMillisecond;
            (i % 2 == 0 ? *upstream : *other).report_answer_time(member, time, now);
        }
    }
    shm::ServerEntry& entry(std::uint32_t member = 0) { return *upstream->members()[member].entry; }
};

} // namespace

TEST_CASE("adaptive: the limit holds for all workers together, and all of them renew it")
{
    AdaptiveBench bench;
    std::vector<Lease> leases = bench.fill();
    CHECK(leases.size() == 10); // half of the first one, as it is measured
    CHECK_FALSE(bench.upstream->take({Upstream::Outcome::chosen, 0}, bench.now));
    bench.answer(2, kMillisecond);
    CHECK(bench.upstream->limit_of(0) == 20);
    CHECK(bench.other->limit_of(0) == 20);
    std::vector<Lease> more = bench.fill();
    CHECK(more.size() == 10);
    bench.answer(1, kMillisecond);
    CHECK(bench.upstream->limit_of(0) == 30);
    more.clear();
    bench.answer(1, 10 * kMillisecond);
    CHECK(bench.other->limit_of(0) == 20); // 30 × 0.5 + √30
    CHECK(bench.fill().size() == 10);
    shm::ProcessRow& row = bench.row;
    shm::ProcessRow& other = bench.other_row;
    CHECK(row.value(shm::Metric::server_limits_measured) + other.value(shm::Metric::server_limits_measured) == 1);
    CHECK(row.value(shm::Metric::server_limits_raised) + other.value(shm::Metric::server_limits_raised) == 1);
    CHECK(row.value(shm::Metric::server_limits_lowered) + other.value(shm::Metric::server_limits_lowered) == 1);
}

TEST_CASE("adaptive: what is answered takes no place, though it is in flight")
{
    AdaptiveBench bench;
    std::vector<Lease> leases = bench.fill();
    const std::uint32_t index = bench.upstream->members()[0].server->index();
    CHECK(shm::unanswered(bench.arena.regions(), index) == 10);
    leases[0].settle();
    leases[0].settle();
    leases[1].settle();
    CHECK(shm::unanswered(bench.arena.regions(), index) == 8);
    CHECK(shm::in_flight(bench.arena.regions(), index) == 10);
    CHECK(bench.fill().size() == 2);
    Lease moved = std::move(leases[0]);
    moved.end();
    leases.clear();
    CHECK(shm::unanswered(bench.arena.regions(), index) == 0);
    CHECK(shm::in_flight(bench.arena.regions(), index) == 0);
}

TEST_CASE("adaptive: max_conn, and what an agent says in its place, bound the limit")
{
    AdaptiveBench bench({1}, 3);
    CHECK(bench.upstream->limit_of(0) == 1);
    bench.answer(2, kMillisecond);
    CHECK(bench.upstream->limit_of(0) == 3);
    {
        const std::vector<Lease> leases = bench.fill();
        CHECK(leases.size() == 3);
    }
    std::vector<Lease> leases = bench.fill();
    for (Lease& lease : leases) {
        lease.settle();
    }
    CHECK(bench.fill().empty()); // max_conn is of all that are in flight
    leases.clear();
    bench.settings.agent.emplace();
    bench.upstream.emplace(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    shm::add_agent_answer(bench.health(0), shm::AgentWord{{}, {}, {}, 2}, "", bench.now);
    CHECK(bench.upstream->limit_of(0) == 2);
    shm::add_agent_answer(bench.health(0), shm::AgentWord{{}, {}, {}, 0}, "", bench.now);
    CHECK(bench.upstream->limit_of(0) == 4); // the least that it is
}

TEST_CASE("adaptive: a full server is passed over, and one without room for it is not chosen")
{
    AdaptiveBench bench({1, 1});
    std::vector<Lease> leases = bench.fill();
    CHECK(leases.size() == 20);
    CHECK(bench.choices(2) == "==");
    bench.upstream->settle_request(1);
    CHECK(bench.choices(3) == "bbb");
    QueuePlace newcomer;
    CHECK(bench.upstream->has_turn(newcomer, {}, bench.now));
}

TEST_CASE("adaptive: a dead worker's requests are gone, and its limit stays")
{
    AdaptiveBench bench;
    bench.answer(3, kMillisecond);
    std::vector<Lease> leases = bench.fill();
    const std::size_t all = leases.size();
    CHECK(all == 20);
    shm::retire_row(bench.arena.regions(), 1);
    bench.other_row.pid = 2;
    CHECK(bench.upstream->limit_of(0) == 20);
    std::vector<Lease> more = bench.fill();
    CHECK(more.size() == all / 2);
}

TEST_CASE("adaptive: the limit goes with its entry, and outlives a reload")
{
    AdaptiveBench bench;
    bench.answer(2, kMillisecond);
    REQUIRE(bench.upstream->limit_of(0) == 20);
    bench.upstream.emplace(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    CHECK(bench.upstream->limit_of(0) == 20);
    shm::ServerTable& table = bench.arena.regions().servers;
    shm::free_server(table, bench.upstream->members()[0].server->index());
    CHECK(bench.entry().limit.state == 0);
    bench.upstream->report_answer_time(0, kMillisecond, bench.now); // of an old configuration: nobody's time
    bench.upstream->report_overload(0, bench.now);
    bench.upstream->report_abandoned(0, 1000 * kMillisecond, bench.now);
    CHECK(bench.entry().limit.window == 0);
}

TEST_CASE("adaptive: timeouts, 503 and clients that gave up on a late answer lower it; refusals and quick leavers do not")
{
    for (const int how : {0, 1, 2, 3, 4, 5}) {
        CAPTURE(how);
        AdaptiveBench bench;
        bench.settings.eject.failures = 0;
        bench.answer(2, 10 * kMillisecond);
        for (int i = 0; i < 16; ++i) {
            bench.now += 10 * kMillisecond;
            switch (how) {
            case 0: bench.upstream->report_failure(0, shm::ServerFailure::timeout, bench.now); break;
            case 1: bench.upstream->report_failure(0, shm::ServerFailure::bad_status, bench.now); break;
            case 2: bench.upstream->report_abandoned(0, 50 * kMillisecond, bench.now); break;
            case 3: bench.upstream->report_overload(0, bench.now); break;
            case 4: bench.upstream->report_failure(0, shm::ServerFailure::connect, bench.now); break;
            default: bench.upstream->report_abandoned(0, 12 * kMillisecond, bench.now);
            }
        }
        CHECK(bench.upstream->limit_of(0) == (how < 4 ? 14 : 20));
    }
}

TEST_CASE("adaptive: what an answer says of its server's load")
{
    const auto load = [](std::string_view text) {
        http::ResponseHead head;
        REQUIRE(head.parse(text, {}) == http::Progress::complete);
        return answer_load(head);
    };
    CHECK(load("HTTP/1.1 200 OK\r\n\r\n") == AnswerLoad::work);
    CHECK(load("HTTP/1.1 404 Not Found\r\n\r\n") == AnswerLoad::work);
    CHECK(load("HTTP/1.1 429 Too Many Requests\r\n\r\n") == AnswerLoad::nothing);
    CHECK(load("HTTP/1.1 500 Internal Server Error\r\n\r\n") == AnswerLoad::nothing);
    CHECK(load("HTTP/1.1 200 OK\r\nGRPC-Status: 0\r\n\r\n") == AnswerLoad::work);
    CHECK(load("HTTP/1.1 200 OK\r\ngrpc-status: 5\r\n\r\n") == AnswerLoad::nothing);
    CHECK(load("HTTP/1.1 200 OK\r\ngrpc-status: 8\r\n\r\n") == AnswerLoad::overload);
    CHECK(load("HTTP/1.1 200 OK\r\ngrpc-status: 14\r\n\r\n") == AnswerLoad::overload);
}

TEST_CASE("adaptive: switched off nothing of it is counted")
{
    Bench bench(config::Balance::least_busy, {1});
    const std::uint32_t index = bench.upstream->members()[0].server->index();
    {
        Lease lease(*bench.upstream, 0);
        CHECK(shm::unanswered(bench.arena.regions(), index) == 0);
        bench.upstream->report_success(0, kMillisecond, bench.now);
    }
    CHECK(bench.row.unanswered[index] == 0);
    CHECK(bench.upstream->members()[0].entry->limit.window == 0);
}
