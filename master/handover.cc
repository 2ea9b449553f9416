// SPDX-License-Identifier: Apache-2.0
#include "master/handover.h"

#include "common/base/json.h"
#include "common/config/bundle.h"
#include "common/os/memory_file.h"
#include "common/os/socket.h"

#include <fmt/format.h>

#include <fcntl.h>

#include <cerrno>

namespace ladle::master {

namespace {

using nlohmann::json;
constexpr std::size_t kMaxBytes = 4 << 20;

json to_json(const HandedChild& child)
{
    return {{"pid", child.pid},
            {"role", static_cast<int>(child.role)},
            {"number", child.number},
            {"generation", child.generation},
            {"row", child.row},
            {"cache_row", child.cache_row},
            {"draining", child.is_draining},
            {"joined", child.has_joined},
            {"channel", child.channel}};
}

HandedChild to_child(const json& j)
{
    HandedChild child;
    child.pid = j.value("pid", 0);
    child.role = static_cast<shm::Role>(j.value("role", 0));
    child.number = j.value("number", 0u);
    child.generation = j.value("generation", 0u);
    child.row = j.value("row", -1);
    child.cache_row = j.value("cache_row", -1);
    child.is_draining = j.value("draining", false);
    child.has_joined = j.value("joined", false);
    child.channel = j.value("channel", -1);
    return child;
}

json to_json(const HandedCache& cache)
{
    return {{"arena", cache.arena}, {"row", cache.row}, {"files", cache.files}, {"folder", cache.folder}, {"bells", cache.bells},
            {"disk_arena", cache.disk.arena}, {"disk_folder", cache.disk.folder}, {"disk_path", cache.disk.path}};
}

HandedCache to_cache(const json& j)
{
    HandedCache cache;
    cache.arena = j.value("arena", -1);
    cache.row = j.value("row", -1);
    cache.files = j.value("files", -1);
    cache.folder = j.value("folder", "");
    cache.bells = j.value("bells", std::vector<int>{});
    cache.disk.arena = j.value("disk_arena", -1);
    cache.disk.folder = j.value("disk_folder", -1);
    cache.disk.path = j.value("disk_path", "");
    return cache;
}

} // namespace

Result<os::Fd> write_handover(const Handover& handover)
{
    json j = {{"version", Handover::kVersion},
              {"from_version", handover.from_version},
              {"generation", handover.generation},
              {"bundle", handover.bundle},
              {"arena", handover.arena},
              {"control_socket", handover.control_socket},
              {"control_lock", handover.control_lock},
              {"asking", handover.asking},
              {"started_at", handover.started_at},
              {"config_since", handover.config_since},
              {"restarts", handover.restarts},
              {"error_log", handover.error_log},
              {"binary_path", handover.binary_path},
              {"ticket_keys", handover.ticket_keys},
              {"ticket_keys_since", handover.ticket_keys_since},
              {"cache", to_json(handover.cache)},
              {"listeners", json::array()},
              {"children", json::array()}};
    for (const HandedAddress& address : handover.listeners) {
        j["listeners"].push_back({{"text", address.text}, {"slots", address.slots}});
    }
    for (const HandedChild& child : handover.children) {
        j["children"].push_back(to_json(child));
    }
    return os::make_sealed_file("ladle-handover", j.dump());
}

Result<Handover> read_handover(int fd)
{
    const auto text = os::read_whole(fd, kMaxBytes);
    if (!text) {
        return std::unexpected(text.error());
    }
    const json j = parse_json(*text);
    if (!j.is_object() || !j.contains("version")) {
        return fail(Origin::local, "the handover is not readable");
    }
    if (j.value("version", 0) != Handover::kVersion) {
        return fail(Origin::local,
                    fmt::format("the handover has version {}, this program reads {}", j.value("version", 0), Handover::kVersion));
    }
    Handover handover;
    handover.from_version = j.value("from_version", "");
    handover.generation = j.value("generation", 0u);
    handover.bundle = j.value("bundle", -1);
    handover.arena = j.value("arena", -1);
    handover.control_socket = j.value("control_socket", -1);
    handover.control_lock = j.value("control_lock", -1);
    handover.asking = j.value("asking", -1);
    handover.started_at = j.value("started_at", std::time_t{0});
    handover.config_since = j.value("config_since", std::time_t{0});
    handover.restarts = j.value("restarts", std::uint64_t{0});
    handover.error_log = j.value("error_log", "");
    handover.binary_path = j.value("binary_path", "");
    handover.ticket_keys = j.value("ticket_keys", std::vector<std::uint8_t>{});
    handover.ticket_keys_since = j.value("ticket_keys_since", std::uint64_t{0});
    handover.cache = to_cache(j.value("cache", json::object()));
    for (const json& address : j.value("listeners", json::array())) {
        handover.listeners.push_back({address.value("text", ""), address.value("slots", std::vector<int>{})});
    }
    for (const json& child : j.value("children", json::array())) {
        handover.children.push_back(to_child(child));
    }
    return handover;
}

std::vector<int> descriptors_of(const Handover& handover)
{
    std::vector<int> all = {handover.bundle, handover.arena,       handover.control_socket, handover.control_lock,
                            handover.asking, handover.cache.arena, handover.cache.files,
                            handover.cache.disk.arena, handover.cache.disk.folder};
    all.insert(all.end(), handover.cache.bells.begin(), handover.cache.bells.end());
    for (const HandedAddress& address : handover.listeners) {
        all.insert(all.end(), address.slots.begin(), address.slots.end());
    }
    for (const HandedChild& child : handover.children) {
        all.push_back(child.channel);
    }
    std::erase_if(all, [](int fd) { return fd < 0; });
    return all;
}

Result<void> check_handover(int fd)
{
    const auto handover = read_handover(fd);
    if (!handover) {
        return std::unexpected(handover.error());
    }
    for (const int named : descriptors_of(*handover)) {
        if (::fcntl(named, F_GETFD) < 0) {
            return fail(Origin::local, fmt::format("the handover names descriptor {}, which is not open", named));
        }
    }
    const config::LoadResult loaded = config::load_bundle(handover->bundle);
    if (!loaded.config) {
        return fail(Origin::local,
                    "the running configuration is not valid for this version:\n" + config::to_text(loaded.diagnostics));
    }
    return {};
}

} // namespace ladle::master
