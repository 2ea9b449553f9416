// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_limit.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <queue>
#include <random>
#include <thread>
#include <vector>

using namespace ladle;
using namespace std::chrono_literals;
using shm::LimitChange;
using shm::LimitPhase;
using shm::LimitRules;
using shm::LimitState;
using shm::ServerLimit;

namespace {

constexpr LimitRules kLimitRules{4, 1000, 25};
constexpr std::uint64_t kLimitStart = 50'000'000'000'000;
constexpr std::uint64_t kLimitSecond = 1'000'000'000;

/// In the middle of things: 100, of answers that take 8 ms without waiting, measured just now.
LimitState steady(double limit = 100)
{
    LimitState state;
    state.limit = limit;
    state.baseline = shm::level_of(8ms);
    state.phase = LimitPhase::steady;
    state.starts = false;
    state.mark = static_cast<std::uint32_t>(2 * std::log2(limit));
    state.measured = static_cast<std::uint32_t>(kLimitStart >> 30 & 0x7ff);
    return state;
}

double limit_after(const LimitState& before, std::chrono::nanoseconds time, std::uint32_t most)
{
    return shm::next_limit(before, {shm::level_of(time), most}, kLimitRules, kLimitStart).limit;
}

/// A server that works on so many at a time, and clients who ask again as soon as they are answered; the rest waits for the limit.
class Simulation {
public:
    Simulation(unsigned clients, unsigned capacity, std::chrono::nanoseconds time, bool is_limited = true)
        : capacity_(capacity), time_(time), outside_(clients), is_limited_(is_limited)
    {
    }

    void set(unsigned capacity, std::chrono::nanoseconds time)
    {
        capacity_ = capacity;
        time_ = time;
    }
    /// Runs for so long; what was seen in it.
    void run(std::chrono::nanoseconds length)
    {
        const std::uint64_t until = now_ + static_cast<std::uint64_t>(length.count());
        answered = 0;
        most = 0;
        double total = 0;
        for (;;) {
            send();
            if (running_.empty() || running_.top().end > until) {
                break;
            }
            now_ = running_.top().end;
            const std::uint64_t sent = running_.top().sent;
            running_.pop();
            begin();
            const std::chrono::nanoseconds took(now_ - sent);
            total += std::chrono::duration<double, std::milli>(took).count();
            ++answered;
            ++outside_;
            shm::add_limit_sample(limit, took, kLimitRules, now_);
        }
        now_ = until;
        mean_ms = answered == 0 ? 0 : total / answered;
    }

    ServerLimit limit{};
    unsigned answered = 0;
    std::size_t most = 0; ///< at the server at once
    double mean_ms = 0;

private:
    struct Running {
        std::uint64_t end;
        std::uint64_t sent;
        bool operator<(const Running& other) const { return end > other.end; }
    };

    void send()
    {
        while (outside_ > 0 && (!is_limited_ || running_.size() + waiting_.size() < shm::current_limit(limit, kLimitRules))) {
            --outside_;
            waiting_.push_back(now_);
            begin();
            shm::note_unanswered(limit, static_cast<std::uint32_t>(running_.size() + waiting_.size()));
            most = std::max(most, running_.size() + waiting_.size());
        }
    }
    void begin()
    {
        std::uniform_real_distribution<double> spread(0.5, 1.5);
        while (!waiting_.empty() && running_.size() < capacity_) {
            const auto takes = static_cast<std::uint64_t>(static_cast<double>(time_.count()) * spread(random_));
            running_.push({now_ + takes, waiting_.front()});
            waiting_.pop_front();
        }
    }

    std::mt19937_64 random_{7};
    std::uint64_t now_ = kLimitStart;
    unsigned capacity_;
    std::chrono::nanoseconds time_;
    unsigned outside_;
    bool is_limited_;
    std::priority_queue<Running> running_;
    std::deque<std::uint64_t> waiting_;
};

} // namespace

