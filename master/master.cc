// SPDX-License-Identifier: Apache-2.0
#include "master/master.h"

#include "common/base/assert.h"
#include "common/os/log.h"
#include "common/os/process.h"
#include "master/notify.h"
#include "master/shm_owner.h"
#include "master/sticky_key_file.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace ladle::master {

namespace {

constexpr unsigned kTicksToFree = 10; ///< seconds between looks for servers that nobody names
constexpr unsigned kTicksToTidy = 60; ///< and for folders of the cache that nobody uses
constexpr unsigned kTicksToTend = 5;  ///< and at what the disk tier remembers

std::vector<int> all_sockets(const ListenerSet& listeners)
{
    std::vector<int> sockets;
    for (const BoundAddress& address : listeners.active()) {
        for (const os::Fd& slot : address.slots) {
            sockets.push_back(slot.get());
        }
    }
    return sockets;
}

} // namespace

Master::Master(StartOptions options) : options_(std::move(options))
{
}

Master::~Master() = default;

Result<void> Master::start()
{
    os::set_title("ladle: master");
    os::set_log_origin("master");
    os::raise_descriptor_limit();
    ::signal(SIGPIPE, SIG_IGN);
    auto loop = loop::Loop::make();
    if (!loop) {
        return std::unexpected(loop.error());
    }
    loop_ = std::move(*loop);
    control_ = std::make_unique<ControlServer>(
        *loop_, [this](ControlServer::Id id, const nlohmann::json& request) { on_request(id, request); });
    upgrade_ = std::make_unique<Upgrade>(*loop_, options_.binary_path, options_.config_path);
    return options_.handover >= 0 ? take_over() : start_fresh();
}

Result<void> Master::start_fresh()
{
    started_at_ = std::time(nullptr);
    LoadedFile loaded = load_file(options_.config_path, 1);
    if (!loaded.running.config) {
        return fail(Origin::local, explain(loaded) + config::summary(loaded.diagnostics));
    }
    for (const config::Diagnostic& warning : loaded.diagnostics) {
        os::log(os::Level::warning, "configuration",
                {{"file", warning.file}, {"line", warning.line}, {"message", warning.message}});
    }
    running_ = std::move(loaded.running);
    auto identity = find_identity(*running_.config);
    if (!identity) {
        return std::unexpected(identity.error());
    }
    identity_ = *identity;
    if (auto opened = control_->open(running_.config->server.admin); !opened) {
        return opened;
    }
    apply_kept_changes();
    auto logs = open_logs(*running_.config);
    if (!logs) {
        control_->close();
        return std::unexpected(logs.error());
    }
    adopt_logs(std::move(*logs));
    if (auto opened = open_arena_and_servers(); !opened) {
        control_->close();
        return opened;
    }
    if (auto opened = open_listeners(); !opened) {
        control_->close();
        return opened;
    }
    open_cache();
    make_parts();
    supervisor_->set_arena(*arena_, 1);
    start_children();
    return {};
}

Result<void> Master::open_arena_and_servers()
{
    auto arena = shm::Arena::make();
    if (!arena) {
        return std::unexpected(arena.error());
    }
    arena_ = std::make_unique<shm::Arena>(std::move(*arena));
    if (auto assigned = assign_servers(arena_->regions(), *running_.config); !assigned) {
        return assigned;
    }
    provide_sticky_key(arena_->regions().sticky, *running_.config);
    open_orders();
    return {};
}

/// Those of a master that has crashed: one that was replaced hands over what it ran.
void Master::apply_kept_changes()
{
    changes_.open(running_.config->server.admin + ".servers");
    if (changes_.text().empty()) {
        return;
    }
    LoadedFile changed = load_changed(running_, changes_.text(), 1);
    if (!changed.running.config) {
        os::log(os::Level::error, "servers that were added or removed are as the file has them", {{"reason", explain(changed)}});
        return changes_.close();
    }
    running_ = std::move(changed.running);
}

void Master::open_orders()
{
    orders_.open(running_.config->server.admin + ".orders");
    orders_.apply(arena_->regions(), *running_.config);
}

