// SPDX-License-Identifier: Apache-2.0
#include "master/server_status.h"

#include "common/base/append.h"
#include "common/loop/loop.h"
#include "common/shm/server_agent.h"
#include "common/shm/server_load.h"
#include "common/shm/server_slowness.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace ladle::master {

namespace {

using nlohmann::json;

std::uint64_t ms_since(std::uint64_t then, loop::Nanos now)
{
    return then != 0 && now > then ? (now - then) / 1'000'000 : 0;
}

std::uint64_t ms_until(std::uint64_t then, loop::Nanos now)
{
    return then > now ? (then - now) / 1'000'000 : 0;
}

/// The newest first.
json ends_to_json(std::uint64_t recent)
{
    json last = json::array();
    for (unsigned i = 0; i < 8; ++i) {
        const auto end = static_cast<shm::CheckEnd>(recent >> (8 * i) & 0xff);
        if (end != shm::CheckEnd::none) {
            last.push_back(name_of(end));
        }
    }
    return last;
}

json check_to_json(const shm::ServerHealth& health, loop::Nanos now)
{
    const shm::Verdict verdict = health.verdict.load(std::memory_order_relaxed);
    json j = {{"verdict", verdict == shm::Verdict::up     ? "up"
                          : verdict == shm::Verdict::down ? "down"
                                                          : "unknown"},
              {"last", ends_to_json(health.recent.load(std::memory_order_relaxed))},
              {"next_in_ms", ms_until(health.next_check_ns.load(std::memory_order_relaxed), now)}};
    if (const std::uint64_t at = health.checked_ns.load(std::memory_order_relaxed); at != 0) {
        j["checked_ms_ago"] = ms_since(at, now);
    }
    if (const std::uint64_t since = health.verdict_since_ns.load(std::memory_order_relaxed); since != 0) {
        j["for_ms"] = ms_since(since, now);
    }
    if (const std::string note = shm::read_note(health.note); !note.empty()) {
        j["last_failure"] = note;
    }
    return j;
}

json agent_to_json(const shm::ServerHealth& health, loop::Nanos now)
{
    const shm::AgentWord word = shm::unpack_agent(health.agent.load(std::memory_order_relaxed));
    json j = {{"last", ends_to_json(health.agent_recent.load(std::memory_order_relaxed))},
              {"next_in_ms", ms_until(health.next_agent_ns.load(std::memory_order_relaxed), now)}};
    if (word.order) {
        j["order"] = *word.order == shm::ServerOrder::none ? "ready" : *word.order == shm::ServerOrder::drain ? "drain" : "maint";
    }
    if (word.state) {
        j["state"] = name_of(*word.state);
    }
    if (word.percent) {
        j["percent"] = *word.percent;
    }
    if (word.max_conn) {
        j["max_conn"] = *word.max_conn;
    }
    if (const std::string note = shm::read_note(health.agent_note); !note.empty()) {
        j["description"] = note;
    }
    if (const std::uint64_t at = health.agent_asked_ns.load(std::memory_order_relaxed); at != 0) {
        j["asked_ms_ago"] = ms_since(at, now);
    }
    if (const std::uint64_t since = health.agent_since_ns.load(std::memory_order_relaxed); since != 0) {
        j["for_ms"] = ms_since(since, now);
    }
    if (const std::string note = shm::read_note(health.agent_failure); !note.empty()) {
        j["last_failure"] = note;
    }
    return j;
}

json load_to_json(const config::LoadReport& rules, const shm::ServerHealth& health, loop::Nanos now)
{
    const shm::LoadTimes times{loop::to_nanos(rules.blackout), loop::to_nanos(rules.expire)};
    json j = {{"counts", shm::read_load(health, times, now).has_value()}};
    if (const auto last = shm::last_load(health, now)) {
        j["capacity_per_s"] = last->capacity;
        j["reported_ms_ago"] = last->age_ns / 1'000'000;
    }
    return j;
}

std::string seconds(std::uint64_t ms)
{
    return ms < 10'000 ? fmt::format("{}.{} s", ms / 1000, ms % 1000 / 100) : fmt::format("{} s", ms / 1000);
}

json failures_to_json(const shm::ServerHealth& health)
{
    json j = json::object();
    for (std::uint32_t kind = 0; kind < shm::kServerFailures; ++kind) {
        if (const std::uint64_t count = health.failures[kind].load(std::memory_order_relaxed); count != 0) {
            j[std::string(name_of(static_cast<shm::ServerFailure>(kind)))] = count;
        }
    }
    return j;
}

/// What the operator or the agent has ordered.
bool add_order(json& server, shm::ServerOrder order, std::string why)
{
    if (order == shm::ServerOrder::none) {
        return false;
    }
    const bool is_busy = server.value("in_flight", 0) > 0;
    server["state"] = order == shm::ServerOrder::down ? "off" : is_busy ? "draining" : "drained";
    server["why"] = std::move(why);
    return true;
}

void add_state(json& server, const config::Upstream& upstream, const shm::ServerHealth& health, loop::Nanos now)
{
    const shm::ServerOrder order = health.order.load(std::memory_order_relaxed);
    const std::uint64_t word = upstream.agent ? health.agent.load(std::memory_order_relaxed) : 0;
    const std::string agent = "agent: " + shm::describe(shm::unpack_agent(word), shm::read_note(health.agent_note));
    const std::uint64_t out_until = health.out_until_ns.load(std::memory_order_relaxed);
    if ((order >= shm::agent_order(word) && add_order(server, order, "ordered by the operator")) ||
        add_order(server, shm::agent_order(word), agent)) {
        return;
    }
    if (upstream.health && health.verdict.load(std::memory_order_relaxed) == shm::Verdict::down) {
        server["state"] = "down";
        server["why"] = "check: " + shm::read_note(health.note);
        server["out_for_ms"] = ms_since(health.verdict_since_ns.load(std::memory_order_relaxed), now);
    } else if (shm::is_kept_out(word)) {
        server["state"] = shm::agent_state(word) != shm::AgentState::up ? "down" : "full";
        server["why"] = agent;
        server["out_for_ms"] = ms_since(health.agent_since_ns.load(std::memory_order_relaxed), now);
    } else if (out_until > now) {
        const std::uint32_t why = health.out_for.load(std::memory_order_relaxed);
        server["state"] = "ejected";
        server["why"] = why == shm::kOutForSlowness
                            ? shm::describe_slowness(health.slowness.load(std::memory_order_relaxed))
                            : fmt::format("failing requests: {}", name_of(static_cast<shm::ServerFailure>(why)));
        server["out_for_ms"] = ms_since(health.out_since_ns.load(std::memory_order_relaxed), now);
        server["back_in_ms"] = ms_until(out_until, now);
    } else {
        server["state"] = "up";
    }
}

} // namespace

