// SPDX-License-Identifier: Apache-2.0
#include "master/server_orders.h"

#include "common/loop/loop.h"
#include "common/config/server_changes.h"
#include "common/os/log.h"
#include "master/kept_file.h"
#include "master/order_words.h"

#include <fmt/format.h>

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace ladle::master {

using nlohmann::json;

void ServerOrders::open(std::string path)
{
    path_ = std::move(path);
    const auto text = read_kept_file(path_, "orders about servers");
    if (!text) {
        return;
    }
    const json saved = parse_json(*text);
    if (!saved.is_array()) {
        os::log(os::Level::warning, "orders about servers are lost: their file is damaged", {{"file", path_}});
        return;
    }
    for (const json& one : saved) {
        if (!one.is_object()) {
            continue;
        }
        const std::uint64_t order = number_of(one, "order", 0);
        const std::uint64_t weight = number_of(one, "weight", 0);
        if (orders_.size() < shm::kMaxServers && order <= static_cast<unsigned>(shm::ServerOrder::down) &&
            weight <= config::kMostServerWeight) {
            orders_[{text_of(one, "upstream"), text_of(one, "server")}] = {static_cast<shm::ServerOrder>(order),
                                                                           static_cast<std::uint32_t>(weight)};
        }
    }
}

void ServerOrders::close()
{
    orders_.clear();
    if (!path_.empty()) {
        ::unlink(path_.c_str());
    }
}

bool ServerOrders::save() const
{
    json all = json::array();
    for (const auto& [name, order] : orders_) {
        all.push_back({{"upstream", name.first},
                       {"server", name.second},
                       {"order", static_cast<unsigned>(order.order)},
                       {"weight", order.weight}});
    }
    return write_kept_file(path_, all.dump(1) + "\n");
}

void ServerOrders::put(shm::Regions& regions, const Name& name, const Order& order)
{
    const int index = shm::find_server(regions.servers, name.first, name.second);
    if (index < 0) {
        return;
    }
    shm::ServerHealth& health = regions.servers.entries[index].health;
    const bool was_out = health.order.load(std::memory_order_relaxed) != shm::ServerOrder::none;
    if (was_out && order.order == shm::ServerOrder::none) {
        // Whatever it was ejected for is the operator's to judge now; its share grows anew.
        health.out_until_ns.store(0, std::memory_order_relaxed);
        health.failures_in_row.store(0, std::memory_order_relaxed);
        health.slow_trials.store(0, std::memory_order_relaxed);
        health.connect_failures.store(0, std::memory_order_relaxed);
        health.back_ns.store(loop::clock_now(), std::memory_order_relaxed);
    }
    health.weight.store(order.weight, std::memory_order_relaxed);
    health.order.store(order.order, std::memory_order_relaxed);
}

void ServerOrders::apply(shm::Regions& regions, const config::Config& config) const
{
    for (const auto& [name, order] : orders_) {
        const config::Upstream* upstream = find_upstream(config, name.first);
        if (upstream != nullptr && has_server(*upstream, name.second)) {
            put(regions, name, order);
        }
    }
    regions.servers.orders.fetch_add(1, std::memory_order_release);
}

json ServerOrders::give(shm::Regions& regions, const config::Config& config, const json& request)
{
    const Name name{text_of(request, "upstream"), text_of(request, "server")};
    const std::string action = text_of(request, "action");
    const std::uint64_t weight = number_of(request, "weight", config::kMostServerWeight + 1);
    const config::Upstream* upstream = find_upstream(config, name.first);
    if (upstream == nullptr) {
        return refuse(fmt::format("there is no upstream \"{}\"", name.first));
    }
    if (!has_server(*upstream, name.second)) {
        return refuse(
            fmt::format("upstream \"{}\" has no server \"{}\"; it has {}", name.first, name.second, list_servers(*upstream)));
    }
    const auto known = orders_.find(name);
    Order order = known == orders_.end() ? Order{} : known->second;
    if (action == "drain") {
        order.order = shm::ServerOrder::drain;
    } else if (action == "down") {
        order.order = shm::ServerOrder::down;
    } else if (action == "resume" || action == "up") {
        order.order = shm::ServerOrder::none;
    } else if (action == "weight" && weight <= config::kMostServerWeight) {
        order.weight = static_cast<std::uint32_t>(weight);
    } else {
        return refuse("what about it? drain, down, resume, up, or weight with a number from 1 to 1000 (0: as configured)");
    }
    std::erase_if(orders_, [&](const auto& one) { // those of servers that are gone
        const config::Upstream* of = find_upstream(config, one.first.first);
        return of == nullptr || !has_server(*of, one.first.second);
    });
    orders_[name] = order;
    if (order.order == shm::ServerOrder::none && order.weight == 0) {
        orders_.erase(name);
    }
    put(regions, name, order);
    regions.servers.orders.fetch_add(1, std::memory_order_release);
    const bool is_saved = save();
    os::log(os::Level::info, "an order about a server",
            {{"upstream", name.first}, {"server", name.second}, {"action", action}, {"weight", order.weight}});
    return {{"ok", true},
            {"message", fmt::format("server {} of upstream {}: {}{}{}", name.second, name.first, action,
                                    action == "weight" ? fmt::format(" {}", order.weight) : "",
                                    is_saved ? ""
                                             : fmt::format(" (not kept over an upgrade: {} cannot be written: {})", path_,
                                                           strerrordesc_np(errno)))}};
}

} // namespace ladle::master
