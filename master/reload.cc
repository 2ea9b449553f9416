// SPDX-License-Identifier: Apache-2.0
#include "master/reload.h"

#include "common/base/assert.h"
#include "common/os/log.h"
#include "master/notify.h"
#include "master/shm_owner.h"
#include "master/sticky_key_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace ladle::master {

namespace {

constexpr std::chrono::seconds kCompleteLimit{15}; ///< for additional workers to be ready

std::string what_waits_for_restart(const config::Config& now, const config::Config& next)
{
    std::string text;
    const auto add = [&text](std::string_view key) {
        text +=
            fmt::format("warning: {} changed: takes effect for workers started from now on (ladle upgrade replaces all)\n", key);
    };
    if (now.server.user != next.server.user) {
        add("server.user");
    }
    if (now.budget.spool_path != next.budget.spool_path) {
        add("budget.spool_path");
    }
    if (now.cache.memory_bytes != next.cache.memory_bytes || now.cache.files != next.cache.files) {
        text += fmt::format("warning: cache.{} changed: takes effect with the next ladle upgrade or restart, with an empty cache\n",
                            now.cache.memory_bytes != next.cache.memory_bytes ? "memory" : "files");
    }
    if (now.server.state != next.server.state) {
        text += "warning: server.state changed: takes effect with the next restart\n";
    }
    const config::Disk& was = now.cache.disk;
    const config::Disk& will = next.cache.disk;
    if (was.bytes != will.bytes || was.path != will.path) {
        text += fmt::format("warning: cache.disk.{} changed: takes effect with the next restart\n",
                            was.bytes != will.bytes ? "size" : "path");
    }
    return text;
}

} // namespace

Reload::Reload(ReloadParts parts, OnCommit on_commit) : parts_(std::move(parts)), on_commit_(std::move(on_commit))
{
}

void Reload::request(Done done)
{
    if (is_running()) {
        queued_.push_back(std::move(done));
        return;
    }
    asking_.push_back(std::move(done));
    begin();
}

void Reload::cancel()
{
    queued_.clear();
    if (is_running()) {
        parts_.listeners.drop_pending();
        finish(false, "ladle is stopping");
    }
}

void Reload::begin()
{
    notify::reloading();
    begin_with(load_file(parts_.config_path, parts_.running.config->generation + 1, parts_.server_changes()));
}

void Reload::renew(const RenewedFiles& renewed, Done done)
{
    LADLE_ASSERT(!is_running());
    notify::reloading();
    asking_.push_back(std::move(done));
    begin_with(load_renewed(parts_.running, renewed, parts_.running.config->generation + 1));
}

void Reload::rebuild(Done done)
{
    LADLE_ASSERT(!is_running());
    notify::reloading();
    asking_.push_back(std::move(done));
    begin_with(load_changed(parts_.running, parts_.server_changes(), parts_.running.config->generation + 1));
}

void Reload::begin_with(LoadedFile loaded)
{
    if (!loaded.running.config) {
        return finish(false, fmt::format("{}: not applied", config::summary(loaded.diagnostics)), explain(loaded));
    }
    if (prepare_next(std::move(loaded))) {
        send_prepare();
    }
}

bool Reload::prepare_next(LoadedFile loaded)
{
    const config::Config& next = *loaded.running.config;
    warnings_ = explain(loaded) + what_waits_for_restart(*parts_.running.config, next);
    const auto refuse = [this](const Error& error) {
        parts_.listeners.drop_pending();
        finish(false, error.detail, warnings_);
        return false;
    };
    if (next.server.admin != parts_.running.config->server.admin) {
        return refuse(Error{0, Origin::local, Retry::no, "server.admin cannot change while ladle runs: restart it"});
    }
    if (auto identity = find_identity(next); !identity) {
        return refuse(identity.error());
    }
    auto logs = parts_.open_logs(next);
    if (!logs) {
        return refuse(logs.error());
    }
    if (auto assigned = assign_servers(parts_.arena.regions(), next); !assigned) {
        return refuse(assigned.error());
    }
    if (auto bound = parts_.listeners.prepare(next, worker_count(next)); !bound) {
        return refuse(bound.error());
    }
    provide_sticky_key(parts_.arena.regions().sticky, next);
    next_logs_ = std::move(*logs);
    next_ = std::move(loaded.running);
    return true;
}