void add_health(json& server, const config::Upstream& upstream, const config::UpstreamServer& settings,
                const shm::ServerHealth& health)
{
    const loop::Nanos now = loop::clock_now();
    const std::uint32_t weight = health.weight.load(std::memory_order_relaxed);
    add_state(server, upstream, health, now);
    server["backup"] = settings.is_backup;
    server["added"] = settings.is_added;
    server["weight"] = weight != 0 ? weight : settings.weight;
    server["failures"] = failures_to_json(health);
    server["ejections"] = health.ejected.load(std::memory_order_relaxed);
    json& latency = server["latency_ms"] = json::object();
    for (const unsigned percent : {50u, 90u, 99u}) {
        latency[fmt::format("p{}", percent)] = static_cast<double>(shm::latency_quantile(health, percent).count()) / 1000;
    }
    if (upstream.hedge.percent != 0 && &settings == &upstream.servers.front()) { // its entry has what is all servers'
        const auto after = shm::time_to_hedge(health.recent_times, upstream.hedge.percent, upstream.hedge.soonest);
        server["hedge"] = {{"at", fmt::format("p{}", upstream.hedge.percent)}, {"after_ms", after.count()}};
    }
    if (upstream.health) {
        server["check"] = check_to_json(health, now);
    }
    if (upstream.load_report) {
        server["load"] = load_to_json(*upstream.load_report, health, now);
    }
    if (upstream.agent) {
        server["agent"] = agent_to_json(health, now);
    }
}

void add_limit(json& server, const config::Upstream& upstream, const config::UpstreamServer& settings,
               const shm::ServerEntry& entry, std::uint32_t unanswered)
{
    const std::uint64_t agent = upstream.agent ? entry.health.agent.load(std::memory_order_relaxed) : 0;
    const shm::LimitRules rules = shm::limit_rules(upstream.adaptive->least, upstream.adaptive->tolerance,
                                                   shm::agent_max_conn(agent, settings.max_conn));
    const shm::LimitState state = shm::read_limit(entry.limit, rules);
    json& limit = server["limit"] = {{"now", shm::current_limit(entry.limit, rules)},
                                     {"found", static_cast<std::uint32_t>(state.limit)},
                                     {"unanswered", unanswered},
                                     {"is_being_measured", !shm::is_steady(state.phase)}};
    if (state.baseline != 0) {
        limit["baseline_ms"] = static_cast<double>(shm::time_of_level(state.baseline).count()) / 1e6;
    }
}

void add_shares(json& servers)
{
    std::map<std::string, std::uint64_t> requests;
    std::map<std::string, bool> has_good;
    for (const json& server : servers) {
        requests[server["upstream"]] += server.value("requests", std::uint64_t{0});
        has_good[server["upstream"]] |= server.value("state", "") == "up";
    }
    for (json& server : servers) {
        const std::uint64_t all = requests[server["upstream"]];
        server["share_percent"] = all == 0 ? 0 : server.value("requests", std::uint64_t{0}) * 100 / all;
        server["panic"] = !has_good[server["upstream"]]; // no server of its upstream is in order
    }
}

