// SPDX-License-Identifier: Apache-2.0
//
// The part of Master that does what it is told: by signals and by the control socket.
#include "master/master.h"

#include "common/os/log.h"
#include "master/breaker_status.h"
#include "master/notify.h"
#include "master/order_words.h"
#include "master/status.h"

#include <fmt/format.h>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ladle::master {

namespace {
constexpr std::chrono::milliseconds kStopGrace{1'000}; ///< of stop --now
} // namespace

void Master::on_signal(int number)
{
    switch (number) {
    case SIGHUP:
        return on_request(0, {{"command", "reload"}});
    case SIGUSR1:
        return on_request(0, {{"command", "reopen"}});
    case SIGUSR2:
        return on_request(0, {{"command", "upgrade"}});
    default:
        return stop(phase_ == Phase::stopping);
    }
}

void Master::on_request(ControlServer::Id id, const nlohmann::json& request)
{
    const std::string command = request["command"];
    if (command == "status") {
        return control_->answer(id, status());
    }
    if (command == "stop") {
        waiting_for_stop_.push_back(id);
        return stop(request.value("now", false));
    }
    if (phase_ == Phase::starting) {
        return hold(id, request);
    }
    if (command == "reopen" && supervisor_) {
        return reopen_logs(id); // also while it drains, which may take a day
    }
    if (command == "purge") {
        return control_->answer(id, purge(*running_.config, cache_.store(), request, &cache_.disk()));
    }
    if (command == "cache") {
        return list_cache(id, request);
    }
    if (command == "check_cache") {
        return control_->answer(id, check_cache(cache_.store()));
    }
    if (phase_ == Phase::stopping) {
        return control_->answer(id, {{"ok", false}, {"message", "ladle is stopping"}});
    }
    if (command == "explain") {
        return explainer_->ask(id, request);
    }
    if (command == "reload") {
        return reload(id);
    }
    if (command == "upgrade") {
        return upgrade(id);
    }
    if (const std::string action = text_of(request, "action"); command == "server" && (action == "add" || action == "remove")) {
        return change_servers(id, request);
    }
    if (command == "breaker") {
        return control_->answer(id, order_breaker(arena_->regions().servers, *running_.config, request));
    }
    if (command == "server") {
        return control_->answer(id, orders_.give(arena_->regions(), *running_.config, request));
    }
    control_->answer(id, {{"ok", false}, {"message", "ladle " LADLE_VERSION " does not know the command \"" + command + "\""}});
}

/// Keeps an order until the start is over. A signal that came twice is one order.
void Master::hold(ControlServer::Id id, const nlohmann::json& request)
{
    const auto is_same = [&](const Held& held) { return held.id == 0 && held.request == request; };
    if (id == 0 && std::any_of(held_.begin(), held_.end(), is_same)) {
        return;
    }
    if (held_.size() >= kMostHeld) {
        return control_->answer(id, {{"ok", false}, {"message", "ladle is starting"}});
    }
    held_.push_back({id, request});
}

void Master::begin_serving()
{
    phase_ = Phase::serving;
    for (const Held& held : std::exchange(held_, {})) {
        on_request(held.id, held.request);
    }
}

nlohmann::json Master::status()
{
    certificates_.follow(running_.config);
    const char* state = phase_ == Phase::stopping   ? "stopping"
                        : upgrade_->is_running()    ? "upgrading"
                        : phase_ == Phase::starting ? "starting"
                                                    : "serving";
    return make_status(StatusParts{arena_->regions(), running_, listeners_, *supervisor_, cache_, last_reload_, certificates_,
                                   state, options_.config_path, started_at_});
}

void Master::list_cache(ControlServer::Id id, const nlohmann::json& request)
{
    if (cache_.store() == nullptr) {
        return control_->answer(id,
                                {{"ok", false}, {"message", "there is no cache: [cache] memory is 0B, or it could not be made"}});
    }
    ended_listings_.clear();
    listings_.push_back(std::make_unique<CacheListing>(
        *loop_, *running_.config, *cache_.store(), cache_.disk().store(), request,
        [this, id](CacheListing& listing, const nlohmann::json& answer) {
            control_->answer(id, answer);
            const auto ended =
                std::find_if(listings_.begin(), listings_.end(), [&listing](const auto& one) { return one.get() == &listing; });
            ended_listings_.push_back(std::move(*ended));
            listings_.erase(ended);
        }));
}

void Master::reload(ControlServer::Id id)
{
    if (upgrade_->is_running()) {
        os::log(os::Level::warning, "not reloaded", {{"reason", "an upgrade is under way"}});
        return control_->answer(id, {{"ok", false}, {"message", "not now: ladle is being upgraded"}});
    }
    reload_->request([this, id](const ReloadResult& result) {
        last_reload_ = result;
        control_->answer(id, {{"ok", result.is_applied},
                              {"message", result.message},
                              {"text", result.diagnostics},
                              {"since", to_iso(running_.since)},
                              {"generation", running_.config->generation},
                              {"file", options_.config_path}});
    });
}

void Master::change_servers(ControlServer::Id id, const nlohmann::json& request)
{
    if (upgrade_->is_running() || reload_->is_running()) {
        return control_->answer(id, refuse("not now: ladle is reloading or being upgraded"));
    }
    nlohmann::json answer = changes_.propose(*running_.config, request);
    if (!answer["ok"]) {
        return control_->answer(id, answer);
    }
    reload_->rebuild([this, id, answer = std::move(answer)](const ReloadResult& result) mutable {
        last_reload_ = result;
        const bool is_done = result.is_applied && changes_.are_in(*running_.config);
        if (!is_done) {
            changes_.take_back();
            answer = refuse(result.is_applied ? "the server does not fit its upstream" : result.message);
            answer["text"] = result.diagnostics;
        } else if (!changes_.commit()) {
            answer["message"] =
                fmt::format("{} (not kept over an upgrade: {})", answer["message"].get<std::string>(), strerrordesc_np(errno));
        }
        control_->answer(id, answer);
    });
}

void Master::reopen_logs(ControlServer::Id id)
{
    auto logs = open_logs(*running_.config);
    if (!logs) {
        os::log(os::Level::error, "cannot reopen the logs", {{"reason", logs.error().detail}});
        return control_->answer(id, {{"ok", false}, {"message", logs.error().detail}});
    }
    adopt_logs(std::move(*logs));
    send_logs();
    os::log(os::Level::info, "logs reopened");
    control_->answer(id, {{"ok", true}, {"message", "logs reopened"}});
}

void Master::upgrade(ControlServer::Id id)
{
    if (upgrade_->is_running() || reload_->is_running()) {
        os::log(os::Level::warning, "not upgraded", {{"reason", "a reload or an upgrade is under way"}});
        return control_->answer(id, {{"ok", false}, {"message", "not now: ladle is reloading or being upgraded"}});
    }
    upgrade_->begin([this, id] { return make_handover(id); },
                    [this, id](const Upgrade::Outcome& outcome) {
                        control_->answer(id, {{"ok", false}, {"message", "not upgraded: " + outcome.message}});
                    });
}

Handover Master::make_handover(ControlServer::Id asking) const
{
    Handover handover;
    handover.from_version = LADLE_VERSION;
    handover.generation = supervisor_->generation();
    handover.bundle = running_.bundle.get();
    handover.arena = arena_->fd();
    handover.cache = cache_.hand_over();
    handover.control_socket = control_->socket_descriptor();
    handover.control_lock = control_->lock_descriptor();
    handover.asking = control_->descriptor(asking);
    handover.started_at = started_at_;
    handover.config_since = running_.since;
    handover.restarts = supervisor_->restarts();
    handover.error_log = options_.error_log;
    handover.binary_path = options_.binary_path;
    const shm::TicketKeys& tickets = arena_->regions().tickets;
    if (const auto keys = shm::read_ticket_keys(tickets)) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(keys->data());
        handover.ticket_keys.assign(bytes, bytes + sizeof *keys);
        handover.ticket_keys_since = tickets.since_s.load(std::memory_order_relaxed);
    }
    for (const BoundAddress& address : listeners_.active()) {
        HandedAddress handed{address.bind.text, {}};
        for (const os::Fd& slot : address.slots) {
            handed.slots.push_back(slot.get());
        }
        handover.listeners.push_back(std::move(handed));
    }
    for (const auto& child : supervisor_->children()) {
        handover.children.push_back({child->pid, child->role, child->number, child->generation, child->row, child->cache_row,
                                     child->phase == Child::Phase::draining, child->has_joined, child->channel.get()});
    }
    return handover;
}

