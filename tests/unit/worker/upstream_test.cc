// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/upstream.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;

namespace {

/// One group as two workers see it, over a shared arena.
struct Bench {
    Bench(config::Balance balance, const std::vector<std::uint32_t>& weights, std::uint32_t max_conn = 0)
        : arena(std::move(*shm::Arena::make())), loop(std::move(*loop::Loop::make())),
          row(arena.regions().rows[0]), other_row(arena.regions().rows[1]), servers(*loop, row), other_servers(*loop, other_row)
    {
        row.pid = 1;
        other_row.pid = 2;
        settings.name = "app";
        settings.balance = balance;
        for (const std::uint32_t weight : weights) {
            config::UpstreamServer server;
            server.text = "10.0.0." + std::to_string(settings.servers.size() + 1) + ":80";
            server.weight = weight;
            server.max_conn = max_conn;
            shm::find_or_assign_server(arena.regions().servers, settings.name, server.text);
            settings.servers.push_back(server);
        }
        upstream.emplace(settings, servers, arena.regions(), row);
        other.emplace(settings, other_servers, arena.regions(), other_row);
    }
    /// The members chosen by `count` choices, "abac…"; '-' = none left, '=' = all full.
    std::string choices(int count, std::uint64_t tried = 0)
    {
        std::string text;
        for (int i = 0; i < count; ++i) {
            const Upstream::Choice choice = upstream->choose(tried, now);
            text += choice.outcome == Upstream::Outcome::chosen     ? static_cast<char>('a' + choice.member)
                    : choice.outcome == Upstream::Outcome::all_full ? '='
                                                                    : '-';
        }
        return text;
    }

    shm::Arena arena;
    std::unique_ptr<loop::Loop> loop;
    shm::ProcessRow& row;
    shm::ProcessRow& other_row;
    ServerSet servers;
    ServerSet other_servers;
    config::Upstream settings;
    std::optional<Upstream> upstream;
    std::optional<Upstream> other;
    loop::Nanos now = 1'000'000'000'000;
};

constexpr auto kRound = config::Balance::round_robin;
constexpr auto kLeast = config::Balance::least_busy;

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
    CHECK(bench.other->choose(0, bench.now).member == 1);
    CHECK(bench.choices(1) == "c");
}

TEST_CASE("least_busy takes the fewest in flight for its weight, over all workers")
{
    Bench bench(kLeast, {1, 1});
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

    Bench weighted(kLeast, {3, 1});
    std::map<std::uint32_t, int> taken;
    for (int i = 0; i < 40; ++i) {
        const std::uint32_t member = weighted.upstream->choose(0, weighted.now).member;
        weighted.upstream->begin_request(member);
        ++taken[member];
    }
    CHECK(taken[0] == 30);
    CHECK(taken[1] == 10);
}

TEST_CASE("max_conn counts all workers, and a dead one's requests are gone with its row")
{
    for (const auto balance : {kRound, kLeast}) {
        Bench bench(balance, {1, 1}, 1);
        bench.other->begin_request(0);
        CHECK(bench.choices(3) == "bbb");
        bench.upstream->begin_request(1);
        CHECK(bench.choices(2) == "==");
        shm::retire_row(bench.arena.regions(), 1);
        CHECK(bench.choices(2) == "aa");
    }
    Bench single(kLeast, {1}, 1);
    single.upstream->begin_request(0);
    CHECK(single.choices(1) == "=");
    single.upstream->end_request(0);
    CHECK(single.choices(1) == "a");
}

TEST_CASE("what was tried is not chosen again")
{
    for (const auto balance : {kRound, kLeast}) {
        Bench bench(balance, {1, 1, 1});
        CHECK(bench.choices(3, 0b011) == "ccc");
        CHECK(bench.choices(1, 0b111) == "-");
    }
    CHECK(Bench(kLeast, {1}).choices(1, 1) == "-");
}

TEST_CASE("a server that failed rests, longer each time, but never so that none is left")
{
    for (const auto balance : {kRound, kLeast}) {
        Bench bench(balance, {1, 1});
        constexpr loop::Nanos kSecond = 1'000'000'000;
        Upstream::report_failure(bench.upstream->members()[0], bench.now);
        CHECK(bench.choices(3) == "bbb");
        bench.now += kSecond;
        CHECK(bench.choices(4).find('a') != std::string::npos);
        for (int i = 0; i < 50; ++i) {
            Upstream::report_failure(bench.upstream->members()[0], bench.now);
        }
        bench.now += 10 * kSecond - 1;
        CHECK(bench.choices(3) == "bbb");
        CHECK(bench.choices(2, 0b10) == "aa"); // resting is better than nothing
        Upstream::report_failure(bench.upstream->members()[1], bench.now);
        CHECK(bench.choices(4).find('-') == std::string::npos);
        Upstream::report_success(bench.upstream->members()[0]);
        CHECK(bench.choices(3) == "aaa");
    }
}

TEST_CASE("the queue is bounded, in order, and its oldest is told when a place is free")
{
    Bench bench(kLeast, {1}, 1);
    bench.settings.queue_size = 2;
    loop::Wake first(*bench.loop);
    loop::Wake second(*bench.loop);
    QueuePlace a;
    QueuePlace b;
    QueuePlace c;
    a.wake = &first;
    b.wake = &second;
    CHECK_FALSE(bench.upstream->has_queue());
    CHECK(bench.upstream->enqueue(a));
    CHECK(bench.upstream->enqueue(b));
    CHECK_FALSE(bench.upstream->enqueue(c));
    CHECK(bench.row.value(shm::Metric::server_queue) == 2);
    CHECK(bench.upstream->is_oldest(a));
    CHECK_FALSE(bench.upstream->is_oldest(b));
    bench.upstream->leave_queue(a);
    CHECK(bench.upstream->is_oldest(b));
    bench.upstream->leave_queue(b);
    CHECK(bench.row.value(shm::Metric::server_queue) == 0);
    CHECK_FALSE(bench.upstream->has_queue());
}

TEST_CASE("a lease counts one request, wherever it is moved")
{
    Bench bench(kLeast, {1});
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
    Bench bench(kLeast, {1});
    const std::shared_ptr<Server> old = bench.servers.find(0, "one");
    CHECK(bench.servers.find(0, "one") == old);
    CHECK(bench.servers.find(0, "two") != old);
}
