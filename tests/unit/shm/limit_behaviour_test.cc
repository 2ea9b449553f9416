// SPDX-License-Identifier: Apache-2.0
//
// What `adaptive` comes to, before simulated servers (limit_simulation.h).
#include "tests/unit/shm/limit_simulation.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace ladle;
using shm::ServerLimit;
using namespace std::chrono_literals;
using Told = LimitSimulation::Told;

TEST_CASE("limit: it comes to what the server can do, whatever that is, and the server has no queue of its own")
{
    for (const unsigned capacity : {3u, 8u, 20u, 100u}) {
        CAPTURE(capacity);
        LimitSimulation all(400, capacity, 20ms);
        all.is_limited = false;
        all.run(20s);
        CHECK(all.most == 400);
        LimitSimulation limited(400, capacity, 20ms);
        limited.run(30s);
        for (int i = 0; i < 6; ++i) {
            limited.run(10s);
            CHECK(limited.answered > 0.93 * all.answered / 2);
            const double greatest = 1.25 * capacity + 2 * std::sqrt(capacity) + 6;
            CHECK(limited.most <= greatest);
            CHECK(limited.mean_ms < 20 * (capacity < 5 ? 4 : 2));
        }
    }
}

TEST_CASE("limit: it follows a server that can do less, or more, than before")
{
    LimitSimulation server(400, 40, 20ms);
    server.run(20s);
    server.set(10, 20ms);
    server.run(20s);
    server.run(10s);
    CHECK(server.most <= 26);
    CHECK(server.answered > 4600); // of 5000
    server.set(80, 20ms);
    server.run(5s);
    server.run(10s);
    CHECK(server.answered > 36'000); // of 40 000
    CHECK(server.most <= 130);
}

TEST_CASE("limit: a server that takes longer for everything, whatever the load, is not kept small")
{
    LimitSimulation server(400, 40, 10ms);
    server.run(20s);
    server.set(40, 50ms);
    server.run(10s);
    server.run(10s);
    CHECK(server.answered > 7000); // of 8000
    server.set(40, 10ms);
    server.run(20s); // until it is measured again
    server.run(10s);
    CHECK(server.answered > 36'000); // of 40 000
    CHECK(server.most <= 70);
}

TEST_CASE("limit: a lucky window does not hold it down")
{
    LimitSimulation server(400, 40, 20ms);
    server.run(20s);
    for (int i = 0; i < 64; ++i) { // all at once something quick
        shm::add_limit_sample(server.limits[0], 100us, kLimitRules, limit_clock(kLimitStart + 20 * kLimitSecond));
    }
    server.run(2s);
    CHECK(server.answered > 3600); // of 4000; it is measured in this time
}

TEST_CASE("limit: a server that refuses quickly what is too much for it is not sent more for that")
{
    for (const Told told : {Told::nothing, Told::failure}) {
        CAPTURE(static_cast<int>(told));
        LimitSimulation server(200, 8, 50ms);
        server.shed_beyond = 16;
        server.shed_as = told;
        server.run(60s);
        CHECK(shm::read_limit(server.limits[0], server.rules).limit < 30);
        server.run(10s);
        CHECK(server.answered > 1450); // of 1600
    }
}

TEST_CASE("limit: an outage leaves the baseline as it was, and the server that comes back has no more than before")
{
    for (const auto outage : {5s, 30s, 120s}) {
        CAPTURE(outage.count());
        LimitSimulation server(200, 8, 50ms);
        server.run(60s);
        const double before = static_cast<double>(server.baseline().count());
        server.failing = 1;
        server.run(outage);
        CHECK(server.baseline().count() < 1.3 * before);
        CHECK(shm::current_limit(server.limits[0], server.rules) <= 6);
        server.failing = 0;
        server.run(10s);
        CHECK(server.most <= 24);
        CHECK(server.answered > 1400); // of 1600
    }
}

TEST_CASE("limit: what clients had patience for while the server hung is no baseline")
{
    for (const auto pause : {60s, 120s}) {
        CAPTURE(pause.count());
        LimitSimulation server(200, 8, 50ms);
        server.run(60s);
        server.patience = 5s;
        server.hangs = true;
        server.run(pause);
        CHECK(server.baseline() < 100ms);
        server.hangs = false;
        server.run(20s); // what piled up in it is done in this time
        server.run(20s);
        CHECK(server.most <= 24);
        CHECK(server.baseline() < 100ms);
        CHECK(server.answered > 2900); // of 3200
    }
}

TEST_CASE("limit: a part that fails whatever the load is does not hide that the rest is late")
{
    for (const double failing : {0.02, 0.5}) {
        CAPTURE(failing);
        LimitSimulation server(200, 8, 50ms);
        server.failing = failing;
        server.run(300s);
        CHECK(server.baseline() < 100ms);
        server.run(10s);
        CHECK(server.most <= 24);
    }
}

TEST_CASE("limit: several proxies before one server measure at the same time, and it has no queue of its own")
{
    for (const std::size_t proxies : {1u, 2u, 3u, 4u}) {
        for (const unsigned capacity : {30u, 100u}) {
            CAPTURE(proxies);
            CAPTURE(capacity);
            LimitSimulation server(2000, capacity, 50ms, proxies);
            server.skew = 10ms;
            server.run(60s);
            for (int i = 0; i < 24; ++i) {
                server.run(10s);
                CHECK(server.most <= 2.0 * capacity + 6 * std::sqrt(capacity * proxies)); // one alone has 1.5 × capacity
                CHECK(server.answered > 0.9 * 200 * capacity);
            }
        }
    }
}

TEST_CASE("limit: a small server with few clients is found, too: half of what is used is held to measure")
{
    for (const unsigned clients : {10u, 16u, 24u, 400u}) {
        CAPTURE(clients);
        LimitSimulation server(clients, 2, 50ms);
        server.run(120s);
        server.run(10s);
        CHECK(server.most <= 8);
        CHECK(server.answered > 370); // of 400
    }
}

TEST_CASE("limit: a server with little to do keeps its limit for when there is more")
{
    LimitSimulation server(400, 40, 20ms);
    server.run(30s);
    const std::uint32_t found = shm::current_limit(server.limits[0], server.rules);
    server.set_clients(2);
    server.run(60s);
    CHECK(shm::read_limit(server.limits[0], server.rules).limit > 0.7 * found);
    server.set_clients(400);
    server.run(1s);
    CHECK(server.answered > 1500); // of 2000
}

TEST_CASE("limit: a server that does one thing at a time has one or two at once, where `min` lets it")
{
    LimitSimulation server(20, 1, 50ms);
    server.rules.least = 1;
    server.run(400s);
    server.run(20s);
    CHECK(server.most <= 3);
    CHECK(server.mean_ms < 130);
    CHECK(server.answered > 380); // of 400
}

TEST_CASE("limit: a limit that has come to one grows again, however long answers take")
{
    for (const auto time : {50ms, 200ms, 400ms, 700ms}) {
        CAPTURE(time.count());
        LimitSimulation server(400, 30, time);
        server.rules.least = 1;
        server.run(60s);
        server.failing = 1;
        server.run(60s);
        server.failing = 0;
        CHECK(shm::current_limit(server.limits[0], server.rules) <= 2);
        server.run(600s);
        CHECK(shm::current_limit(server.limits[0], server.rules) > 15);
    }
}

TEST_CASE("limit: a server that is seldom asked is never held, so that many may come at once")
{
    ServerLimit limit{};
    std::mt19937_64 random(3);
    std::lognormal_distribution<double> ms(std::log(30.0), 0.7);
    std::uint64_t now = kLimitStart;
    for (int i = 0; i < 1000; ++i) {
        now += kLimitSecond;
        shm::note_unanswered(limit, 1 + i % 2);
        const std::chrono::nanoseconds time(static_cast<std::int64_t>(ms(random) * 1e6));
        shm::add_limit_sample(limit, time, kLimitRules, limit_clock(now));
        CHECK((i < 40 || shm::current_limit(limit, kLimitRules) >= 10));
    }
}

TEST_CASE("limit: clients that all leave while it is measured end that, and lower it")
{
    LimitSimulation server(200, 8, 50ms);
    server.run(60s);
    server.set(1, 300ms);
    server.patience = 2s;
    server.run(120s);
    server.run(30s);
    CHECK(server.most <= 12);
    CHECK(server.answered > 50); // of 100
}

TEST_CASE("limit: servers that give less than fifteen answers a minute are found, and get their limit")
{
    LimitSimulation server(10, 1, 5s);
    server.run(10h); // it begins with ten, of which each takes 50 s
    CHECK(server.baseline() > 4s);
    CHECK(server.baseline() < 15s);
    server.run(3600s);
    CHECK(server.most <= 5);
    CHECK(server.answered > 690); // of 720
}
