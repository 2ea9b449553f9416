// SPDX-License-Identifier: Apache-2.0
#include "master/status.h"

#include "common/base/append.h"
#include "common/loop/loop.h"
#include "common/os/socket.h"
#include "master/breaker_status.h"
#include "master/human_units.h"
#include "master/notify.h"
#include "master/server_status.h"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

namespace ladle::master {

namespace {

using nlohmann::json;

const char* phase_name(const Child& child)
{
    switch (child.phase) {
    case Child::Phase::starting:
        return "starting";
    case Child::Phase::ready:
        return "ready";
    case Child::Phase::draining:
        return "draining";
    }
    return "?";
}

json process_to_json(const StatusParts& parts, const Child& child)
{
    const loop::Nanos now = loop::clock_now();
    json j = {{"pid", child.pid},
              {"state", phase_name(child)},
              {"generation", child.generation},
              {"uptime_s", (now - child.started) / 1'000'000'000}};
    if (child.role == shm::Role::worker) {
        j["number"] = child.number;
    }
    if (child.row >= 0) {
        const shm::ProcessRow& row = parts.regions.rows[child.row];
        const loop::Nanos beat = row.heartbeat_ns.load(std::memory_order_relaxed);
        j["heartbeat_age_ms"] = now > beat ? (now - beat) / 1'000'000 : 0;
        j["config_generation"] = row.config_generation.load(std::memory_order_relaxed);
        if (child.role == shm::Role::worker) {
            j["connections"] = row.value(shm::Metric::connections_open);
            j["requests"] = row.value(shm::Metric::requests);
        }
    }
    return j;
}

const char* name_state(shm::NameState state)
{
    switch (state) {
    case shm::NameState::literal:
        return "literal";
    case shm::NameState::unresolved:
        return "unresolved";
    case shm::NameState::resolved:
        return "resolved";
    case shm::NameState::failed:
        return "failed";
    }
    return "?";
}

json server_to_json(const StatusParts& parts, const config::Upstream& upstream, const config::UpstreamServer& server)
{
    json j = {{"upstream", upstream.name}, {"server", server.text}, {"addresses", json::array()}};
    const int index = shm::find_server(parts.regions.servers, upstream.name, server.text);
    if (index < 0) {
        return j;
    }
    const shm::ServerEntry& entry = parts.regions.servers.entries[index];
    std::vector<sockaddr_storage> addresses;
    if (server.host_name.empty()) {
        j["addresses"].push_back(server.text);
    } else if (shm::read_addresses(entry, addresses)) {
        for (const sockaddr_storage& address : addresses) {
            j["addresses"].push_back(os::to_text(address, sizeof address));
        }
    }
    j["name_state"] = name_state(entry.name_state.load(std::memory_order_relaxed));
    j["in_flight"] = shm::in_flight(parts.regions, static_cast<std::uint32_t>(index));
    j["requests"] = entry.requests.load(std::memory_order_relaxed);
    add_health(j, upstream, server, entry.health);
    if (upstream.adaptive) {
        add_limit(j, upstream, server, entry, shm::unanswered(parts.regions, static_cast<std::uint32_t>(index)));
    }
    return j;
}

/// In the order of shm::CacheRefusal.
constexpr std::array<const char*, shm::kCacheRefusals> kRefusalNames = {"too_large", "no_space", "waiting_for_files", "busy",
                                                                        "bad_request"};

json disk_to_json(const DiskOwner& disk, std::uint64_t bad)
{
    const shm::CacheStore* store = disk.store();
    if (store == nullptr) {
        return nullptr;
    }
    const shm::CacheCounts counts = store->counts();
    return {{"path", disk.path()},
            {"objects", counts.objects},
            {"file_bytes", counts.file_bytes},
            {"index_bytes", disk.used_memory_bytes()},
            {"index_memory_bytes", disk.memory_bytes()},
            {"dead_files", counts.dead_files},
            {"evictions", counts.evictions},
            {"is_being_read", disk.is_being_read()},
            {"is_bad", bad != 0}};
}

json cache_to_json(const CacheOwner& cache, std::uint64_t bad_disks)
{
    shm::CacheStore* store = cache.store();
    if (store == nullptr) {
        return nullptr;
    }
    const shm::CacheCounts counts = store->counts();
    json j = {{"memory_bytes", cache.memory_bytes()},
              {"objects", counts.objects},
              {"used_bytes", counts.cell_bytes + counts.file_bytes},
              {"usable_bytes", counts.cell_bytes_total},
              {"file_bytes", counts.file_bytes},
              {"table_bytes", counts.table_bytes},
              {"has_files", cache.has_files()},
              {"leaving", counts.zombies}, // gone from the index, still read by somebody
              {"dead_files", counts.dead_files},
              {"fetches", store->fills().claimed()},
              {"stored", counts.stored},
              {"replaced", counts.replaced},
              {"evictions", counts.evictions},
              {"disk", disk_to_json(cache.disk(), bad_disks)},
              {"refusals", json::object()}};
    for (std::size_t i = 0; i < shm::kCacheRefusals; ++i) {
        j["refusals"][kRefusalNames[i]] = counts.refusals[i];
    }
    return j;
}

json config_to_json(const StatusParts& parts)
{
    json j = {{"file", parts.config_path},
              {"generation", parts.running.config->generation},
              {"since", to_iso(parts.running.since)},
              {"last_reload", nullptr}};
    if (parts.last_reload) {
        j["last_reload"] = {{"at", to_iso(parts.last_reload->at)},
                            {"ok", parts.last_reload->is_applied},
                            {"message", parts.last_reload->message},
                            {"text", parts.last_reload->diagnostics}};
    }
    return j;
}

/// The process that resolves names.
std::string render_caretaker(const json& caretaker)
{
    if (caretaker.is_null()) {
        return "\ncaretaker\n  none: names are not resolved until it is back\n";
    }
    const auto silence = caretaker.value("heartbeat_age_ms", std::uint64_t{0});
    return fmt::format("\ncaretaker\n      pid {:<8} {:<9} up {}{}\n", caretaker["pid"].get<int>(),
                       caretaker["state"].get<std::string>(), render_duration(caretaker["uptime_s"]),
                       silence >= 1000 ? fmt::format(", SILENT for {} ms", silence) : "");
}

std::string render_cache(const json& cache, const json& metrics)
{
    if (cache.is_null()) {
        return "\ncache\n  none\n";
    }
    std::uint64_t refused = 0;
    for (const json& count : cache["refusals"]) {
        refused += count.get<std::uint64_t>();
    }
    std::string out =
        fmt::format("\ncache\n  objects {}, {} of {} used ({} in files{}), stored {}, evicted {}, refused {}\n",
                    cache["objects"].get<std::uint64_t>(), render_bytes(cache["used_bytes"]), render_bytes(cache["usable_bytes"]),
                    render_bytes(cache["file_bytes"]), cache["has_files"] ? "" : ": there is no folder for them",
                    cache["stored"].get<std::uint64_t>(), cache["evictions"].get<std::uint64_t>(), refused);
    if (const json& disk = cache["disk"]; !disk.is_null()) {
        out += fmt::format("  on disk {} objects, {} in {}, index {} of memory{}{}\n", disk["objects"].get<std::uint64_t>(),
                           render_bytes(disk["file_bytes"]), disk["path"].get<std::string>(), render_bytes(disk["index_bytes"]),
                           disk["is_being_read"].get<bool>() ? ", being read after a crash" : "",
                           disk["is_bad"].get<bool>() ? ", SET ASIDE after a failure, see the error log" : "");
    }
    constexpr std::string_view kPrefix = "cache_";
    std::string counted;
    for (const auto& [name, value] : metrics.items()) {
        if (name.starts_with(kPrefix) && value != 0) {
            counted += fmt::format("{}{} {}", counted.empty() ? "" : ", ", name.substr(kPrefix.size()), value.get<std::uint64_t>());
        }
    }
    return counted.empty() ? out : out + "  " + counted + "\n";
}

} // namespace

std::string to_iso(std::time_t time)
{
    std::tm t{};
    ::gmtime_r(&time, &t);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &t);
    return text;
}

json make_status(const StatusParts& parts)
{
    const loop::Nanos now = loop::clock_now();
    const Backoff& backoff = parts.supervisor.workers_backoff();
    json j = {{"ok", true},
              {"version", LADLE_VERSION},
              {"pid", ::getpid()},
              {"state", parts.state},
              {"systemd", notify::is_used()},
              {"started", to_iso(parts.started_at)},
              {"uptime_s", std::time(nullptr) - parts.started_at},
              {"config", config_to_json(parts)},
              {"workers", json::array()},
              {"workers_wanted", parts.supervisor.wanted_workers()},
              {"caretaker", nullptr},
              {"restarts", parts.supervisor.restarts()},
              {"crash_loop", parts.supervisor.is_crash_loop()},
              {"next_start_ms", backoff.not_before() > now ? (backoff.not_before() - now) / 1'000'000 : 0},
              {"connections", shm::total(parts.regions, shm::Metric::connections_open)},
              {"requests", shm::total(parts.regions, shm::Metric::requests)},
              {"listeners", json::array()},
              {"servers", json::array()},
              {"breakers", json::array()},
              {"cache", cache_to_json(parts.cache, shm::total(parts.regions, shm::Metric::cache_disk_bad))},
              {"tls", tls_to_json(parts.regions, *parts.running.config, parts.certificates)},
              {"metrics", json::object()}};
    for (const auto& child : parts.supervisor.children()) {
        json process = process_to_json(parts, *child);
        if (child->role == shm::Role::worker) {
            j["workers"].push_back(std::move(process));
        } else if (j["caretaker"].is_null() || child->phase != Child::Phase::draining) {
            j["caretaker"] = std::move(process);
        }
    }
    for (const BoundAddress& address : parts.listeners.active()) {
        j["listeners"].push_back({{"address", address.bind.text}, {"slots", address.slots.size()}, {"state", "open"}});
    }
    for (const BoundAddress& address : parts.listeners.leaving()) {
        j["listeners"].push_back({{"address", address.bind.text}, {"slots", address.slots.size()}, {"state", "leaving"}});
    }
    for (const config::Upstream& upstream : parts.running.config->upstreams) {
        for (const config::UpstreamServer& server : upstream.servers) {
            j["servers"].push_back(server_to_json(parts, upstream, server));
        }
        add_breaker(j["breakers"], parts.regions.servers, upstream);
    }
    add_shares(j["servers"]);
    for (std::size_t i = 0; i < shm::kMetricCount; ++i) {
        j["metrics"][shm::kMetrics[i].name] = shm::total(parts.regions, static_cast<shm::Metric>(i));
    }
    return j;
}

std::string render_status(const json& s)
{
    std::string out = fmt::format("ladle {} is {} (pid {}), up {}\n", s["version"].get<std::string>(),
                                  s["state"].get<std::string>(), s["pid"].get<int>(), render_duration(s["uptime_s"]));
    const json& config = s["config"];
    append(out, "configuration {} of {} since {}\n", config["generation"].get<std::uint64_t>(), config["file"].get<std::string>(),
           config["since"].get<std::string>());
    if (!config["last_reload"].is_null()) {
        append(out, "last reload {}: {}\n", config["last_reload"]["at"].get<std::string>(),
               config["last_reload"]["ok"] ? "applied" : "refused: " + config["last_reload"]["message"].get<std::string>());
        if (!config["last_reload"]["ok"].get<bool>()) {
            out += config["last_reload"]["text"].get<std::string>();
        }
    }
    append(out, "connections {}, requests {}, restarts of crashed processes {}\n", s["connections"].get<std::uint64_t>(),
           s["requests"].get<std::uint64_t>(), s["restarts"].get<std::uint64_t>());
    if (s["crash_loop"].get<bool>()) {
        append(out, "CRASH LOOP: processes crash again and again; next start in {} ms; see the error log\n",
               s["next_start_ms"].get<std::uint64_t>());
    }
    out += "\nworkers\n";
    for (const json& w : s["workers"]) {
        append(out, "  {:<3} pid {:<8} {:<9} up {:<8} connections {}, requests {}{}\n", w["number"].get<int>(), w["pid"].get<int>(),
               w["state"].get<std::string>(), render_duration(w["uptime_s"]), w.value("connections", std::uint64_t{0}),
               w.value("requests", std::uint64_t{0}),
               w.value("heartbeat_age_ms", 0) >= 1000 ? fmt::format(", SILENT for {} ms", w.value("heartbeat_age_ms", 0)) : "");
    }
    out += render_caretaker(s["caretaker"]);
    out += "\nlisteners\n";
    for (const json& l : s["listeners"]) {
        append(out, "  {:<28} {} slot{}{}\n", l["address"].get<std::string>(), l["slots"].get<int>(), l["slots"] == 1 ? "" : "s",
               l["state"] == "leaving" ? ", leaving" : "");
    }
    out += "\nservers\n" + render_servers(s["servers"]);
    out += render_breakers(s.value("breakers", json::array()));
    out += render_tls(s.value("tls", json()));
    out += render_cache(s["cache"], s["metrics"]);
    return out;
}

} // namespace ladle::master
