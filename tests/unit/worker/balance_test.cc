// SPDX-License-Identifier: Apache-2.0
//
// The methods of balancing, each against its definition.
#include "common/shm/server_agent.h"
#include "common/shm/server_pace.h"
#include "tests/bench/traffic.h"
#include "tests/unit/worker/upstream_bench.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <set>
#include <string>
#include <vector>

using namespace ladle;
using namespace ladle::worker;
using namespace std::chrono_literals;

namespace {

constexpr auto kLeast = config::Balance::least_busy;
constexpr auto kRandom = config::Balance::random;
constexpr auto kLatency = config::Balance::latency;
constexpr auto kFirst = config::Balance::first;
constexpr auto kHash = config::Balance::hash;
constexpr loop::Nanos kSecond = 1'000'000'000;

std::uint64_t key_number(std::uint64_t number)
{
    std::uint64_t z = (number + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    return z ^ z >> 31;
}

/// Where each of so many keys goes.
std::vector<std::uint32_t> owners(Bench& bench, int keys)
{
    std::vector<std::uint32_t> out;
    for (int i = 0; i < keys; ++i) {
        out.push_back(bench.upstream->choose({}, bench.now, {key_number(static_cast<std::uint64_t>(i)), {}}).member);
    }
    return out;
}

int count(const std::vector<std::uint32_t>& owners, std::uint32_t member)
{
    return static_cast<int>(std::count(owners.begin(), owners.end(), member));
}

} // namespace

TEST_CASE("hash: a server that leaves the file takes at most 12 % of the keys of ten along, and none has 10 % more than its share")
{
    constexpr int kKeys = 100'000;
    Bench bench(kHash, std::vector<std::uint32_t>(10, 1));
    const std::vector<std::uint32_t> before = owners(bench, kKeys);
    for (std::uint32_t member = 0; member < 10; ++member) {
        CHECK(std::abs(count(before, member) - kKeys / 10) <= kKeys / 10 / 10);
    }
    for (std::size_t leaver = 0; leaver < 10; ++leaver) {
        config::Upstream fewer = bench.settings;
        fewer.servers.erase(fewer.servers.begin() + static_cast<std::ptrdiff_t>(leaver));
        Upstream after(fewer, bench.servers, bench.arena.regions(), bench.row);
        int moved = 0;
        for (int i = 0; i < kKeys; ++i) {
            const std::uint32_t now = after.choose({}, bench.now, {key_number(static_cast<std::uint64_t>(i)), {}}).member;
            moved += bench.settings.servers[before[static_cast<std::size_t>(i)]].text != fewer.servers[now].text ? 1 : 0;
        }
        CHECK(moved <= kKeys * 12 / 100);
    }
}

TEST_CASE("hash: of a server that cannot be chosen each key goes on to another, the same always, and comes back; no other moves")
{
    const auto take_out = [](Bench& bench, int how) {
        shm::ServerHealth& health = bench.health(3);
        health.verdict = how == 0 ? shm::Verdict::down : shm::Verdict::up;
        health.out_until_ns = how == 1 ? bench.now + kSecond : 0;
        health.order = how == 2 ? shm::ServerOrder::drain : shm::ServerOrder::none;
        bench.settings.servers[3].max_conn = how == 3 ? 1 : 0;
    };
    Bench bench(kHash, std::vector<std::uint32_t>(10, 1));
    bench.upstream->begin_request(3);
    const std::vector<std::uint32_t> before = owners(bench, 20'000);
    std::vector<std::uint32_t> heirs;
    for (const int how : {0, 1, 2, 3}) {
        take_out(bench, how);
        const std::vector<std::uint32_t> during = owners(bench, 20'000);
        std::set<std::uint32_t> taken_by;
        for (std::size_t i = 0; i < before.size(); ++i) {
            if (before[i] == 3) {
                CHECK(during[i] != 3);
                taken_by.insert(during[i]);
            } else {
                CHECK(during[i] == before[i]);
            }
        }
        CHECK(taken_by.size() == 9); // no single one gets them all
        CHECK((heirs.empty() || heirs == during));
        heirs = during;
    }
    take_out(bench, 4);
    CHECK(owners(bench, 20'000) == before);
}

TEST_CASE("hash: the same in all workers and in every order of the file, by weight, and the backups only without the others")
{
    Bench bench(kHash, {1, 1, 2, 4});
    const std::vector<std::uint32_t> found = owners(bench, 80'000);
    CHECK(std::abs(count(found, 0) - 10'000) < 500);
    CHECK(std::abs(count(found, 2) - 20'000) < 500);
    CHECK(std::abs(count(found, 3) - 40'000) < 500);
    config::Upstream turned = bench.settings;
    std::reverse(turned.servers.begin(), turned.servers.end());
    Upstream other(turned, bench.other_servers, bench.arena.regions(), bench.other_row);
    for (std::size_t i = 0; i < 2000; ++i) {
        CHECK(other.choose({}, bench.now, {key_number(i), {}}).member == 3 - found[i]);
    }
    bench.settings.servers[0].is_backup = bench.settings.servers[1].is_backup = true;
    Upstream with_backups(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    for (std::size_t i = 0; i < 200; ++i) {
        CHECK(with_backups.choose({}, bench.now, {key_number(i), {}}).member >= 2);
    }
    bench.health(2).verdict = bench.health(3).verdict = shm::Verdict::down;
    std::set<std::uint32_t> used;
    for (std::size_t i = 0; i < 200; ++i) {
        used.insert(with_backups.choose({}, bench.now, {key_number(i), {}}).member);
    }
    CHECK(used == std::set<std::uint32_t>{0, 1});
    bench.settings.panics = false;
    bench.health(0).verdict = bench.health(1).verdict = shm::Verdict::down;
    CHECK(with_backups.choose({}, bench.now, {key_number(1), {}}).outcome == Upstream::Outcome::none_left);
}

TEST_CASE("hash: with every server full requests wait, with none left they fail, and without a key the least busy is taken")
{
    Bench bench(kHash, {1, 1}, 1);
    bench.upstream->begin_request(0);
    CHECK(bench.choices(3) == "bbb");
    CHECK(bench.choices(3, 0, {key_number(1), {}}) == "bbb");
    bench.upstream->begin_request(1);
    CHECK(bench.choices(1, 0, {key_number(1), {}}) == "=");
    CHECK(bench.choices(1, 0b11, {key_number(1), {}}) == "-");
}

TEST_CASE("hash: keys come back to a server that starts slowly one after the other, and stay")
{
    Bench bench(kHash, {1, 1});
    bench.settings.slow_start = 10s;
    bench.health(0).back_ns = bench.now;
    std::vector<std::uint32_t> before = owners(bench, 2000);
    CHECK(count(before, 0) < 200);
    for (int step = 1; step <= 10; ++step) {
        bench.now += kSecond;
        const std::vector<std::uint32_t> after = owners(bench, 2000);
        for (std::size_t i = 0; i < after.size(); ++i) {
            CHECK((before[i] != 0 || after[i] == 0));
        }
        before = after;
    }
    CHECK(count(before, 0) > 900);
}

TEST_CASE("random takes the less busy of two, so never the busiest, and by weight")
{
    Bench bench(kRandom, {1, 1, 1, 1});
    bench.upstream->begin_request(0);
    auto shares = bench.shares(4000);
    CHECK(shares[0] == 0);
    for (std::uint32_t member = 1; member < 4; ++member) {
        CHECK(shares[member] > 1100);
    }
    Bench weighted(kRandom, {3, 1, 1, 1});
    shares = weighted.shares(6000);
    CHECK(shares[0] > 2400);
    CHECK(shares[3] > 700);
}

TEST_CASE("first fills the servers in the order of the file")
{
    Bench bench(kFirst, {1, 1, 1}, 2);
    std::string order;
    for (int i = 0; i < 6; ++i) {
        order += bench.choices(1);
        bench.upstream->begin_request(static_cast<std::uint32_t>(order.back() - 'a'));
    }
    CHECK(order == "aabbcc");
    CHECK(bench.choices(1) == "=");
    bench.other->begin_request(0);
    bench.upstream->end_request(0);
    bench.upstream->end_request(0);
    CHECK(bench.choices(1) == "a");
    bench.health(0).verdict = shm::Verdict::down;
    CHECK(bench.choices(1) == "=");
    bench.upstream->end_request(2);
    CHECK(bench.choices(1) == "c");
}

TEST_CASE("the newer methods respect what was tried, ejections, orders, backups and max_conn as the others do")
{
    for (const auto balance : {kRandom, kLatency, kFirst, kHash}) {
        Bench bench(balance, {1, 1, 1, 1});
        const Preference preference{key_number(5), {}};
        bench.settings.servers[3].is_backup = true;
        Upstream again(bench.settings, bench.servers, bench.arena.regions(), bench.row);
        const auto all = [&](std::uint64_t tried) {
            std::set<char> seen;
            for (int i = 0; i < 60; ++i) {
                const auto choice = again.choose(members_of(tried), bench.now, preference);
                seen.insert(choice.outcome == Upstream::Outcome::chosen     ? static_cast<char>('a' + choice.member)
                            : choice.outcome == Upstream::Outcome::all_full ? '='
                                                                            : '-');
            }
            return std::string(seen.begin(), seen.end());
        };
        CHECK(all(0b0011) == "c");
        bench.health(2).out_until_ns = bench.now + kSecond;
        CHECK(all(0b0011) == "d");
        bench.health(2).out_until_ns = 0;
        bench.health(0).order = shm::ServerOrder::down;
        bench.health(1).verdict = shm::Verdict::down;
        CHECK(all(0) == "c");
        bench.settings.servers[2].max_conn = 1;
        bench.other->begin_request(2);
        CHECK(all(0) == "=");
        bench.settings.panics = false;
        CHECK(all(0b1100) == "-");
    }
}

TEST_CASE("latency prefers the server that answers sooner, and tries what it does not know")
{
    Bench bench(kLatency, {1, 1});
    const auto answer = [&](std::uint32_t member, std::chrono::nanoseconds time) {
        bench.other->report_success(member, static_cast<loop::Nanos>(time.count()), bench.now);
    };
    answer(0, 10ms);
    CHECK(bench.shares(1000)[1] > 300); // not known: as quick as the other one
    answer(1, 30ms);
    CHECK(bench.shares(1000)[1] == 0);
    for (int i = 0; i < 3; ++i) {
        bench.upstream->begin_request(0);
    }
    CHECK(bench.shares(1000)[0] == 0); // four times 10 ms is more than 30
    for (int i = 0; i < 3; ++i) {
        bench.upstream->end_request(0);
    }
    for (int i = 0; i < 30; ++i) {
        bench.now += kSecond;
        answer(0, 10ms);
    }
    CHECK(bench.shares(1000)[1] > 400); // long ago: it may have become as quick
}

TEST_CASE("a server that has not been asked for long counts as quick as the quickest, never quicker: it gets its share, not all")
{
    for (const auto balance : {kLeast, kLatency, kRandom}) {
        for (const std::size_t servers : {3u, 20u}) { // all compared, or two of them
            Bench bench(balance, std::vector<std::uint32_t>(servers, 1));
            const auto answer_all = [&](std::uint32_t from) {
                for (std::uint32_t member = from; member < servers; ++member) {
                    for (int i = 0; i < 20; ++i) {
                        bench.upstream->report_success(member, 100'000'000, bench.now);
                    }
                }
            };
            answer_all(0);
            for (int second = 0; second < 60; ++second) {
                bench.now += kSecond;
                answer_all(1);
            }
            std::vector<std::uint32_t> in_flight(servers, 0);
            for (std::size_t i = 0; i < 10 * servers; ++i) {
                const std::uint32_t member = bench.upstream->choose({}, bench.now).member;
                bench.upstream->begin_request(member);
                ++in_flight[member];
            }
            CHECK(in_flight[0] >= 7);
            CHECK(in_flight[0] <= 13);
        }
    }
}

TEST_CASE("a slow server that nobody asked while nobody asked any stays slow")
{
    Bench bench(kLeast, {1, 1});
    for (int i = 0; i < 20; ++i) {
        bench.upstream->report_success(0, 1'000'000'000, bench.now);
        bench.upstream->report_success(1, 10'000'000, bench.now);
    }
    bench.now += 3600 * kSecond;
    CHECK(bench.choices(6) == "bbbbbb");
}

TEST_CASE("weights hold under load, whether all are compared or two, and one at a time")
{
    const auto fill = [](Bench& bench, int requests) {
        std::map<std::uint32_t, int> in_flight;
        for (int i = 0; i < requests; ++i) {
            const std::uint32_t member = bench.upstream->choose({}, bench.now).member;
            bench.upstream->begin_request(member);
            ++in_flight[member];
        }
        return in_flight;
    };
    for (const auto balance : {kLeast, kRandom, kLatency}) {
        Bench two(balance, {3, 1});
        CHECK(std::abs(fill(two, 400)[0] - 300) <= 20);
        std::vector<std::uint32_t> weights(20, 1);
        weights[0] = 20;
        Bench many(balance, weights);
        CHECK(std::abs(fill(many, 3900)[0] - 2000) <= 300);
        Bench idle(balance, {1, 1, 2});
        CHECK(std::abs(idle.shares(4000)[2] - 2000) <= 200);
        CHECK(std::abs(idle.shares(4000)[0] - 1000) <= 200);
    }
}

TEST_CASE("round_robin: what would have gone to a server that is out goes to all others alike")
{
    Bench bench(config::Balance::round_robin, {1, 1, 1, 1});
    bench.health(0).verdict = shm::Verdict::down;
    CHECK(bench.choices(9) == "bcdbcdbcd");
    bench.health(1).order = shm::ServerOrder::drain;
    std::map<std::uint32_t, int> shares = bench.shares(100);
    CHECK(shares[2] == 50);
    CHECK(shares[3] == 50);
    const std::uint64_t turns = bench.upstream->members()[0].entry->turns;
    bench.health(2).verdict = bench.health(3).verdict = shm::Verdict::down;
    bench.settings.panics = false;
    CHECK(bench.choices(4) == "----");
    CHECK(bench.upstream->members()[0].entry->turns == turns + 4); // nothing that is passed over without a choice counts
}

TEST_CASE("round_robin: of many servers, too, each gets its part of every round, evenly")
{
    std::vector<std::uint32_t> weights;
    for (std::uint32_t at = 0; at < 100; ++at) {
        weights.push_back(1 + at % 4);
    }
    Bench bench(config::Balance::round_robin, weights); // a round has 250 turns
    std::vector<int> last(weights.size(), -1);
    std::map<std::uint32_t, int> shares;
    for (int turn = 0; turn < 500; ++turn) {
        const std::uint32_t member = bench.upstream->choose({}, bench.now).member;
        ++shares[member];
        const int apart = last[member] < 0 ? 0 : turn - last[member];
        CHECK(apart <= 250 / static_cast<int>(weights[member]) + 40);
        last[member] = turn;
    }
    for (std::uint32_t at = 0; at < 100; ++at) {
        CHECK(shares[at] == 2 * static_cast<int>(weights[at]));
    }
}

TEST_CASE("in a panic clients stay where they are known")
{
    Bench bench(kLeast, {1, 1, 1});
    for (std::uint32_t member = 0; member < 3; ++member) {
        bench.health(member).verdict = shm::Verdict::down;
    }
    CHECK(bench.choices(6, 0, {std::nullopt, 1}) == "bbbbbb");
    CHECK(bench.choices(1, 0b010, {std::nullopt, 1}) != "b"); // it has failed this request
    bench.health(1).order = shm::ServerOrder::down;
    CHECK(bench.choices(6, 0, {std::nullopt, 1}).find('b') == std::string::npos);
}

TEST_CASE("least_busy: a server that takes ten times as long counts as ten times as busy; half as long again does not count")
{
    const auto answer = [](Bench& of, std::uint32_t member, std::chrono::nanoseconds time, int times = 1000) {
        for (int i = 0; i < times; ++i) {
            of.upstream->report_success(member, static_cast<loop::Nanos>(time.count()), of.now);
        }
    };
    Bench bench(kLeast, {1, 1});
    answer(bench, 0, 100ms);
    answer(bench, 1, 10ms);
    for (int in_flight = 0; in_flight < 9; ++in_flight) {
        CHECK(bench.choices(3) == "bbb");
        bench.upstream->begin_request(1);
    }
    bench.upstream->begin_request(1);
    CHECK(bench.choices(3) == "aaa");

    Bench alike(kLeast, {1, 1});
    answer(alike, 0, 15ms);
    answer(alike, 1, 10ms);
    CHECK(alike.shares(100)[0] == 50);
    Bench quick(kLeast, {1, 1});
    answer(quick, 0, 900us); // below a millisecond it is chance
    answer(quick, 1, 10us);
    CHECK(quick.shares(100)[0] == 50);
    Bench begun(kLeast, {1, 1});
    answer(begun, 0, 2s, 1); // the first answer of a cold server
    answer(begun, 1, 5ms);
    CHECK(begun.shares(100)[0] == 50);
}

TEST_CASE("of four servers one that takes ten times as long gets few requests, whatever looks at the load")
{
    for (const auto balance : {kLeast, kLatency}) {
        bench::Traffic traffic;
        traffic.balance = balance;
        traffic.servers.resize(4);
        traffic.servers[2].mean_ms = 100;
        traffic.per_second = 1920; // 80 % of the other three
        traffic.requests = 20'000;
        const bench::Figures figures = bench::Simulation(traffic).run();
        CHECK(figures.shares[2] < 5);
        CHECK(figures.shares[2] > 0);
        CHECK(figures.p99_ms < 120);
    }
}

TEST_CASE("a server that fails half of its requests at once draws no more of them for it")
{
    for (const auto balance : {kLeast, kLatency}) {
        bench::Traffic traffic;
        traffic.balance = balance;
        traffic.servers.resize(4);
        traffic.servers[0].failing = 0.5;
        traffic.per_second = 1600;
        traffic.requests = 20'000;
        CHECK(bench::Simulation(traffic).run().shares[0] < 15);
    }
}

TEST_CASE("sticky: the cookie's server is chosen while it works, also as it drains; else another one")
{
    for (const auto balance : {kLeast, config::Balance::round_robin, kHash}) {
        Bench bench(balance, {1, 1, 1});
        const Preference preference{key_number(1), 1};
        CHECK(bench.choices(3, 0, preference) == "bbb");
        bench.health(1).order = shm::ServerOrder::drain;
        CHECK(bench.choices(3, 0, preference) == "bbb");
        CHECK(bench.upstream->keeps_clients(1, bench.now));
        const auto elsewhere = [&] { return bench.choices(4, 0, preference).find('b') == std::string::npos; };
        bench.health(1).order = shm::ServerOrder::down;
        CHECK(elsewhere());
        CHECK_FALSE(bench.upstream->keeps_clients(1, bench.now));
        bench.health(1).order = shm::ServerOrder::none;
        bench.health(1).verdict = shm::Verdict::down;
        CHECK(elsewhere());
        bench.health(1).verdict = shm::Verdict::up;
        bench.health(1).out_until_ns = bench.now + 1;
        CHECK(elsewhere());
        bench.health(1).out_until_ns = 0;
        CHECK(bench.choices(1, 0b010, preference) != "b");
        bench.settings.servers[1].max_conn = 1;
        bench.other->begin_request(1);
        CHECK(elsewhere());
        CHECK(bench.upstream->keeps_clients(1, bench.now)); // full: its clients come back
    }
}

TEST_CASE("sticky: values are the same in all workers, name their own server alone, and are none without the key")
{
    Bench bench(kLeast, {1, 1});
    bench.settings.sticky_cookie = "srv";
    Upstream without(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    CHECK(without.members()[0].sticky.empty());
    CHECK_FALSE(without.find_sticky(""));
    shm::StickyKey& key = bench.arena.regions().sticky;
    key.bytes.fill(7);
    key.ready = 1;
    Upstream one(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    Upstream other(bench.settings, bench.other_servers, bench.arena.regions(), bench.other_row);
    const std::string value = one.members()[1].sticky;
    CHECK(value.size() == 20);
    CHECK(other.find_sticky(value) == 1);
    CHECK_FALSE(other.find_sticky(value.substr(1)));
    CHECK_FALSE(other.find_sticky("10.0.0.2:80"));
    key.bytes.fill(8);
    Upstream of_another_key(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    CHECK_FALSE(of_another_key.find_sticky(value));
    config::Upstream renamed = bench.settings;
    key.bytes.fill(7);
    renamed.name = "app2";
    for (const config::UpstreamServer& server : renamed.servers) {
        shm::find_or_assign_server(bench.arena.regions().servers, renamed.name, server.text);
    }
    Upstream of_another_name(renamed, bench.servers, bench.arena.regions(), bench.row);
    CHECK_FALSE(of_another_name.find_sticky(value));
}

namespace {

/// Two or more servers with agents; what those say is seen 100 ms later.
struct Agents : Bench {
    explicit Agents(config::Balance balance, const std::vector<std::uint32_t>& weights, std::uint32_t max_conn = 0)
        : Bench(balance, weights, max_conn)
    {
        settings.agent.emplace();
        upstream.emplace(settings, servers, arena.regions(), row);
    }
    void say(std::uint32_t member, const shm::AgentWord& word)
    {
        shm::add_agent_answer(health(member), word, "", now);
        now += kSecond / 10;
    }
};

constexpr shm::AgentWord kAgentDrains{shm::ServerOrder::drain, {}, {}, {}};
constexpr shm::AgentWord kAgentReady{shm::ServerOrder::none, {}, {}, {}};
constexpr shm::AgentWord kAgentMaint{shm::ServerOrder::down, {}, {}, {}};
constexpr shm::AgentWord kAgentDown{{}, shm::AgentState::stopped, {}, {}};
constexpr shm::AgentWord kAgentUp{{}, shm::AgentState::up, {}, {}};
constexpr shm::AgentWord kAgentIdle{{}, {}, 0, {}};

/// A word that keeps a server out, and what else it does.
struct Exclusion {
    shm::AgentWord word;
    bool keeps_clients;    ///< those that stick to it
    bool is_tried_in_need; ///< with every server out
};
constexpr Exclusion kExclusions[] = {
    {kAgentDrains, true, false}, {kAgentMaint, false, false}, {kAgentDown, false, true}, {kAgentIdle, true, true}};

} // namespace

TEST_CASE("agent: its percentage is a part of the weight, configured or ordered, for every method that goes by weights")
{
    for (const config::Balance method : {config::Balance::round_robin, kRandom, kLatency, kLeast}) {
        Agents bench(method, {2, 2});
        bench.say(0, {{}, {}, 25, {}});
        std::map<std::uint32_t, int> taken;
        for (int i = 0; i < 1000; ++i) { // held by least_busy, which else has nothing to go by
            const std::uint32_t member = bench.upstream->choose({}, bench.now).member;
            ++taken[member];
            if (method == kLeast) {
                bench.upstream->begin_request(member);
            }
        }
        const bool is_exact = method == config::Balance::round_robin || method == kLeast;
        CHECK_MESSAGE(std::abs(taken[0] - 200) <= (is_exact ? 2 : 60), static_cast<int>(method), " ", taken[0]);
        if (method == config::Balance::round_robin) {
            bench.health(0).weight = 8;
            bench.arena.regions().servers.orders.fetch_add(1);
            CHECK(bench.shares(1000)[0] == 500);
            bench.say(0, {{}, {}, 100, {}});
            CHECK(bench.shares(1000)[0] == 800);
        }
    }
}

TEST_CASE("agent: hash goes by the configured weights, so that no key moves with the load")
{
    Agents bench(kHash, {1, 1, 1});
    const std::vector<std::uint32_t> before = owners(bench, 3000);
    bench.say(0, {{}, {}, 10, {}});
    CHECK(owners(bench, 3000) == before);
    bench.say(0, kAgentIdle);
    CHECK(count(owners(bench, 3000), 0) == 0);
    bench.say(0, {{}, {}, 10, {}});
    CHECK(owners(bench, 3000) == before);
}

TEST_CASE(
    "agent: drain, maint, a state and 0% each take a server out, and clients that stick to it stay but for maint and the state")
{
    for (const Exclusion& one : kExclusions) {
        Agents bench(config::Balance::round_robin, {1, 1});
        bench.say(0, one.word);
        CHECK(bench.choices(4) == "bbbb");
        CHECK(bench.upstream->keeps_clients(0, bench.now) == one.keeps_clients);
        CHECK(bench.choices(1, 0, {{}, 0}) == (one.keeps_clients ? "a" : "b"));
        bench.say(0, {shm::ServerOrder::none, shm::AgentState::up, 100, {}});
        CHECK(bench.shares(10)[0] == 5);
    }
}

TEST_CASE("agent: with every server out what an agent finds is a guess and is tried, what it orders is not")
{
    for (const Exclusion& one : kExclusions) {
        for (const auto method : {kLeast, config::Balance::round_robin, kRandom}) {
            Agents bench(method, {1, 1});
            bench.say(0, one.word);
            bench.say(1, one.word);
            CHECK(bench.choices(4).find('-') == (one.is_tried_in_need ? std::string::npos : 0));
            bench.settings.panics = false;
            CHECK(bench.choices(4) == "----");
        }
    }
}

TEST_CASE("agent: operator, check and agent each keep a server out, and lift only what they did")
{
    Agents bench(config::Balance::round_robin, {1, 1});
    const auto is_in = [&] { return bench.choices(4) != "bbbb"; };
    bench.health(0).order = shm::ServerOrder::drain;
    bench.health(0).verdict = shm::Verdict::down;
    bench.say(0, {shm::ServerOrder::drain, shm::AgentState::down, {}, {}});
    bench.say(0, kAgentReady);
    bench.say(0, kAgentUp);
    CHECK_FALSE(is_in());
    bench.health(0).verdict = shm::Verdict::up;
    CHECK_FALSE(is_in()); // the operator's order
    bench.health(0).order = shm::ServerOrder::none;
    CHECK(is_in());
    bench.say(0, kAgentDrains);
    bench.health(0).order = shm::ServerOrder::down;
    bench.health(0).order = shm::ServerOrder::none;
    CHECK_FALSE(is_in()); // the agent's is still there
    bench.say(0, kAgentUp);
    CHECK_FALSE(is_in());
    bench.say(0, kAgentReady);
    CHECK(is_in());
}

TEST_CASE("agent: maxconn stands in place of max_conn, also where there was none, and 0 is no limit")
{
    Agents bench(config::Balance::first, {1, 1}, 1);
    bench.upstream->begin_request(0);
    CHECK(bench.choices(1) == "b");
    bench.say(0, {{}, {}, {}, 2});
    CHECK(bench.choices(1) == "a");
    bench.upstream->begin_request(0);
    CHECK(bench.choices(1) == "b");
    bench.say(0, {{}, {}, {}, 0});
    CHECK(bench.choices(1) == "a");
    Agents endless(config::Balance::first, {1, 1});
    endless.say(0, {{}, {}, {}, 1});
    endless.upstream->begin_request(0);
    CHECK(endless.choices(1) == "b");
}

TEST_CASE("agent: what is left of one that is no longer configured does not count")
{
    Agents bench(config::Balance::round_robin, {1, 1});
    bench.say(0, kAgentMaint);
    bench.settings.agent.reset();
    Upstream after(bench.settings, bench.servers, bench.arena.regions(), bench.row);
    bool is_used = false;
    for (int i = 0; i < 4; ++i) {
        is_used |= after.choose({}, bench.now).member == 0;
    }
    CHECK(is_used);
}

namespace {

/// Servers whose responses tell of their load; weights are made anew every second.
struct Reporters : Bench {
    explicit Reporters(config::Balance balance, const std::vector<std::uint32_t>& weights) : Bench(balance, weights)
    {
        settings.load_report.emplace();
        settings.load_report->blackout = 0s;
        upstream.emplace(settings, servers, arena.regions(), row);
    }
    void report(std::uint32_t member, double utilization, double rps)
    {
        CHECK(upstream->report_load(member, {utilization, rps, 0}, now));
        now += kSecond;
    }
};

} // namespace

TEST_CASE(
    "load report: weights follow what servers could do, compared with the one in the middle, for every method that goes by weights")
{
    for (const config::Balance method : {config::Balance::round_robin, kRandom, kLatency, kLeast}) {
        Reporters bench(method, {1, 1});
        bench.report(0, 0.9, 90); // 100 a second
        bench.report(1, 0.3, 90); // 300
        std::map<std::uint32_t, int> taken;
        for (int i = 0; i < 1000; ++i) {
            const std::uint32_t member = bench.upstream->choose({}, bench.now).member;
            ++taken[member];
            if (method == kLeast) {
                bench.upstream->begin_request(member);
            }
        }
        const bool is_exact = method == config::Balance::round_robin || method == kLeast;
        CHECK_MESSAGE(std::abs(taken[0] - 250) <= (is_exact ? 2 : 60), static_cast<int>(method), " ", taken[0]);
    }
}

TEST_CASE("load report: it scales the configured weight, and who has said nothing counts as the one in the middle")
{
    Reporters bench(config::Balance::round_robin, {2, 1, 1, 1});
    bench.report(0, 0.5, 50);  // 100
    bench.report(1, 0.5, 100); // 200: the middle
    bench.report(2, 0.5, 200); // 400
    CHECK(bench.upstream->share_of(0, bench.now) == 50);
    CHECK(bench.upstream->share_of(1, bench.now) == 100);
    CHECK(bench.upstream->share_of(2, bench.now) == 200);
    CHECK(bench.upstream->share_of(3, bench.now) == 100);
    auto shares = bench.shares(500);
    CHECK(shares[0] == 100);
    CHECK(shares[1] == 100);
    CHECK(shares[2] == 200);
    CHECK(shares[3] == 100);
    bench.now += 181 * kSecond; // all too old: as configured
    shares = bench.shares(500);
    CHECK(shares[0] == 200);
    CHECK(shares[2] == 100);
}

TEST_CASE("load report: a server that says nonsense gets ten times as much as the one in the middle at most, and a tenth at least")
{
    Reporters bench(config::Balance::round_robin, {1, 1, 1});
    bench.report(0, 0.5, 100);
    bench.report(1, 1e-9, 1e12);
    bench.report(2, 1e9, 1e-9);
    CHECK(bench.upstream->share_of(0, bench.now) == 100);
    CHECK(bench.upstream->share_of(1, bench.now) == 1000);
    CHECK(bench.upstream->share_of(2, bench.now) == 10);
    CHECK_FALSE(bench.upstream->report_load(0, {0.5, 0, 0}, bench.now)); // tells nothing: the one before stays
    CHECK(bench.upstream->share_of(0, bench.now) == 100);
}

TEST_CASE("load report: of two servers the one that says nonsense gets ten times as much at most")
{
    Reporters bench(config::Balance::round_robin, {1, 1});
    bench.report(0, 0.5, 100);
    bench.report(1, 1e-9, 1e12);
    CHECK(bench.upstream->share_of(0, bench.now) == 100);
    CHECK(bench.upstream->share_of(1, bench.now) == 1000);
}

TEST_CASE("round_robin: the lightest of all has a turn too, or it would not be there when the others are out")
{
    Bench bench(config::Balance::round_robin, {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1});
    for (std::uint32_t member = 0; member < 9; ++member) {
        bench.health(member).verdict = shm::Verdict::down;
    }
    CHECK(bench.choices(3) == "jjj");
}

TEST_CASE("load report: with an agent both count, and hash listens to neither")
{
    Reporters bench(config::Balance::round_robin, {1, 1});
    bench.settings.agent.emplace();
    bench.report(0, 0.5, 100);
    bench.report(1, 0.5, 100);
    shm::add_agent_answer(bench.health(0), {{}, {}, 50, {}}, "", bench.now);
    CHECK(bench.upstream->share_of(0, bench.now) == 50);
    Reporters keys(kHash, {1, 1, 1});
    const std::vector<std::uint32_t> before = owners(keys, 3000);
    keys.report(0, 0.9, 10);
    keys.report(1, 0.1, 1000);
    CHECK(owners(keys, 3000) == before);
}