TEST_CASE("limit: the gradient's steps are those that the formula gives by hand")
{
    CHECK(limit_after(steady(), 8ms, 100) == doctest::Approx(110));      // 100 × 1 + √100
    CHECK(limit_after(steady(), 4ms, 100) == doctest::Approx(110));      // no more for being quicker
    CHECK(limit_after(steady(), 10ms, 100) == doctest::Approx(110));     // 25 % longer is tolerated
    CHECK(limit_after(steady(), 16ms, 100) == doctest::Approx(72.5));    // 100 × 1.25 × 8/16 + 10
    CHECK(limit_after(steady(), 12'500us, 100) == doctest::Approx(90));  // 100 × 1.25 × 8/12.5 + 10
    CHECK(limit_after(steady(), 100ms, 100) == doctest::Approx(60));     // never less than half, and 10
    CHECK(limit_after(steady(25), 8ms, 25) == doctest::Approx(30));
    CHECK(limit_after(steady(4), 100ms, 4) == doctest::Approx(4));
    CHECK(limit_after(steady(6), 100ms, 6) == doctest::Approx(5.449).epsilon(0.001));
    CHECK(limit_after(steady(990), 8ms, 990) == doctest::Approx(1000)); // the greatest
}

TEST_CASE("limit: it does not grow while less than half of it is used, and shrinks all the same")
{
    CHECK(limit_after(steady(), 8ms, 49) == doctest::Approx(100));
    CHECK(limit_after(steady(), 8ms, 50) == doctest::Approx(110));
    CHECK(limit_after(steady(), 16ms, 1) == doctest::Approx(72.5));
}

TEST_CASE("limit: it grows by half a window until answers first take longer")
{
    LimitState state = steady(20);
    state.starts = true;
    state = shm::next_limit(state, {shm::level_of(8ms), 20}, kLimitRules, kLimitStart);
    CHECK(state.limit == doctest::Approx(30));
    CHECK(state.starts);
    state = shm::next_limit(state, {shm::level_of(20ms), 30}, kLimitRules, kLimitStart);
    CHECK(state.limit == doctest::Approx(30 * 0.5 + std::sqrt(30)));
    CHECK_FALSE(state.starts);
    const double limit = state.limit;
    state = shm::next_limit(state, {shm::level_of(8ms), 20}, kLimitRules, kLimitStart);
    CHECK(state.limit == doctest::Approx(limit + std::sqrt(limit)));
}

TEST_CASE("limit: a quicker window pulls the baseline an eighth of the way, a slower one does not")
{
    const double eight = shm::level_of(8ms);
    const auto baseline_after = [](std::chrono::nanoseconds time) {
        return shm::next_limit(steady(), {shm::level_of(time), 100}, kLimitRules, kLimitStart).baseline;
    };
    CHECK(baseline_after(4ms) == doctest::Approx(eight - 0.125));
    CHECK(baseline_after(32ms) == doctest::Approx(eight));
}

TEST_CASE("limit: the baseline is measured again after ten seconds, or when the limit has about halved")
{
    const auto after = [](const LimitState& state, std::chrono::nanoseconds time, std::uint64_t passed) {
        return shm::next_limit(state, {shm::level_of(time), 100}, kLimitRules, kLimitStart + passed);
    };
    CHECK(after(steady(), 9'500us, 8 * kLimitSecond).phase == LimitPhase::steady);
    CHECK(after(steady(), 9'500us, 12 * kLimitSecond).phase == LimitPhase::draining);
    LimitState state = steady();
    state.baseline = shm::level_of(1s);
    CHECK(after(state, 1200ms, 12 * kLimitSecond).phase == LimitPhase::steady); // 40 answers long
    CHECK(after(state, 1200ms, 60 * kLimitSecond).phase == LimitPhase::draining);
    // Where answers take no longer than that nobody waits, and nothing has to be measured.
    state = after(steady(), 8500us, 12 * kLimitSecond);
    CHECK(state.phase == LimitPhase::steady);
    CHECK(after(state, 9'500us, 20 * kLimitSecond).phase == LimitPhase::steady);
    CHECK(after(state, 9'500us, 24 * kLimitSecond).phase == LimitPhase::draining);
    state = after(steady(), 12'500us, 0); // 90
    CHECK(state.phase == LimitPhase::steady);
    state = after(state, 100ms, 0);
    CHECK(state.phase == LimitPhase::draining);
    const double limit = state.limit;
    CHECK(limit == doctest::Approx(90 * 0.5 + std::sqrt(90)));
    state = after(state, 500ms, 0); // what had piled up
    CHECK(state.phase == LimitPhase::measuring);
    CHECK(state.baseline == doctest::Approx(shm::level_of(8ms)));
    state = after(state, 40ms, kLimitSecond);
    CHECK(state.phase == LimitPhase::steady);
    CHECK(state.baseline == doctest::Approx(shm::level_of(40ms)));
    CHECK(state.limit == limit);
    // It was another one than before: the next measurement comes sooner.
    CHECK(after(state, 47ms, 5 * kLimitSecond).phase == LimitPhase::draining);
    CHECK(after(steady(), 9'500us, 5 * kLimitSecond).phase == LimitPhase::steady);
}

TEST_CASE("limit: a window has sixteen samples at least, 100 ms, and twice what an answer takes")
{
    const auto samples_until_news = [](std::chrono::nanoseconds time, std::uint64_t every) {
        ServerLimit limit{};
        for (unsigned count = 1; count < 100'000; ++count) {
            shm::add_limit_sample(limit, time, kLimitRules, kLimitStart + count * every);
            if (limit.state != 0) {
                return count;
            }
        }
        return 0u;
    };
    CHECK(samples_until_news(1ms, kLimitSecond / 100) == 16);
    CHECK(samples_until_news(1ms, kLimitSecond / 1000) == doctest::Approx(101).epsilon(0.02));
    CHECK(samples_until_news(100ms, kLimitSecond / 1000) == doctest::Approx(201).epsilon(0.02));
    CHECK(samples_until_news(1ms, kLimitSecond / 100'000) == doctest::Approx(10'000).epsilon(0.02)); // more than are counted
    CHECK(samples_until_news(1ms, kLimitSecond * 5) == 0);                                          // from before a pause
}

TEST_CASE("limit: while the baseline is measured half of it holds; clear_limit begins anew")
{
    ServerLimit limit{};
    CHECK(shm::current_limit(limit, kLimitRules) == 10);
    CHECK(shm::current_limit(limit, {4, 6, 25}) == 3);
    CHECK(shm::read_limit(limit, kLimitRules).limit == 20);
    std::uint64_t now = kLimitStart;
    const auto add = [&](int windows) {
        for (int i = 0; i < 16 * windows; ++i) {
            shm::note_unanswered(limit, 20);
            shm::add_limit_sample(limit, 8ms, kLimitRules, now += kLimitSecond / 100);
        }
    };
    add(1);
    CHECK(shm::read_limit(limit, kLimitRules).phase == LimitPhase::measuring);
    CHECK(shm::current_limit(limit, kLimitRules) == 10);
    add(1);
    CHECK(shm::current_limit(limit, kLimitRules) == 20);
    CHECK(shm::read_limit(limit, kLimitRules).baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
    add(1);
    CHECK(shm::current_limit(limit, kLimitRules) == 30);
    CHECK(shm::current_limit(limit, {4, 25, 25}) == 25); // a max_conn that came later
    shm::clear_limit(limit);
    CHECK(shm::current_limit(limit, kLimitRules) == 10);
    CHECK(shm::read_limit(limit, kLimitRules).baseline == 0);
}

TEST_CASE("limit: failures count as slow answers once it is known how long answers take")
{
    ServerLimit limit{};
    std::uint64_t now = kLimitStart;
    for (int i = 0; i < 100; ++i) {
        CHECK(shm::add_limit_failure(limit, 0ns, kLimitRules, now += kLimitSecond / 100) == LimitChange::none);
    }
    CHECK(limit.window == 0);
    for (int i = 0; i < 32; ++i) {
        shm::add_limit_sample(limit, 8ms, kLimitRules, now += kLimitSecond / 100);
    }
    LimitChange change = LimitChange::none;
    for (int i = 0; i < 16; ++i) {
        change = shm::add_limit_failure(limit, 0ns, kLimitRules, now += kLimitSecond / 100);
    }
    CHECK(change == LimitChange::lowered);
    CHECK(shm::read_limit(limit, kLimitRules).limit == doctest::Approx(20 * 0.5 + std::sqrt(20)).epsilon(0.01));
}

TEST_CASE("limit: it comes to what the server can do, whatever that is, and the server has no queue of its own")
{
    for (const unsigned capacity : {3u, 8u, 20u, 100u}) {
        CAPTURE(capacity);
        Simulation all(400, capacity, 20ms, false);
        all.run(20s);
        CHECK(all.most == 400);
        Simulation limited(400, capacity, 20ms);
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
    Simulation server(400, 40, 20ms);
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
    Simulation server(400, 40, 10ms);
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
    Simulation server(400, 40, 20ms);
    server.run(20s);
    for (int i = 0; i < 64; ++i) { // all at once something quick
        shm::add_limit_sample(server.limit, 100us, kLimitRules, kLimitStart + 20 * kLimitSecond);
    }
    server.run(2s);
    CHECK(server.answered > 3900); // of 4000
}

TEST_CASE("limit: threads that add samples at once leave no more than what one would")
{
    ServerLimit limit{};
    std::vector<std::thread> threads;
    for (std::uint64_t worker = 0; worker < 4; ++worker) {
        threads.emplace_back([&limit, worker] {
            for (std::uint64_t i = 0; i < 20'000; ++i) {
                shm::note_unanswered(limit, 10);
                shm::add_limit_sample(limit, 8ms, kLimitRules, kLimitStart + i * 100'000 + worker);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    // 2 s: no more than twenty windows, of which the limit grew in those before it was no longer used.
    const LimitState state = shm::read_limit(limit, kLimitRules);
    CHECK(state.limit <= 31);
    CHECK(state.baseline == doctest::Approx(shm::level_of(8ms)).epsilon(0.001));
}

TEST_CASE("limit: a worker that dies between a window's end and the next limit costs that window alone")
{
    ServerLimit limit{};
    std::uint64_t now = kLimitStart;
    const auto add = [&](int samples) {
        for (int i = 0; i < samples; ++i) {
            shm::note_unanswered(limit, 20);
            shm::add_limit_sample(limit, 8ms, kLimitRules, now += kLimitSecond / 100);
        }
    };
    add(32);
    REQUIRE(shm::current_limit(limit, kLimitRules) == 20);
    add(15);
    limit.window = 0; // taken, and nothing came of it
    add(15);
    CHECK(shm::current_limit(limit, kLimitRules) == 20);
    add(1);
    CHECK(shm::current_limit(limit, kLimitRules) == 30);
}
