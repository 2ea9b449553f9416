// SPDX-License-Identifier: Apache-2.0
//
// One group of servers as two workers see it, over a shared arena; for the tests of balancing.
#pragma once

#include "worker/upstream/upstream.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ladle::worker {

inline Tried members_of(std::uint64_t bits)
{
    Tried tried;
    for (std::uint32_t at = 0; at < 64; ++at) {
        if ((bits >> at & 1u) != 0) {
            tried.add(at);
        }
    }
    return tried;
}

/// One group as two workers see it, over a shared arena.
struct Bench {
    Bench(config::Balance balance, const std::vector<std::uint32_t>& weights, std::uint32_t max_conn = 0)
        : arena(std::move(*shm::Arena::make())), loop(std::move(*loop::Loop::make())), row(arena.regions().rows[0]),
          other_row(arena.regions().rows[1]), servers(*loop, row), other_servers(*loop, other_row)
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
    std::string choices(int count, std::uint64_t tried = 0, const Preference& preference = {})
    {
        std::string text;
        for (int i = 0; i < count; ++i) {
            const Upstream::Choice choice = upstream->choose(members_of(tried), now, preference);
            text += choice.outcome == Upstream::Outcome::chosen     ? static_cast<char>('a' + choice.member)
                    : choice.outcome == Upstream::Outcome::all_full ? '='
                                                                    : '-';
        }
        return text;
    }

    shm::ServerHealth& health(std::uint32_t member) { return upstream->members()[member].entry->health; }
    /// How many of so many requests, one after the other, each member gets.
    std::map<std::uint32_t, int> shares(int count, const Preference& preference = {})
    {
        std::map<std::uint32_t, int> taken;
        for (int i = 0; i < count; ++i) {
            ++taken[upstream->choose({}, now, preference).member];
        }
        return taken;
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

} // namespace ladle::worker