namespace {

std::string render_ends(const json& check)
{
    std::string last;
    for (const json& end : check["last"]) {
        last += (last.empty() ? "" : ", ") + end.get<std::string>();
    }
    return last.empty() ? "none yet" : last;
}

std::string render_agent(const json& agent)
{
    std::string said;
    const auto add = [&said](const std::string& text) { said += (said.empty() ? "" : ", ") + text; };
    for (const char* key : {"order", "state"}) {
        if (agent.contains(key)) {
            add(agent[key]);
        }
    }
    if (agent.contains("percent")) {
        add(fmt::format("{} %", agent["percent"].get<std::uint32_t>()));
    }
    if (agent.contains("max_conn")) {
        add(fmt::format("max_conn {}", agent["max_conn"].get<std::uint32_t>()));
    }
    return said.empty() ? "nothing yet" : said;
}

std::string render_load(const json& load)
{
    if (!load.contains("capacity_per_s")) {
        return "nothing reported yet";
    }
    return fmt::format("{:.1f} requests/s if it were used up, reported {} ago{}", load["capacity_per_s"].get<double>(),
                       seconds(load["reported_ms_ago"]), load.value("counts", false) ? "" : " (does not count now)");
}

std::string render_limit(const json& limit)
{
    return fmt::format("{}{}, {} not answered yet; {}", limit["found"].get<std::uint32_t>(),
                       limit["is_being_measured"] ? fmt::format(", {} while answers are timed", limit["now"].get<std::uint32_t>())
                                                  : std::string(),
                       limit["unanswered"].get<std::uint32_t>(),
                       limit.contains("baseline_ms")
                           ? fmt::format("answers take {:.1f} ms without waiting", limit["baseline_ms"].get<double>())
                           : "how long answers take is not known yet");
}

} // namespace

std::string render_servers(const json& servers)
{
    std::string out;
    for (const json& server : servers) {
        std::string addresses;
        for (const json& address : server["addresses"]) {
            addresses += (addresses.empty() ? "" : ", ") + address.get<std::string>();
        }
        const std::string text = server["server"];
        const std::string state = server.value("state", "");
        append(out, "  {:<28} {}{}  {}{}, weight {}, in flight {}, requests {} ({} %){}\n", server["upstream"].get<std::string>(),
               text, addresses.empty() || addresses == text ? "" : " (" + addresses + ")", state,
               std::string(server.value("backup", false) ? ", backup" : "") + (server.value("added", false) ? ", added" : ""),
               server.value("weight", 1), server.value("in_flight", 0), server.value("requests", std::uint64_t{0}),
               server.value("share_percent", std::uint64_t{0}),
               server.value("name_state", "") == "failed"       ? ", name does not resolve"
               : server.value("name_state", "") == "unresolved" ? ", name not resolved yet"
                                                                : "");
        if (const std::string why = server.value("why", ""); !why.empty()) {
            append(out, "  {:<30} {}{}{}{}\n", "", why,
                   server.contains("out_for_ms") ? ", for " + seconds(server["out_for_ms"]) : "",
                   server.contains("back_in_ms") ? ", back in " + seconds(server["back_in_ms"]) : "",
                   server.value("panic", false) ? "; tried all the same: no server of the upstream is in order" : "");
        }
        if (server.contains("check")) {
            append(out, "  {:<30} checks: {}; next in {}\n", "", render_ends(server["check"]),
                   seconds(server["check"]["next_in_ms"]));
        }
        if (server.contains("agent")) {
            append(out, "  {:<30} agent: {}; asked: {}; next in {}\n", "", render_agent(server["agent"]),
                   render_ends(server["agent"]), seconds(server["agent"]["next_in_ms"]));
        }
        if (server.contains("load")) {
            append(out, "  {:<30} load: {}\n", "", render_load(server["load"]));
        }
        if (server.contains("limit")) {
            append(out, "  {:<30} limit: {}\n", "", render_limit(server["limit"]));
        }
        if (server.contains("hedge")) {
            const json& hedge = server["hedge"];
            const bool is_known = hedge["after_ms"] > 0;
            append(out, "  {:<30} hedge of the upstream: {}\n", "",
                   is_known ? fmt::format("after {} ms ({})", hedge["after_ms"].get<int>(), hedge["at"].get<std::string>())
                            : "not yet, too few responses");
        }
        if (server.contains("latency_ms") && server["latency_ms"]["p50"] > 0) {
            const json& latency = server["latency_ms"];
            append(out, "  {:<30} latency p50 {:.1f} ms, p90 {:.1f} ms, p99 {:.1f} ms\n", "", latency["p50"].get<double>(),
                   latency["p90"].get<double>(), latency["p99"].get<double>());
        }
    }
    return out;
}

} // namespace ladle::master
