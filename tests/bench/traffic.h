// SPDX-License-Identifier: Apache-2.0
//
// Simulated traffic to one upstream: requests come at random (Poisson) to several workers in turn, each of which chooses with the
// real Upstream over one shared arena; each server works on so many at once and keeps others waiting, in order. Times are of the
// simulation, and the seed is fixed: two runs give the same figures. For tests/bench/policies and the unit tests.
#pragma once

#include "worker/upstream/upstream.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

namespace ladle::bench {

struct SimulatedServer {
    double mean_ms = 10;        ///< of the work, exponential
    double failing = 0;         ///< part of its requests that fail
    double failing_ms = 0.2;    ///< and how quickly
    std::uint32_t slots = 8;    ///< requests that it works on at once
};

struct Traffic {
    config::Balance balance = config::Balance::least_busy;
    std::vector<SimulatedServer> servers;
    double per_second = 2000;
    std::uint32_t requests = 100'000;
    std::uint32_t workers = 4;
};

struct Figures {
    double mean_ms = 0;
    double p99_ms = 0;
    std::vector<double> shares; ///< of the requests, percent
};

class Simulation {
public:
    explicit Simulation(const Traffic& traffic)
        : traffic_(traffic), arena_(std::move(*shm::Arena::make())), loop_(std::move(*loop::Loop::make()))
    {
        shm::Regions& regions = arena_.regions();
        regions.header.seed = 1;
        settings_.name = "app";
        settings_.balance = traffic.balance;
        settings_.eject.failures = 0; // that is another defence
        for (std::size_t i = 0; i < traffic.servers.size(); ++i) {
            config::UpstreamServer server;
            server.text = "10.0.0." + std::to_string(i + 1) + ":80";
            shm::find_or_assign_server(regions.servers, settings_.name, server.text);
            settings_.servers.push_back(server);
        }
        servers_.resize(traffic.servers.size());
        for (std::uint32_t i = 0; i < traffic.workers; ++i) {
            regions.rows[i].pid = i + 1;
            sets_.push_back(std::make_unique<worker::ServerSet>(*loop_, regions.rows[i]));
            workers_.push_back(std::make_unique<worker::Upstream>(settings_, *sets_.back(), regions, regions.rows[i]));
        }
    }

    Figures run()
    {
        for (std::uint32_t i = 0; i < traffic_.requests; ++i) {
            const loop::Nanos arrival = now_ + to_nanos(draw(1000 / traffic_.per_second));
            finish_until(arrival);
            now_ = arrival;
            arrive(i);
        }
        finish_until(~loop::Nanos{0});
        Figures out;
        std::sort(times_.begin(), times_.end());
        for (const double time : times_) {
            out.mean_ms += time / static_cast<double>(times_.size());
        }
        out.p99_ms = times_[times_.size() * 99 / 100];
        for (const State& server : servers_) {
            out.shares.push_back(100.0 * server.taken / traffic_.requests);
        }
        return out;
    }

private:
    struct Job {
        loop::Nanos arrival;
        loop::Nanos end;
        std::uint32_t worker;
        std::uint32_t server;
        bool fails;
        bool operator>(const Job& other) const noexcept { return end > other.end; }
    };
    struct State {
        std::deque<Job> waiting;
        std::uint32_t busy = 0;
        double taken = 0;
    };

    static loop::Nanos to_nanos(double ms) { return static_cast<loop::Nanos>(ms * 1e6); }
    /// Exponential.
    double draw(double mean) { return -mean * std::log(1 - uniform()); }
    double uniform() { return static_cast<double>(random_() >> 11) / 9007199254740992.0; }

    void arrive(std::uint32_t number)
    {
        const std::uint32_t worker = number % traffic_.workers;
        worker::Preference preference;
        preference.key = random_();
        const worker::Upstream::Choice choice = workers_[worker]->choose({}, now_, preference);
        workers_[worker]->begin_request(choice.member);
        State& server = servers_[choice.member];
        ++server.taken;
        const bool fails = uniform() < traffic_.servers[choice.member].failing;
        server.waiting.push_back({now_, 0, worker, choice.member, fails});
        start(server);
    }

    void start(State& server)
    {
        while (!server.waiting.empty()) {
            Job job = server.waiting.front();
            const SimulatedServer& kind = traffic_.servers[job.server];
            if (server.busy >= kind.slots) {
                return;
            }
            server.waiting.pop_front();
            ++server.busy;
            job.end = now_ + to_nanos(job.fails ? kind.failing_ms : draw(kind.mean_ms));
            under_way_.push(job);
        }
    }

    void finish_until(loop::Nanos time)
    {
        while (!under_way_.empty() && under_way_.top().end <= time) {
            const Job job = under_way_.top();
            under_way_.pop();
            now_ = job.end;
            --servers_[job.server].busy;
            worker::Upstream& worker = *workers_[job.worker];
            worker.end_request(job.server);
            if (job.fails) {
                worker.report_error(job.server, now_ - job.arrival, now_);
            } else {
                worker.report_success(job.server, now_ - job.arrival, now_);
            }
            times_.push_back(static_cast<double>(now_ - job.arrival) / 1e6);
            start(servers_[job.server]);
        }
    }

    const Traffic& traffic_;
    shm::Arena arena_;
    std::unique_ptr<loop::Loop> loop_;
    config::Upstream settings_;
    std::vector<std::unique_ptr<worker::ServerSet>> sets_;
    std::vector<std::unique_ptr<worker::Upstream>> workers_;
    std::vector<State> servers_;
    std::priority_queue<Job, std::vector<Job>, std::greater<>> under_way_;
    std::vector<double> times_;
    std::mt19937_64 random_{7};
    loop::Nanos now_ = 1'000'000'000'000;
};

} // namespace ladle::bench