std::set<pid_t> Reload::participants() const
{
    std::set<pid_t> pids;
    for (const auto& child : parts_.supervisor.children()) {
        if (child->phase != Child::Phase::draining) {
            pids.insert(child->pid);
        }
    }
    return pids;
}

void Reload::send_prepare()
{
    phase_ = Phase::preparing;
    refusal_.clear();
    parts_.supervisor.hold(true);
    waiting_for_ = participants();
    for (const auto& child : parts_.supervisor.children()) {
        if (!waiting_for_.contains(child->pid)) {
            continue;
        }
        if (auto sent = send_prepare_to(*child); !sent) {
            waiting_for_.erase(child->pid);
            // What takes a dead one's place begins with whatever is in force then: there is nobody to refuse anything.
            if (!ipc::is_peer_dead(sent.error())) {
                refusal_ = name_of(*child) + " does not take messages";
            }
        }
    }
    proceed();
}

Result<void> Reload::send_prepare_to(const Child& child)
{
    if (child.role == shm::Role::worker) {
        for (const BoundAddress& address : parts_.listeners.pending()) {
            ipc::Message listener;
            listener.type = ipc::MessageType::listener;
            listener.text = address.bind.text;
            std::vector<int> sockets;
            std::transform(address.slots.begin(), address.slots.end(), std::back_inserter(sockets),
                           [](const os::Fd& fd) { return fd.get(); });
            if (auto sent = Supervisor::send_borrowed(child, std::move(listener), sockets); !sent) {
                return sent;
            }
        }
    }
    ipc::Message prepare;
    prepare.type = ipc::MessageType::prepare_config;
    prepare.generation = next_.config->generation;
    return Supervisor::send_borrowed(child, std::move(prepare), {next_.bundle.get()});
}

void Reload::on_message(Child& child, const ipc::Message& message)
{
    if (message.type == ipc::MessageType::listener_left) {
        return on_listener_left(child.pid, message.text);
    }
    if (!is_running() || message.generation != next_.config->generation || !waiting_for_.contains(child.pid)) {
        return;
    }
    if (message.type == ipc::MessageType::refused) {
        refusal_ = fmt::format("{} refused the configuration: {}", name_of(child), message.text);
    }
    waiting_for_.erase(child.pid);
    proceed();
}

void Reload::on_exit(const Child& child)
{
    std::vector<std::string> texts;
    for (const auto& [text, pids] : leaving_) {
        texts.push_back(text);
    }
    for (const std::string& text : texts) {
        on_listener_left(child.pid, text);
    }
    if (waiting_for_.erase(child.pid) != 0) {
        proceed();
    } else if (phase_ == Phase::completing && parts_.supervisor.is_crash_loop()) {
        finish(true, "applied, but not all workers stay up: see the error log", warnings_);
    }
}

void Reload::on_ready()
{
    if (phase_ == Phase::completing) {
        proceed();
    }
}

void Reload::proceed()
{
    if (!waiting_for_.empty()) {
        return;
    }
    switch (phase_) {
    case Phase::none:
        return;
    case Phase::preparing:
        return decide();
    case Phase::committing:
        return complete();
    case Phase::completing:
        if (parts_.supervisor.is_complete()) {
            finish(true, fmt::format("configuration {} is in force", parts_.running.config->generation), warnings_);
        }
        return;
    }
}

void Reload::decide()
{
    if (!refusal_.empty()) {
        return abort(refusal_);
    }
    if (auto listening = parts_.listeners.listen_pending(); !listening) {
        return abort(listening.error().detail);
    }
    commit();
}

