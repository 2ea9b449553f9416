// SPDX-License-Identifier: Apache-2.0
//
// What each balancing method makes of the same simulated traffic: the mean and the 99th percentile of the time that requests
// take, and each server's share of them. Four servers of eight slots and 10 ms, four workers; then the same with one that takes
// 100 ms, and with one that fails half of its requests at once.
//
//   policies [REQUESTS]
#include "tests/bench/traffic.h"

#include <cstdio>
#include <cstdlib>

using namespace ladle;

namespace {

struct Method {
    config::Balance balance;
    const char* name;
};

constexpr Method kMethods[] = {
    {config::Balance::least_busy, "least_busy"}, {config::Balance::round_robin, "round_robin"}, {config::Balance::random, "random"},
    {config::Balance::latency, "latency"},       {config::Balance::hash, "hash"},
};

struct Scene {
    const char* name;
    bench::SimulatedServer first;
    double per_second;
};

// 80 % of what the servers of a scene can do, or of the three good ones where one is sick.
constexpr Scene kScenes[] = {
    {"four equal servers", {}, 2560},
    {"one takes ten times as long", {100, 0, 0.2, 8}, 1920},
    {"one fails half of its requests at once", {10, 0.5, 0.2, 8}, 1920},
};

} // namespace

int main(int count, char** arguments)
{
    const auto requests = static_cast<std::uint32_t>(count > 1 ? std::atol(arguments[1]) : 300'000);
    for (const Scene& scene : kScenes) {
        std::printf("%s, %.0f requests/s\n", scene.name, scene.per_second);
        for (const Method& method : kMethods) {
            bench::Traffic traffic;
            traffic.balance = method.balance;
            traffic.servers.resize(4);
            traffic.servers[0] = scene.first;
            traffic.per_second = scene.per_second;
            traffic.requests = requests;
            const bench::Figures figures = bench::Simulation(traffic).run();
            std::printf("  %-12s mean %8.1f ms, p99 %8.1f ms, shares", method.name, figures.mean_ms, figures.p99_ms);
            for (const double share : figures.shares) {
                std::printf(" %5.1f", share);
            }
            std::printf(" %%\n");
        }
    }
    return 0;
}
