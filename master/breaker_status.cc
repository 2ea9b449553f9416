// SPDX-License-Identifier: Apache-2.0
#include "master/breaker_status.h"

#include "common/base/append.h"
#include "common/loop/loop.h"
#include "common/os/log.h"
#include "master/order_words.h"

#include <fmt/format.h>

namespace ladle::master {

namespace {

using nlohmann::json;

const char* name_of_phase(shm::BreakerPhase phase)
{
    switch (phase) {
    case shm::BreakerPhase::closed:
        return "closed";
    case shm::BreakerPhase::open:
        return "open";
    case shm::BreakerPhase::half_open:
        return "half_open";
    }
    return "?";
}

std::string why_opened(const shm::BreakerReading& reading)
{
    return reading.was_trial ? fmt::format("a trial failed: {}", name_of(reading.last))
                             : fmt::format("{} of {} requests failed, the last one: {}", reading.failures, reading.requests,
                                           name_of(reading.last));
}

std::string render_seconds(std::uint64_t ms)
{
    return fmt::format("{}.{} s", ms / 1000, ms % 1000 / 100);
}

} // namespace

void add_breaker(json& breakers, const shm::ServerTable& table, const config::Upstream& upstream)
{
    const int index = upstream.breaker ? shm::find_server(table, upstream.name, upstream.servers.front().text) : -1;
    if (index < 0) {
        return;
    }
    const loop::Nanos now = loop::clock_now();
    const shm::Breaker& breaker = table.entries[index].breaker;
    const shm::BreakerReading reading = shm::read_breaker(breaker, now);
    json j = {{"upstream", upstream.name}, {"state", name_of_phase(reading.phase)}, {"trials", upstream.breaker->trials}};
    if (reading.openings != 0) {
        j["for_ms"] = reading.age_ns / 1'000'000;
        j["openings_in_row"] = reading.openings;
        j["why"] = why_opened(reading);
    }
    if (reading.phase == shm::BreakerPhase::open) {
        const config::BreakerSettings& rules = *upstream.breaker;
        const auto shut = shm::time_shut(
            breaker, {rules.rate, rules.requests, rules.within, rules.time, rules.longest, rules.trials}, now);
        j["tries_in_ms"] = std::chrono::ceil<std::chrono::milliseconds>(shut).count();
    } else if (reading.phase == shm::BreakerPhase::half_open) {
        j["trials_good"] = reading.good;
    }
    breakers.push_back(std::move(j));
}

json order_breaker(shm::ServerTable& table, const config::Config& config, const json& request)
{
    const std::string name = text_of(request, "upstream");
    const config::Upstream* upstream = find_upstream(config, name);
    if (upstream == nullptr) {
        return refuse(fmt::format("there is no upstream \"{}\"", name));
    }
    const int index = upstream->breaker ? shm::find_server(table, name, upstream->servers.front().text) : -1;
    if (index < 0) {
        return refuse(fmt::format("upstream \"{}\" has no breaker", name));
    }
    if (text_of(request, "action") != "close") {
        return refuse("what about its breaker? close");
    }
    const bool was_open = shm::close_breaker(table.entries[index].breaker, loop::clock_now());
    if (was_open) {
        os::log(os::Level::info, "an order has closed the breaker", {{"upstream", name}});
    }
    return {{"ok", true},
            {"message", fmt::format("the breaker of upstream {}: {}", name, was_open ? "closed" : "it was closed already")}};
}

std::string render_breakers(const json& breakers)
{
    std::string out = breakers.empty() ? "" : "\nbreakers\n";
    for (const json& one : breakers) {
        const std::string state = one.value("state", "");
        std::string more;
        if (one.contains("for_ms")) {
            more += fmt::format(", for {}", render_seconds(one["for_ms"]));
        }
        if (one.contains("tries_in_ms")) {
            more += fmt::format(", tries again in {}", render_seconds(one["tries_in_ms"]));
        }
        if (one.contains("trials_good")) {
            more += fmt::format(", {} of {} trials ended well", one["trials_good"].get<std::uint32_t>(),
                                one["trials"].get<std::uint32_t>());
        }
        append(out, "  {:<28} {}{}\n", one["upstream"].get<std::string>(), state == "half_open" ? "half open" : state, more);
        if (one.contains("why")) {
            append(out, "  {:<30} {}{}\n", "", state == "closed" ? "was open: " : "", one["why"].get<std::string>());
        }
    }
    return out;
}

} // namespace ladle::master
