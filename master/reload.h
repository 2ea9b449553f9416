// SPDX-License-Identifier: Apache-2.0
//
// A reload: the running workers get another configuration, all of them or none.
//
//   load, check, bind new addresses ──► prepare (every child builds it) ──► commit (every child swaps it in) ──► complete
//         │ errors: refused                    │ one refuses: abort, refused          then more or fewer workers
//
// Past the decision nothing can fail that would leave two configurations in force: a child that dies is replaced by one that starts
// with the decided one (nothing is forked while it is undecided). Removed addresses stay open until every worker has taken what
// waited there. Requests that come in while one is under way are answered by one more reload after it. Master process.
#pragma once

#include "common/ipc/messages.h"
#include "common/loop/loop.h"
#include "master/child.h"
#include "master/listeners.h"
#include "master/log_files.h"
#include "master/running.h"
#include "master/supervisor.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace ladle::master {

struct ReloadResult {
    bool is_applied = false;
    std::string message;     ///< one line
    std::string diagnostics; ///< what `check` would print; may be empty
    std::time_t at = 0;
};

/// What a reload works on; all outlive it.
struct ReloadParts {
    loop::Loop& loop;
    shm::Arena& arena;
    ListenerSet& listeners;
    Supervisor& supervisor;
    Running& running;
    const std::string& config_path;
    std::function<Result<LogFiles>(const config::Config&)> open_logs;
    std::function<std::string()> server_changes; ///< what was changed beside the file
};

class Reload {
public:
    using Done = std::function<void(const ReloadResult&)>;
    /// Called at the commit, when parts.running has changed: logs are new, and who else needs to know.
    using OnCommit = std::function<void(LogFiles logs)>;

    Reload(ReloadParts parts, OnCommit on_commit);

    /// Begins one, or one more after that which is under way. `done` is called once, perhaps at once.
    void request(Done done);
    /// Begins one to what runs already, but for these files. Not while one is running.
    void renew(const RenewedFiles& renewed, Done done);
    /// Begins one to what runs already, with the server changes as they are now. Not while one is running.
    void rebuild(Done done);
    bool is_running() const { return phase_ != Phase::none; }
    /// The proxy stops: whoever asked is told so, and nothing is begun any more.
    void cancel();

    /// News of children, from the supervisor.
    void on_message(Child& child, const ipc::Message& message);
    void on_ready();
    void on_exit(const Child& child);

private:
    enum class Phase : std::uint8_t { none, preparing, committing, completing };

    void begin();
    void begin_with(LoadedFile loaded);
    bool prepare_next(LoadedFile loaded);
    void send_prepare();
    Result<void> send_prepare_to(const Child& child);
    void proceed();
    void decide();
    void commit();
    void complete();
    void finish(bool is_applied, std::string message, std::string diagnostics = {});
    void abort(std::string message);
    void on_listener_left(pid_t pid, const std::string& text);
    std::set<pid_t> participants() const;

    ReloadParts parts_;
    OnCommit on_commit_;
    Phase phase_ = Phase::none;
    Running next_;
    LogFiles next_logs_;
    std::string warnings_;
    std::set<pid_t> waiting_for_;
    std::string refusal_;
    std::vector<Done> asking_; ///< answered by the one under way
    std::vector<Done> queued_; ///< by the next
    loop::Timer limit_;
    std::map<std::string, std::set<pid_t>> leaving_; ///< removed address → workers that have not left it yet
};

} // namespace ladle::master
