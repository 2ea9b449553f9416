// SPDX-License-Identifier: Apache-2.0
//
// The supervisor keeps the wanted processes running: `workers` workers, numbered from 0, and one caretaker, all of the current
// binary. It forks, reaps, repairs what the dead leave in shared memory, replaces crashed ones (backoff.h), watches heartbeats
// (warns after a second, then SIGABRT, then SIGKILL), and drains those that are no longer wanted. Master process; owned by Master.
//
// READY barrier: a worker registers its own slot and says ready; only when every worker that is alive is ready are all told to join
// their siblings' slots. So the own slot's owner stays first in the kernel's queue of waiters.
#pragma once

#include "common/ipc/messages.h"
#include "common/loop/loop.h"
#include "master/backoff.h"
#include "master/child.h"

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace ladle::master {

/// What the supervisor asks and tells its owner. Called from the loop.
struct SupervisorEvents {
    /// Fills what a new child inherits, with borrowed descriptors: the child alone will use them.
    std::function<Result<ipc::Inheritance>(shm::Role role, std::uint32_t number)> prepare;
    std::function<void(Child&, ipc::Message&)> on_message; ///< of any type but ready and refused-at-start
    std::function<void(Child&)> on_ready;
    std::function<void(const Child&)> on_dead; ///< reaped: to repair what it left, before another can have its row
    std::function<void(const Child&, bool is_crash)> on_exit; ///< reaped; the child is forgotten after the call
    std::function<void(pid_t pid, int status)> on_stranger;   ///< a child that is not ours to supervise ended
};

class Supervisor {
public:
    Supervisor(loop::Loop& loop, Roles roles, SupervisorEvents events);

    /// How many workers there should be, and whether a caretaker. Starts and drains what it takes.
    void want(std::uint32_t workers, bool caretaker);
    std::uint32_t wanted_workers() const { return wanted_workers_; }
    /// While held nothing is forked (a reload is between two configurations).
    void hold(bool held);
    void set_limits(std::chrono::milliseconds hang_timeout, std::chrono::milliseconds drain_timeout);
    /// Which arena rows lie in, and the number of the binary, for children to come.
    void set_arena(shm::Arena& arena, std::uint32_t generation);
    std::uint32_t generation() const { return generation_; }
    /// Nobody is replaced any more.
    void forget_wanted() { wanted_workers_ = 0, wanted_caretaker_ = false; }

    /// Takes over a child of the binary before (same PID, so it is ours to reap).
    void adopt(std::unique_ptr<Child> child);
    /// Begins to drain: every child for which `which` holds. `rest`: they take what waits in the queues first, as nobody follows.
    void drain_if(const std::function<bool(const Child&)>& which, ipc::DrainRest rest);
    /// Tells every child to leave at once; who has not after `grace` is killed.
    void stop_all(std::chrono::milliseconds grace);
    /// SIGKILL to every child for which `which` holds.
    void kill_if(const std::function<bool(const Child&)>& which);

    /// SIGCHLD came, or may have been lost.
    void reap();
    void send_to_all(ipc::Message& message);
    /// Sends a message whose descriptors are borrowed.
    static Result<void> send_borrowed(const Child& child, ipc::Message message, const std::vector<int>& sockets);

    const std::list<std::unique_ptr<Child>>& children() const { return children_; }
    bool is_current(const Child& child) const { return child.generation == generation_ && child.phase != Child::Phase::draining; }
    /// Whether all that are wanted are there and ready.
    bool is_complete() const;
    /// Processes started in place of crashed ones, and whether they crash again and again.
    std::uint64_t restarts() const { return workers_backoff_.total() + caretaker_backoff_.total(); }
    bool is_crash_loop() const;
    const Backoff& workers_backoff() const { return workers_backoff_; }
    void forgive();
    /// Counts restarts on from those of the image before.
    void adopt_restarts(std::uint64_t restarts) { workers_backoff_.add_former(restarts); }

private:
    void reconcile();
    bool has(shm::Role role, std::uint32_t number) const;
    bool start(shm::Role role, std::uint32_t number);
    [[noreturn]] void become_child(ipc::Inheritance inheritance);
    void on_channel(Child& child);
    void check_barrier();
    /// Asks the child to leave within `limit`; of one that is leaving already, only an earlier end counts.
    void begin_drain(Child& child, ipc::DrainRest rest, std::chrono::milliseconds limit);
    void on_reaped(pid_t pid, int status);
    void count_crash(const Child& child);
    void log_end(const Child& child, int status, bool is_crash) const;
    void check_heartbeats();
    void check_heartbeat(Child& child, loop::Nanos now);

    loop::Loop& loop_;
    Roles roles_;
    SupervisorEvents events_;
    shm::Arena* arena_ = nullptr;
    std::uint32_t generation_ = 0;
    std::uint32_t wanted_workers_ = 0;
    bool wanted_caretaker_ = false;
    bool held_ = false;
    std::chrono::milliseconds hang_timeout_{10'000};
    std::chrono::milliseconds drain_timeout_{30'000};
    std::list<std::unique_ptr<Child>> children_;
    Backoff workers_backoff_;
    Backoff caretaker_backoff_;
    loop::Signal child_ended_;
    loop::Timer watchdog_;
    loop::Timer retry_;
    loop::Nanos last_check_ = 0;
    loop::Nanos forgiven_until_ = 0; ///< the master itself was stopped: silence until then is not the children's fault
};

} // namespace ladle::master
