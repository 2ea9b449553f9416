// SPDX-License-Identifier: Apache-2.0
//
// The master process: owns the sockets, the shared arena, the log files, the running configuration and the children, and does what
// signals and the control socket ask. It never reads a byte from the network.
//
// start() takes everything there is to fail (file, lock, logs, sockets) before the first fork; run() serves until told to stop.
//   SIGTERM, SIGINT: finish what is under way and stop (a second one: stop now) · SIGHUP: reload · SIGUSR1: reopen the logs ·
//   SIGUSR2: upgrade
#pragma once

#include "common/loop/loop.h"
#include "common/shm/arena.h"
#include "master/cache_orders.h"
#include "master/cache_owner.h"
#include "master/control/server.h"
#include "master/explainer.h"
#include "master/file_watch.h"
#include "master/listeners.h"
#include "master/log_files.h"
#include "master/reload.h"
#include "master/running.h"
#include "master/server_changes.h"
#include "master/server_orders.h"
#include "master/supervisor.h"
#include "master/tls_status.h"
#include "master/upgrade.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ladle::master {

struct StartOptions {
    std::string config_path; ///< absolute
    std::string binary_path; ///< absolute: what an upgrade executes
    Roles roles;
    std::string error_log; ///< a daemon's: used where the configuration says standard error; empty = standard error itself
    int handover = -1;     ///< memfd of the image before (upgrade.h); -1 = a fresh start
    /// Called once, when all children are ready (empty) or when that failed (one line).
    std::function<void(const std::string& failure)> on_started;
};

class Master {
public:
    explicit Master(StartOptions options);
    ~Master();

    /// Gets ready to serve, as far as the first forks. A failure is a line (or the diagnostics) for the user.
    Result<void> start();
    /// Serves; returns the exit status.
    int run();

private:
    Result<void> start_fresh();
    Result<void> take_over();
    Result<void> open_arena_and_servers();
    Result<void> open_listeners();
    Result<LogFiles> open_logs(const config::Config& config) const;
    void adopt_logs(LogFiles logs);
    bool adopt_arena(os::Fd fd);
    void open_cache();
    void open_orders();
    void adopt_cache(Handover& handover, bool is_same_layout);
    void adopt_listeners(const Handover& handover);
    void adopt_children(const Handover& handover, bool is_same_layout);
    void make_parts();
    void start_children();
    void tend_tickets();
    void take_replaced_files();
    Result<ipc::Inheritance> prepare_child(shm::Role role);

    void on_request(ControlServer::Id id, const nlohmann::json& request);
    void on_signal(int number);
    void on_commit(LogFiles logs);
    void on_replaced(const Upgrade::Outcome& outcome, std::uint32_t generation_before);
    void on_child_ready();
    void on_child_dead(const Child& child);
    void on_child_exit(const Child& child, bool is_crash);
    void on_tick();

    void begin_serving();
    void hold(ControlServer::Id id, const nlohmann::json& request);
    void list_cache(ControlServer::Id id, const nlohmann::json& request);
    void reload(ControlServer::Id id);
    void change_servers(ControlServer::Id id, const nlohmann::json& request);
    void apply_kept_changes();
    void reopen_logs(ControlServer::Id id);
    void send_logs();
    void upgrade(ControlServer::Id id);
    Handover make_handover(ControlServer::Id asking) const;
    nlohmann::json status();
    void stop(bool now);
    void finish_stop();
    void fail_start(std::string why);

    StartOptions options_;
    std::unique_ptr<loop::Loop> loop_;
    std::unique_ptr<shm::Arena> arena_;
    CacheOwner cache_;
    std::vector<std::unique_ptr<CacheListing>> listings_;
    std::vector<std::unique_ptr<CacheListing>> ended_listings_; ///< freed outside their own callback
    Running running_;
    Identity identity_;
    ListenerSet listeners_;
    LogFiles logs_;
    os::Fd spool_;
    std::unique_ptr<ControlServer> control_;
    std::unique_ptr<Supervisor> supervisor_;
    std::unique_ptr<Reload> reload_;
    std::unique_ptr<Upgrade> upgrade_;
    std::unique_ptr<Explainer> explainer_;
    std::vector<std::unique_ptr<loop::Signal>> signals_;
    loop::Timer tick_;

    enum class Phase : std::uint8_t { starting, serving, stopping } phase_ = Phase::starting;
    std::string start_failure_;
    int exit_status_ = 0;
    bool is_finished_ = false;
    std::time_t started_at_ = 0;
    std::vector<ControlServer::Id> waiting_for_stop_;
    /// Asked for while starting, to be done once we serve; id 0 = by a signal.
    struct Held {
        ControlServer::Id id;
        nlohmann::json request;
    };
    static constexpr std::size_t kMostHeld = 64;
    std::vector<Held> held_;
    std::optional<ReloadResult> last_reload_;
    CertificateBook certificates_;
    FileWatch files_;
    ServerOrders orders_;
    ServerChanges changes_;
    unsigned ticks_ = 0;
};

} // namespace ladle::master
