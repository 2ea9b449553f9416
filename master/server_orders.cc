// SPDX-License-Identifier: Apache-2.0
#include "master/server_orders.h"

#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/os/log.h"
#include "common/os/memory_file.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

namespace ladle::master {

namespace {

using nlohmann::json;

constexpr std::size_t kMostFile = 4 << 20;
constexpr std::uint64_t kMostWeight = 1000;

json refuse(std::string message)
{
    return {{"ok", false}, {"message", std::move(message)}};
}

/// A member of whatever was written there; the fallback where it is missing, or something else.
std::string text_of(const json& from, const char* key)
{
    return from.contains(key) && from[key].is_string() ? from[key].get<std::string>() : std::string();
}
std::uint64_t number_of(const json& from, const char* key, std::uint64_t fallback)
{
    return from.contains(key) && from[key].is_number_unsigned() ? from[key].get<std::uint64_t>() : fallback;
}

/// The upstream of that name, or null.
const config::Upstream* find_upstream(const config::Config& config, const std::string& name)
{
    const auto at =
        std::find_if(config.upstreams.begin(), config.upstreams.end(), [&](const auto& one) { return one.name == name; });
    return at == config.upstreams.end() ? nullptr : &*at;
}

bool has_server(const config::Upstream& upstream, const std::string& text)
{
    return std::any_of(upstream.servers.begin(), upstream.servers.end(), [&](const auto& one) { return one.text == text; });
}

std::string list_servers(const config::Upstream& upstream)
{
    std::string out;
    for (const config::UpstreamServer& server : upstream.servers) {
        out += (out.empty() ? "" : ", ") + server.text;
    }
    return out;
}

bool write_all(int fd, const std::string& text)
{
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t written = ::write(fd, text.data() + at, text.size() - at);
        if (written <= 0) {
            return false;
        }
        at += static_cast<std::size_t>(written);
    }
    return true;
}

} // namespace

void ServerOrders::open(std::string path)
{
    path_ = std::move(path);
    const os::Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) {
        return;
    }
    struct stat found {};
    if (::fstat(file.get(), &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != ::geteuid()) {
        os::log(os::Level::warning, "orders about servers are not read: their file is another user's", {{"file", path_}});
        return;
    }
    const auto text = os::read_whole(file.get(), kMostFile);
    const json saved = text ? parse_json(*text) : json();
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
        if (orders_.size() < shm::kMaxServers && order <= static_cast<unsigned>(shm::ServerOrder::down) && weight <= kMostWeight) {
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
    const std::string fresh = path_ + ".new";
    ::unlink(fresh.c_str()); // what a crash has left, or somebody else
    const os::Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    return file && write_all(file.get(), all.dump(1) + "\n") && ::rename(fresh.c_str(), path_.c_str()) == 0;
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
    const std::uint64_t weight = number_of(request, "weight", kMostWeight + 1);
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
    } else if (action == "weight" && weight <= kMostWeight) {
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