void Reload::abort(std::string message)
{
    ipc::Message abort;
    abort.type = ipc::MessageType::abort_config;
    abort.generation = next_.config->generation;
    parts_.supervisor.send_to_all(abort);
    parts_.listeners.drop_pending();
    parts_.supervisor.hold(false);
    finish(false, std::move(message), warnings_);
}

void Reload::commit()
{
    phase_ = Phase::committing;
    waiting_for_ = participants();
    std::set<pid_t> workers;
    for (const auto& child : parts_.supervisor.children()) {
        if (child->role == shm::Role::worker && child->phase != Child::Phase::draining) {
            workers.insert(child->pid);
        }
    }
    parts_.running = Running{next_.config, std::move(next_.bundle), next_.since};
    parts_.listeners.commit(*next_.config);
    for (const BoundAddress& address : parts_.listeners.leaving()) {
        leaving_.emplace(address.bind.text, workers);
    }
    ipc::Message commit;
    commit.type = ipc::MessageType::commit_config;
    commit.generation = next_.config->generation;
    parts_.supervisor.send_to_all(commit);
    on_commit_(std::move(next_logs_));
    parts_.supervisor.hold(false);
    proceed();
}

void Reload::complete()
{
    phase_ = Phase::completing;
    std::ignore = limit_.start(
        parts_.loop, kCompleteLimit, loop::Timer::Repeat::once,
        [](void* self) {
            static_cast<Reload*>(self)->finish(true, "applied, but not all workers are ready yet: see the error log",
                                               static_cast<Reload*>(self)->warnings_);
        },
        this);
    const std::uint32_t workers = worker_count(*parts_.running.config);
    auto grown = parts_.listeners.grow(workers);
    if (!grown) {
        os::log(os::Level::error, "cannot open another slot", {{"reason", grown.error().detail}});
    } else {
        for (const ListenerSet::Grown& more : *grown) {
            for (const auto& child : parts_.supervisor.children()) {
                if (child->role == shm::Role::worker && child->phase != Child::Phase::draining) {
                    ipc::Message listener;
                    listener.type = ipc::MessageType::listener;
                    listener.text = more.text;
                    listener.number = 1;
                    std::ignore = Supervisor::send_borrowed(*child, std::move(listener), more.sockets);
                }
            }
        }
    }
    parts_.supervisor.want(workers, true);
    for (auto it = leaving_.begin(); it != leaving_.end();) {
        const std::string text = (it++)->first;
        on_listener_left(0, text); // closes at once what no worker holds
    }
    proceed();
}

void Reload::on_listener_left(pid_t pid, const std::string& text)
{
    const auto it = leaving_.find(text);
    if (it == leaving_.end()) {
        return;
    }
    it->second.erase(pid);
    if (it->second.empty() && phase_ != Phase::committing) {
        parts_.listeners.close_left(text);
        leaving_.erase(it);
    }
}

void Reload::finish(bool is_applied, std::string message, std::string diagnostics)
{
    limit_.stop();
    phase_ = Phase::none;
    waiting_for_.clear();
    next_ = Running{};
    next_logs_ = LogFiles{};
    const ReloadResult result{is_applied, std::move(message), std::move(diagnostics), std::time(nullptr)};
    const std::uint64_t generation = parts_.running.config->generation;
    if (is_applied) {
        os::log(os::Level::info, "reloaded", {{"message", result.message}, {"generation", generation}});
    } else { // whoever sent SIGHUP has no other place to read why
        os::log(os::Level::error, "reload refused",
                {{"message", result.message}, {"generation", generation}, {"errors", result.diagnostics}});
    }
    notify::ready("serving");
    for (const Done& done : std::exchange(asking_, {})) {
        done(result);
    }
    if (!queued_.empty()) {
        asking_ = std::exchange(queued_, {});
        begin();
    }
}

} // namespace ladle::master
