// SPDX-License-Identifier: Apache-2.0
//
// A server that works on so many requests at a time, one or several proxies before it that each find its limit for themselves, and
// clients of theirs who ask again as soon as they are answered; what is past a limit waits outside. For the tests of `adaptive`.
#pragma once

#include "common/shm/server_limit.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <queue>
#include <random>
#include <vector>

namespace ladle {

inline constexpr shm::LimitRules kLimitRules{4, 1000, 25};
inline constexpr std::uint64_t kLimitSecond = 1'000'000'000;
inline constexpr std::uint64_t kLimitStart = 50'000'000'000'000; ///< a full ten seconds of the simulated wall clock, too

/// The moment, as both clocks show it: here they are the same.
inline shm::LimitClock limit_clock(std::uint64_t now_ns) noexcept
{
    return {now_ns, now_ns};
}

class LimitSimulation {
public:
    /// What comes of a request that the server does not work on.
    enum class Told : std::uint8_t { sample, nothing, failure };

    LimitSimulation(unsigned clients, unsigned capacity, std::chrono::nanoseconds time, std::size_t proxies = 1)
        : proxies_(proxies), capacity_(capacity), time_(time), outside_(proxies)
    {
        set_clients(clients);
    }

    void set(unsigned capacity, std::chrono::nanoseconds time)
    {
        capacity_ = capacity;
        time_ = time;
    }
    /// So many, the same of each proxy.
    void set_clients(unsigned clients)
    {
        for (std::size_t i = 0; i < proxies_; ++i) {
            const auto own = static_cast<long>(clients / proxies_ + (i < clients % proxies_ ? 1 : 0));
            outside_[i] += own - clients_[i];
            clients_[i] = own;
        }
    }
    /// Runs for so long; what was seen in it.
    void run(std::chrono::nanoseconds length)
    {
        const std::uint64_t until = now_ + static_cast<std::uint64_t>(length.count());
        answered = 0;
        most = at_server_;
        double total = 0;
        for (;;) {
            send();
            if (events_.empty() || events_.top().at > until) {
                break;
            }
            const Event event = events_.top();
            events_.pop();
            now_ = event.at;
            total += take(event);
        }
        now_ = until;
        mean_ms = answered == 0 ? 0 : total / answered;
    }
    std::chrono::nanoseconds baseline(std::size_t proxy = 0) const
    {
        return shm::time_of_level(shm::read_limit(limits[proxy], rules).baseline);
    }

    std::array<shm::ServerLimit, 4> limits{}; ///< of the proxies
    shm::LimitRules rules = kLimitRules;
    bool is_limited = true;
    std::size_t shed_beyond = ~std::size_t{0}; ///< those at the server at once; the others it refuses after 2 ms
    Told shed_as = Told::failure;
    double failing = 0;                    ///< the part that it refuses whatever the load is
    bool hangs = false;                    ///< it begins nothing
    std::chrono::nanoseconds skew{0};      ///< that the wall clock of each proxy is before the next one's
    std::chrono::nanoseconds patience{0};  ///< of clients; 0 = endless. The server does not see that they leave
    unsigned answered = 0;
    std::size_t most = 0; ///< at the server at once
    double mean_ms = 0;

private:
    enum class What : std::uint8_t { done, refused, leaves };
    struct Event {
        std::uint64_t at;
        What what;
        std::size_t request;
        bool operator<(const Event& other) const { return at > other.at; }
    };
    struct Sent {
        std::uint64_t at;
        std::size_t proxy;
        bool is_over = false; ///< for its client
    };

    void send()
    {
        for (bool sent = true; sent;) {
            sent = false;
            for (std::size_t i = 0; i < proxies_; ++i) {
                if (outside_[i] > 0 && (!is_limited || unanswered_[i] < shm::current_limit(limits[i], rules))) {
                    send_from(i);
                    sent = true;
                }
            }
        }
        begin();
    }
    void send_from(std::size_t proxy)
    {
        const std::size_t id = sent_.size();
        sent_.push_back({now_, proxy});
        --outside_[proxy];
        ++unanswered_[proxy];
        shm::note_unanswered(limits[proxy], static_cast<std::uint32_t>(unanswered_[proxy]));
        if (at_server_ >= shed_beyond || std::uniform_real_distribution<double>(0, 1)(random_) < failing) {
            events_.push({now_ + 2'000'000, What::refused, id});
            return;
        }
        ++at_server_;
        most = std::max(most, at_server_);
        waiting_.push_back(id);
        if (patience.count() > 0) {
            events_.push({now_ + static_cast<std::uint64_t>(patience.count()), What::leaves, id});
        }
    }
    void begin()
    {
        std::uniform_real_distribution<double> spread(0.5, 1.5);
        while (!hangs && !waiting_.empty() && running_ < capacity_) {
            const auto takes = static_cast<std::uint64_t>(static_cast<double>(time_.count()) * spread(random_));
            events_.push({now_ + takes, What::done, waiting_.front()});
            waiting_.pop_front();
            ++running_;
        }
    }
    /// How long it took in ms, where it is an answer.
    double take(const Event& event)
    {
        Sent& request = sent_[event.request];
        if (event.what == What::done) {
            --running_;
            --at_server_;
        }
        if (request.is_over) {
            return 0;
        }
        request.is_over = true;
        ++outside_[request.proxy];
        --unanswered_[request.proxy];
        const std::chrono::nanoseconds took(now_ - request.at);
        shm::ServerLimit& limit = limits[request.proxy];
        const shm::LimitClock clock{now_, now_ + request.proxy * static_cast<std::uint64_t>(skew.count())};
        if (event.what == What::leaves) {
            shm::add_limit_abandoned(limit, took, rules, clock);
            return 0;
        }
        if (event.what == What::refused && shed_as != Told::sample) {
            if (shed_as == Told::failure) {
                shm::add_limit_failure(limit, rules, clock);
            }
            return 0;
        }
        shm::add_limit_sample(limit, took, rules, clock);
        answered += event.what == What::done ? 1 : 0;
        return event.what == What::done ? std::chrono::duration<double, std::milli>(took).count() : 0;
    }

    std::mt19937_64 random_{7};
    std::uint64_t now_ = kLimitStart;
    std::size_t proxies_;
    unsigned capacity_;
    std::chrono::nanoseconds time_;
    std::vector<long> outside_;           ///< clients of each proxy that wait for its limit; below 0 = some are to go
    std::array<long, 4> clients_{};
    std::array<std::size_t, 4> unanswered_{};
    std::size_t at_server_ = 0;
    std::size_t running_ = 0;
    std::vector<Sent> sent_;
    std::deque<std::size_t> waiting_;
    std::priority_queue<Event> events_;
};

} // namespace ladle