Result<void> Master::open_listeners()
{
    for (os::Fd& socket : notify::take_passed()) {
        listeners_.offer(std::move(socket));
    }
    if (auto bound = listeners_.prepare(*running_.config, worker_count(*running_.config)); !bound) {
        return bound;
    }
    if (auto listening = listeners_.listen_pending(); !listening) {
        return listening;
    }
    listeners_.commit(*running_.config);
    listeners_.drop_offered();
    if (auto grown = listeners_.grow(worker_count(*running_.config)); !grown) {
        return std::unexpected(grown.error());
    }
    return {};
}

Result<LogFiles> Master::open_logs(const config::Config& config) const
{
    config::Log log = config.log;
    if (log.error.kind == config::LogTarget::Kind::standard_error && !options_.error_log.empty()) {
        log.error = config::LogTarget{config::LogTarget::Kind::file, options_.error_log};
    }
    return master::open_logs(log);
}

void Master::adopt_logs(LogFiles logs)
{
    os::set_log_descriptor(logs.error.get());
    os::set_log_level(static_cast<os::Level>(running_.config->log.error_level));
    logs_ = std::move(logs);
    if (!options_.error_log.empty() && logs_.error) {
        ::dup2(logs_.error.get(), 2); // a daemon's last words
    }
}

Result<void> Master::take_over()
{
    const os::Fd file(options_.handover);
    auto handover = read_handover(file.get());
    if (!handover) {
        return std::unexpected(handover.error());
    }
    for (const int fd : descriptors_of(*handover)) {
        ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    started_at_ = handover->started_at;
    options_.error_log = handover->error_log;
    if (!handover->binary_path.empty()) {
        options_.binary_path = handover->binary_path;
        upgrade_ = std::make_unique<Upgrade>(*loop_, options_.binary_path, options_.config_path);
    }
    os::Fd bundle(handover->bundle);
    config::LoadResult loaded = config::load_bundle(bundle.get());
    if (!loaded.config) {
        return fail(Origin::local, config::to_text(loaded.diagnostics));
    }
    running_ = Running{std::move(loaded.config), std::move(bundle), handover->config_since};
    if (auto identity = find_identity(*running_.config)) {
        identity_ = *identity;
    }
    if (auto adopted =
            control_->adopt(running_.config->server.admin, os::Fd(handover->control_socket), os::Fd(handover->control_lock));
        !adopted) {
        return adopted;
    }
    if (auto logs = open_logs(*running_.config)) {
        adopt_logs(std::move(*logs));
    }
    const bool is_same_layout = adopt_arena(os::Fd(handover->arena));
    if (shm::TicketKeySet keys; !is_same_layout && handover->ticket_keys.size() == sizeof keys) {
        std::memcpy(keys.data(), handover->ticket_keys.data(), sizeof keys);
        shm::restore_ticket_keys(arena_->regions().tickets, keys, handover->ticket_keys_since);
    }
    if (auto assigned = assign_servers(arena_->regions(), *running_.config); !assigned) {
        return assigned;
    }
    provide_sticky_key(arena_->regions().sticky, *running_.config);
    open_orders();
    changes_.open(running_.config->server.admin + ".servers");
    adopt_cache(*handover, is_same_layout);
    adopt_listeners(*handover);
    make_parts();
    adopt_children(*handover, is_same_layout);
    return {};
}

bool Master::adopt_arena(os::Fd fd)
{
    auto arena = shm::Arena::adopt(std::move(fd));
    const bool is_same_layout = arena.has_value();
    if (!is_same_layout) {
        // The old workers go on in theirs, unseen; it goes with the last of them.
        os::log(os::Level::info, "a new shared arena", {{"reason", arena.error().detail}});
        arena = shm::Arena::make();
    }
    LADLE_ASSERT(arena.has_value());
    arena_ = std::make_unique<shm::Arena>(std::move(*arena));
    return is_same_layout;
}

void Master::open_cache()
{
    cache_.make(running_.config->cache, identity_);
    if (cache_.exists()) {
        const int row = claim_row(arena_->regions(), {shm::Role::master, 0, 1, running_.config->generation});
        set_row_pid(arena_->regions(), row, ::getpid());
        cache_.use_row(row);
    }
}

/// The cache outlives a change of the arena's layout: who was in a row of the cache keeps it.
void Master::adopt_cache(Handover& handover, bool is_same_layout)
{
    shm::Regions& regions = arena_->regions();
    const bool is_same_cache = cache_.adopt(handover.cache, running_.config->cache, identity_);
    for (HandedChild& child : handover.children) {
        if (child.cache_row >= 0 && is_same_cache && !is_same_layout) {
            reserve_row(regions, child.cache_row, child.pid);
        } else if (child.cache_row >= 0 && !is_same_cache && is_same_layout && child.row < 0) {
            repair_after(regions, child.cache_row); // reserved at the upgrade before, for a cache that is given up
        }
        child.cache_row = is_same_cache ? child.cache_row : -1;
    }
    int row = is_same_layout || is_same_cache ? handover.cache.row : -1;
    if (row >= 0 && !cache_.exists()) {
        repair_after(regions, row);
    }
    if (!cache_.exists()) {
        return;
    }
    if (row < 0) {
        row = claim_row(regions, {shm::Role::master, 0, handover.generation + 1, running_.config->generation});
    }
    if (row >= 0) {
        regions.rows[row].role.store(shm::Role::master, std::memory_order_relaxed);
        set_row_pid(regions, row, ::getpid());
    }
    cache_.use_row(row);
}

void Master::adopt_listeners(const Handover& handover)
{
    const std::vector<config::BindAddress> configured = bind_addresses(*running_.config);
    for (const HandedAddress& handed : handover.listeners) {
        const auto it =
            std::find_if(configured.begin(), configured.end(), [&](const auto& bind) { return bind.text == handed.text; });
        BoundAddress address;
        if (it != configured.end()) {
            address.bind = *it;
        }
        address.bind.text = handed.text;
        for (const int fd : handed.slots) {
            address.slots.emplace_back(fd);
        }
        listeners_.adopt_active(std::move(address));
    }
}

void Master::adopt_children(const Handover& handover, bool is_same_layout)
{
    for (const HandedChild& handed : handover.children) {
        auto child = std::make_unique<Child>();
        child->pid = handed.pid;
        child->role = handed.role;
        child->number = handed.number;
        child->generation = handed.generation;
        child->row = is_same_layout ? handed.row : -1;
        child->cache_row = handed.cache_row;
        child->phase = handed.is_draining ? Child::Phase::draining : Child::Phase::ready;
        child->has_joined = handed.has_joined;
        child->started = loop::clock_now();
        child->leave_by = loop::clock_now() + loop::to_nanos(running_.config->server.drain_timeout + std::chrono::seconds(5));
        child->channel = os::Fd(handed.channel);
        supervisor_->adopt(std::move(child));
    }
    supervisor_->adopt_restarts(handover.restarts);
    const std::uint32_t before = handover.generation;
    supervisor_->set_arena(*arena_, before + 1);
    const ControlServer::Id asking = handover.asking >= 0 ? control_->adopt_connection(os::Fd(handover.asking)) : 0;
    upgrade_->continue_after_exec([this, asking, before, from = handover.from_version](const Upgrade::Outcome& outcome) {
        on_replaced(outcome, before);
        control_->answer(asking, {{"ok", outcome.is_done},
                                  {"message", outcome.is_done ? fmt::format("upgraded from {} to {}", from, LADLE_VERSION)
                                                              : "not upgraded: " + outcome.message}});
    });
    // Caretakers are not to be two for long; a worker goes only when its successors serve.
    supervisor_->drain_if([before](const Child& child) { return child.role == shm::Role::caretaker && child.generation <= before; },
                          ipc::DrainRest::leave_to_siblings);
    start_children();
    supervisor_->reap(); // a SIGCHLD may have been lost in the exec
}

void Master::on_replaced(const Upgrade::Outcome& outcome, std::uint32_t generation_before)
{
    if (outcome.is_done) {
        supervisor_->drain_if([generation_before](const Child& child) { return child.generation <= generation_before; },
                              ipc::DrainRest::leave_to_siblings);
        begin_serving();
        return;
    }
    supervisor_->kill_if([generation_before](const Child& child) { return child.generation > generation_before; });
    supervisor_->set_arena(*arena_, generation_before);
    supervisor_->forgive();
    supervisor_->want(supervisor_->wanted_workers(), true);
    begin_serving();
}

void Master::make_parts()
{
    spool_ = open_spool(running_.config->budget.spool_path, identity_.uid, identity_.gid);
    SupervisorEvents events;
    events.prepare = [this](shm::Role role, std::uint32_t) { return prepare_child(role); };
    events.on_message = [this](Child& child, ipc::Message& message) {
        if (message.type == ipc::MessageType::explained) {
            return explainer_->on_message(child, message);
        }
        reload_->on_message(child, message);
    };
    events.on_ready = [this](Child&) { on_child_ready(); };
    events.on_dead = [this](const Child& child) { on_child_dead(child); };
    events.on_exit = [this](const Child& child, bool is_crash) { on_child_exit(child, is_crash); };
    events.on_stranger = [this](pid_t pid, int status) {
        if (phase_ != Phase::stopping) {
            upgrade_->on_stranger(pid, status);
        }
    };
    supervisor_ = std::make_unique<Supervisor>(*loop_, options_.roles, std::move(events));
    explainer_ = std::make_unique<Explainer>(*supervisor_, *control_);
    reload_ = std::make_unique<Reload>(ReloadParts{*loop_, *arena_, listeners_, *supervisor_, running_, options_.config_path,
                                                   [this](const config::Config& config) { return open_logs(config); },
                                                   [this] { return changes_.text(); }},
                                       [this](LogFiles logs) { on_commit(std::move(logs)); });
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) {
        auto signal = std::make_unique<loop::Signal>();
        LADLE_ASSERT(signal->start(
            *loop_, number, [](void* self, int n) { static_cast<Master*>(self)->on_signal(n); }, this));
        signals_.push_back(std::move(signal));
    }
    loop::unblock_other_signals(); // the image before blocked them all
    LADLE_ASSERT(tick_.start(
        *loop_, std::chrono::seconds(1), loop::Timer::Repeat::every, [](void* self) { static_cast<Master*>(self)->on_tick(); },
        this));
}

