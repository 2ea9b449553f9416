// SPDX-License-Identifier: Apache-2.0
//
// What the choice of a server costs with each method: the time of choose() and of what counts the request and its answer, with so
// many servers, some of them out, and eight processes' rows.
//
//   choose [SERVERS [OUT]]
#include "common/loop/loop.h"
#include "worker/upstream/upstream.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

using namespace ladle;

int main(int count, char** arguments)
{
    const long servers = count > 1 ? std::atol(arguments[1]) : 100;
    const long out = count > 2 ? std::atol(arguments[2]) : 0;
    shm::Arena arena = std::move(*shm::Arena::make());
    const auto loop = std::move(*loop::Loop::make());
    for (unsigned row = 0; row < 8; ++row) {
        arena.regions().rows[row].pid = row + 1;
    }
    arena.regions().rows_end = 8;
    config::Upstream settings;
    settings.name = "app";
    for (long i = 0; i < servers; ++i) {
        config::UpstreamServer server;
        server.text = "10.0.0.1:" + std::to_string(i + 1);
        settings.servers.push_back(server);
        const int index = shm::find_or_assign_server(arena.regions().servers, settings.name, server.text);
        arena.regions().servers.entries[index].health.verdict = i < out ? shm::Verdict::down : shm::Verdict::up;
    }
    worker::ServerSet set(*loop, arena.regions().rows[0]);
    constexpr std::pair<config::Balance, const char*> kMethods[] = {
        {config::Balance::least_busy, "least_busy"}, {config::Balance::round_robin, "round_robin"},
        {config::Balance::random, "random"},         {config::Balance::latency, "latency"},
        {config::Balance::first, "first"},           {config::Balance::hash, "hash"},
    };
    for (const auto& [balance, name] : kMethods) {
        settings.balance = balance;
        worker::Upstream upstream(settings, set, arena.regions(), arena.regions().rows[0]);
        constexpr int kTimes = 1'000'000;
        unsigned chosen = 0;
        const loop::Nanos begin = loop::clock_now();
        for (int i = 0; i < kTimes; ++i) {
            const std::uint64_t key = static_cast<std::uint64_t>(i) * 0x9E3779B97F4A7C15;
            const worker::Upstream::Choice choice = upstream.choose({}, begin, {key, {}});
            upstream.begin_request(choice.member);
            chosen += choice.member;
            upstream.end_request(choice.member);
            upstream.report_success(choice.member, 5'000'000, begin);
        }
        const double each = static_cast<double>(loop::clock_now() - begin) / kTimes;
        std::printf("%-11s of %ld servers, %ld out: %.0f ns (%u)\n", name, servers, out, each, chosen);
    }
    return 0;
}