void Master::stop(bool now)
{
    if (phase_ == Phase::stopping && !now) {
        return;
    }
    phase_ = Phase::stopping;
    reload_->cancel();
    for (const Held& held : std::exchange(held_, {})) {
        control_->answer(held.id, {{"ok", false}, {"message", "ladle is stopping"}});
    }
    const std::chrono::milliseconds limit = running_.config->server.drain_timeout;
    os::log(os::Level::info, now ? "stopping now" : "stopping: finishing requests under way");
    notify::stopping(limit + std::chrono::seconds(10));
    notify::drop_stored();
    if (now) {
        supervisor_->stop_all(kStopGrace);
    } else {
        supervisor_->forget_wanted();
        supervisor_->drain_if([](const Child&) { return true; }, ipc::DrainRest::accept);
    }
    // From here on the last worker that has taken what waited closes an address for good: new clients are refused, not kept
    // waiting.
    listeners_.close_all();
    if (supervisor_->children().empty()) {
        finish_stop();
    }
}

void Master::finish_stop()
{
    if (std::exchange(is_finished_, true)) {
        return;
    }
    cache_.close();
    if (start_failure_.empty()) { // else the next start has them still: what crashed before it left them
        orders_.close();
        changes_.close();
    }
    control_->close();
    if (options_.on_started && !start_failure_.empty()) {
        options_.on_started(start_failure_);
    }
    os::log(os::Level::info, "stopped");
    for (const ControlServer::Id id : std::exchange(waiting_for_stop_, {})) {
        control_->answer_now(id, {{"ok", true}, {"message", "stopped"}});
    }
    loop_->stop();
}

} // namespace ladle::master