void Master::start_children()
{
    tend_tickets();
    const config::Server& server = running_.config->server;
    supervisor_->set_limits(server.worker_hang_timeout, server.drain_timeout);
    supervisor_->want(worker_count(*running_.config), true);
}

void Master::tend_tickets()
{
    const config::Tls& tls = running_.config->tls;
    shm::TicketKeys& keys = arena_->regions().tickets;
    const auto now_s = static_cast<std::uint64_t>(std::time(nullptr));
    if (!tls.ticket_keys.empty()) {
        std::vector<std::string_view> given;
        std::transform(tls.ticket_keys.begin(), tls.ticket_keys.end(), std::back_inserter(given),
                       [](const config::SharedText& key) { return key.text; });
        return shm::adopt_ticket_keys(keys, given, now_s);
    }
    const auto period = std::chrono::duration_cast<std::chrono::seconds>(tls.tickets);
    if (!shm::tend_ticket_keys(keys, now_s, static_cast<std::uint64_t>(period.count()))) {
        os::log(os::Level::warning, "no new keys for session tickets: the kernel gives no random numbers");
    }
}

/// [tls] watch
void Master::take_replaced_files()
{
    if (!running_.config->tls.watches || phase_ != Phase::serving || reload_->is_running() || upgrade_->is_running()) {
        return;
    }
    const RenewedFiles renewed = files_.look(running_);
    if (renewed.empty()) {
        return;
    }
    for (const auto& [path, text] : renewed) {
        os::log(os::Level::info, "a file was replaced", {{"file", path}});
    }
    reload_->renew(renewed, [this](const ReloadResult& result) { last_reload_ = result; });
}

Result<ipc::Inheritance> Master::prepare_child(shm::Role role)
{
    ipc::Inheritance inheritance;
    inheritance.generation = running_.config->generation;
    inheritance.bundle = os::Fd(running_.bundle.get());
    inheritance.error_log = os::Fd(logs_.error.get());
    inheritance.uid = identity_.uid;
    inheritance.gid = identity_.gid;
    cache_.lend(inheritance);
    if (role != shm::Role::worker) {
        return inheritance;
    }
    inheritance.access_log = os::Fd(logs_.access.get());
    inheritance.spool_directory = os::Fd(spool_.get());
    for (const BoundAddress& address : listeners_.active()) {
        ipc::ListenerSlots slots;
        slots.text = address.bind.text;
        for (const os::Fd& slot : address.slots) {
            slots.slots.emplace_back(slot.get());
        }
        inheritance.listeners.push_back(std::move(slots));
    }
    return inheritance;
}

int Master::run()
{
    loop_->run();
    return exit_status_;
}

void Master::on_commit(LogFiles logs)
{
    adopt_logs(std::move(logs));
    send_logs();
    orders_.apply(arena_->regions(), *running_.config); // to servers that are back in the file, too
    tend_tickets();
    if (auto identity = find_identity(*running_.config)) {
        identity_ = *identity;
    }
    spool_ = open_spool(running_.config->budget.spool_path, identity_.uid, identity_.gid);
    supervisor_->set_limits(running_.config->server.worker_hang_timeout, running_.config->server.drain_timeout);
    supervisor_->forgive();
    if (!listeners_.leaving().empty()) {
        notify::drop_stored();
    }
    notify::store(all_sockets(listeners_)); // systemd knows which of them it has already
}

void Master::send_logs()
{
    for (const auto& child : supervisor_->children()) {
        ipc::Message message;
        message.type = ipc::MessageType::new_logs;
        std::vector<int> files;
        if (logs_.access && child->role == shm::Role::worker) {
            message.number |= 1u;
            files.push_back(logs_.access.get());
        }
        if (logs_.error) {
            message.number |= 2u;
            files.push_back(logs_.error.get());
        }
        std::ignore = Supervisor::send_borrowed(*child, std::move(message), files);
    }
}

void Master::on_child_ready()
{
    reload_->on_ready();
    if (!supervisor_->is_complete() || phase_ != Phase::starting) {
        return;
    }
    if (upgrade_->is_running()) {
        return upgrade_->on_complete();
    }
    os::log(os::Level::info, "serving",
            {{"version", LADLE_VERSION}, {"pid", ::getpid()}, {"workers", supervisor_->wanted_workers()}});
    notify::store(all_sockets(listeners_));
    notify::ready("serving");
    if (options_.on_started) {
        options_.on_started("");
    }
    begin_serving();
}

void Master::on_child_dead(const Child& child)
{
    cache_.repair(child.cache_row);
    if (child.row < 0 && child.cache_row >= 0) {
        repair_after(arena_->regions(), child.cache_row); // it was reserved
    }
}

void Master::on_child_exit(const Child& child, bool is_crash)
{
    reload_->on_exit(child);
    explainer_->on_exit(child);
    if (phase_ == Phase::stopping) {
        if (supervisor_->children().empty()) {
            finish_stop();
        }
        return;
    }
    if (!is_crash || phase_ != Phase::starting) {
        return;
    }
    const std::string why =
        fmt::format("{} does not start: {}", name_of(child), child.last_words.empty() ? "see the error log" : child.last_words);
    if (upgrade_->is_running()) {
        upgrade_->on_failure(why);
    } else {
        fail_start(why);
    }
}

void Master::fail_start(std::string why)
{
    os::log(os::Level::error, "not started", {{"reason", why}});
    start_failure_ = std::move(why);
    exit_status_ = 1;
    stop(true);
}

void Master::on_tick()
{
    ++ticks_;
    explainer_->on_tick();
    if (phase_ == Phase::stopping) {
        notify::extend(std::chrono::seconds(10));
        if (supervisor_->children().empty()) {
            finish_stop();
        }
        return;
    }
    notify::keep_alive();
    tend_tickets();
    take_replaced_files();
    if (ticks_ % kTicksToTidy == 0) {
        cache_.remove_unused_folders();
    }
    if (ticks_ % kTicksToTend == 0) {
        cache_.tend_disk();
    }
    if (ticks_ % kTicksToFree == 0 && !reload_->is_running()) {
        free_unnamed_servers(arena_->regions(), *running_.config);
    }
}

} // namespace ladle::master
