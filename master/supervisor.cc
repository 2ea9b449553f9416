// SPDX-License-Identifier: Apache-2.0
#include "master/supervisor.h"

#include "common/base/assert.h"
#include "common/os/log.h"
#include "common/os/process.h"
#include "common/os/socket.h"
#include "master/shm_owner.h"

#include <fmt/format.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ladle::master {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWatchInterval{100};
constexpr milliseconds kKillGrace{5'000}; ///< after the drain limit
/// For a worker that a reload made superfluous: nothing follows it and its sockets are its siblings', so that its tunnels and
/// downloads may go on to their end; a reload closes nothing.
constexpr milliseconds kNoHaste = std::chrono::hours(24);
constexpr loop::Nanos kSecond = 1'000'000'000;

ipc::Message make_message(ipc::MessageType type)
{
    ipc::Message message;
    message.type = type;
    return message;
}

} // namespace

std::string name_of(const Child& child)
{
    return child.role == shm::Role::worker ? fmt::format("worker {}", child.number) : "caretaker";
}

Supervisor::Supervisor(loop::Loop& loop, Roles roles, SupervisorEvents events)
    : loop_(loop), roles_(roles), events_(std::move(events)), last_check_(loop::clock_now())
{
    const auto signal = child_ended_.start(
        loop_, SIGCHLD, [](void* self, int) { static_cast<Supervisor*>(self)->reap(); }, this);
    const auto timer = watchdog_.start(
        loop_, kWatchInterval, loop::Timer::Repeat::every, [](void* self) { static_cast<Supervisor*>(self)->check_heartbeats(); },
        this);
    LADLE_ASSERT(signal && timer);
}

void Supervisor::want(std::uint32_t workers, bool caretaker)
{
    wanted_workers_ = workers;
    wanted_caretaker_ = caretaker;
    reconcile();
}

void Supervisor::hold(bool held)
{
    held_ = held;
    if (!held) {
        reconcile();
    }
}

void Supervisor::set_limits(milliseconds hang_timeout, milliseconds drain_timeout)
{
    hang_timeout_ = hang_timeout;
    drain_timeout_ = drain_timeout;
}

void Supervisor::set_arena(shm::Arena& arena, std::uint32_t generation)
{
    arena_ = &arena;
    generation_ = generation;
}

void Supervisor::adopt(std::unique_ptr<Child> child)
{
    Child& adopted = *child;
    children_.push_back(std::move(child));
    std::ignore = adopted.watch.start(
        loop_, adopted.channel.get(), loop::WatchMode::level_read,
        [](void* self, loop::Ready) {
            auto& [supervisor, c] = *static_cast<std::pair<Supervisor*, Child*>*>(self);
            supervisor->on_channel(*c);
        },
        (adopted.watch_self = std::make_unique<std::pair<Supervisor*, Child*>>(this, &adopted)).get());
}

bool Supervisor::has(shm::Role role, std::uint32_t number) const
{
    return std::any_of(children_.begin(), children_.end(),
                       [&](const auto& child) { return child->role == role && child->number == number && is_current(*child); });
}

bool Supervisor::is_complete() const
{
    const auto ready = std::count_if(children_.begin(), children_.end(), [this](const auto& child) {
        return is_current(*child) && child->phase == Child::Phase::ready;
    });
    return static_cast<std::uint32_t>(ready) == wanted_workers_ + (wanted_caretaker_ ? 1u : 0u);
}

bool Supervisor::is_crash_loop() const
{
    const loop::Nanos now = loop::clock_now();
    return workers_backoff_.is_crash_loop(now) || caretaker_backoff_.is_crash_loop(now);
}

void Supervisor::forgive()
{
    workers_backoff_.forgive();
    caretaker_backoff_.forgive();
}

void Supervisor::reconcile()
{
    for (const auto& child : children_) {
        const bool is_worker = child->role == shm::Role::worker;
        if (child->generation == generation_ && (is_worker ? child->number >= wanted_workers_ : !wanted_caretaker_)) {
            begin_drain(*child, ipc::DrainRest::leave_to_siblings, is_worker ? kNoHaste : drain_timeout_);
        }
    }
    if (held_) {
        return;
    }
    const loop::Nanos now = loop::clock_now();
    loop::Nanos next = loop::kNever;
    const auto start_missing = [&](shm::Role role, std::uint32_t number, Backoff& backoff) {
        if (has(role, number)) {
            return;
        }
        if (now < backoff.not_before()) {
            next = std::min(next, backoff.not_before());
        } else if (!start(role, number)) {
            backoff.on_crash(now, Siblings::none);
            next = std::min(next, std::max(backoff.not_before(), now + kSecond));
        }
    };
    if (wanted_caretaker_) {
        start_missing(shm::Role::caretaker, 0, caretaker_backoff_);
    }
    for (std::uint32_t number = 0; number < wanted_workers_; ++number) {
        start_missing(shm::Role::worker, number, workers_backoff_);
    }
    if (next != loop::kNever) {
        std::ignore = retry_.start(
            loop_, milliseconds((next - now) / 1'000'000 + 1), loop::Timer::Repeat::once,
            [](void* self) { static_cast<Supervisor*>(self)->reconcile(); }, this);
    }
}

bool Supervisor::start(shm::Role role, std::uint32_t number)
{
    auto inheritance = events_.prepare(role, number);
    auto channel = os::make_channel();
    if (!inheritance || !channel) {
        const std::string why = inheritance ? channel.error().detail : inheritance.error().detail;
        os::log(os::Level::error, "cannot start a process", {{"reason", why}});
        return false;
    }
    const int row = claim_row(arena_->regions(), {role, number, generation_, inheritance->generation});
    if (row < 0) {
        os::log(os::Level::error, "cannot start a process",
                {{"reason", "no free row in shared memory: those that are leaving must hurry"}});
        for (const auto& child : children_) {
            if (child->phase == Child::Phase::draining) {
                begin_drain(*child, ipc::DrainRest::leave_to_siblings, drain_timeout_);
            }
        }
        return false;
    }
    inheritance->role = role;
    inheritance->number = number;
    inheritance->row = static_cast<std::uint32_t>(row);
    inheritance->arena = arena_;
    inheritance->control = os::Fd(channel->second.get());
    inheritance->master_pid = ::getpid();

    pid_t pid = -1;
    {
        const os::SignalsBlocked blocked;
        pid = ::fork();
        if (pid == 0) {
            become_child(std::move(*inheritance));
        }
    }
    ipc::release_borrowed(*inheritance);
    if (pid < 0) {
        os::log(os::Level::error, "cannot fork", {{"reason", strerrordesc_np(errno)}});
        repair_after(arena_->regions(), row);
        return false;
    }
    set_row_pid(arena_->regions(), row, pid);
    auto child = std::make_unique<Child>();
    child->pid = pid;
    child->role = role;
    child->number = number;
    child->generation = generation_;
    child->row = row;
    child->cache_row = inheritance->cache == nullptr ? -1 : row;
    child->started = loop::clock_now();
    child->channel = std::move(channel->first);
    adopt(std::move(child));
    return true;
}

void Supervisor::become_child(ipc::Inheritance inheritance)
{
    std::vector<int> keep = {inheritance.control.get(), inheritance.bundle.get(), inheritance.access_log.get(),
                             inheritance.error_log.get(), inheritance.spool_directory.get(), inheritance.cache_files.get(),
                             inheritance.disk_files.get()};
    for (const os::Fd& bell : inheritance.cache_bells) {
        keep.push_back(bell.get());
    }
    for (const ipc::ListenerSlots& listener : inheritance.listeners) {
        for (const os::Fd& slot : listener.slots) {
            keep.push_back(slot.get());
        }
    }
    os::close_all_but(std::move(keep));
    os::reset_signals();
    const auto role = inheritance.role == shm::Role::worker ? roles_.worker : roles_.caretaker;
    role(std::move(inheritance));
    std::abort();
}

void Supervisor::on_channel(Child& child)
{
    for (;;) {
        auto message = ipc::receive(child.channel.get());
        if (!message) {
            if (message.error().code != EAGAIN) {
                child.watch.stop(); // it is dead or about to be: the reap tells the rest
            }
            return;
        }
        if (message->type == ipc::MessageType::ready) {
            if (child.phase == Child::Phase::starting) {
                child.phase = Child::Phase::ready;
            }
            check_barrier();
            events_.on_ready(child);
        } else if (message->type == ipc::MessageType::refused && child.phase == Child::Phase::starting) {
            child.last_words = message->text;
        } else {
            events_.on_message(child, *message);
        }
    }
}

void Supervisor::check_barrier()
{
    for (const auto& child : children_) {
        if (child->role == shm::Role::worker && is_current(*child) && child->phase == Child::Phase::starting) {
            return;
        }
    }
    for (const auto& child : children_) {
        if (child->role == shm::Role::worker && is_current(*child) && !child->has_joined) {
            child->has_joined = true;
            std::ignore = ipc::send(child->channel.get(), make_message(ipc::MessageType::join_siblings));
        }
    }
}

Result<void> Supervisor::send_borrowed(const Child& child, ipc::Message message, const std::vector<int>& sockets)
{
    for (const int fd : sockets) {
        message.descriptors.emplace_back(fd);
    }
    auto sent = ipc::send(child.channel.get(), message);
    for (os::Fd& fd : message.descriptors) {
        fd.release();
    }
    return sent;
}

void Supervisor::begin_drain(Child& child, ipc::DrainRest rest, milliseconds limit)
{
    const loop::Nanos leave_by = loop::clock_now() + loop::to_nanos(limit + kKillGrace);
    if (child.phase == Child::Phase::draining && child.leave_by <= leave_by) {
        return;
    }
    child.phase = Child::Phase::draining;
    child.leave_by = leave_by;
    ipc::Message message = make_message(ipc::MessageType::drain);
    message.number = static_cast<std::uint64_t>(limit.count());
    message.generation = static_cast<std::uint64_t>(rest);
    std::ignore = ipc::send(child.channel.get(), message);
}

void Supervisor::drain_if(const std::function<bool(const Child&)>& which, ipc::DrainRest rest)
{
    for (const auto& child : children_) {
        if (which(*child)) {
            begin_drain(*child, rest, drain_timeout_);
        }
    }
}

void Supervisor::stop_all(milliseconds grace)
{
    wanted_workers_ = 0;
    wanted_caretaker_ = false;
    for (const auto& child : children_) {
        child->phase = Child::Phase::draining;
        child->leave_by = loop::clock_now() + loop::to_nanos(grace);
        std::ignore = ipc::send(child->channel.get(), make_message(ipc::MessageType::stop));
    }
}

void Supervisor::kill_if(const std::function<bool(const Child&)>& which)
{
    for (const auto& child : children_) {
        if (which(*child)) {
            child->phase = Child::Phase::draining; // its end is no crash
            ::kill(child->pid, SIGKILL);
        }
    }
}

void Supervisor::send_to_all(ipc::Message& message)
{
    for (const auto& child : children_) {
        std::ignore = ipc::send(child->channel.get(), message);
    }
}

void Supervisor::reap()
{
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            break;
        }
        on_reaped(pid, status);
    }
    reconcile();
}

void Supervisor::on_reaped(pid_t pid, int status)
{
    const auto it = std::find_if(children_.begin(), children_.end(), [pid](const auto& child) { return child->pid == pid; });
    if (it == children_.end()) {
        return events_.on_stranger(pid, status);
    }
    on_channel(**it); // its last words
    std::unique_ptr<Child> child = std::move(*it);
    children_.erase(it);
    const bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const bool is_crash = child->phase != Child::Phase::draining && !is_clean;
    log_end(*child, status, is_crash);
    events_.on_dead(*child);
    if (child->row >= 0) {
        repair_after(arena_->regions(), child->row);
    }
    if (is_crash) {
        count_crash(*child);
    }
    events_.on_exit(*child, is_crash);
    check_barrier();
}

void Supervisor::count_crash(const Child& child)
{
    const bool do_siblings_serve =
        child.phase == Child::Phase::ready && std::any_of(children_.begin(), children_.end(), [this, &child](const auto& other) {
            return other->role == child.role && is_current(*other) && other->phase == Child::Phase::ready;
        });
    const loop::Nanos now = loop::clock_now();
    Backoff& backoff = child.role == shm::Role::worker ? workers_backoff_ : caretaker_backoff_;
    backoff.on_crash(now, do_siblings_serve ? Siblings::serve : Siblings::none);
    if (backoff.is_crash_loop(now)) {
        os::log(
            os::Level::error, "crash loop: waiting before the next start",
            {{"process", name_of(child)}, {"wait_ms", backoff.not_before() > now ? (backoff.not_before() - now) / 1'000'000 : 0}});
    }
}

void Supervisor::log_end(const Child& child, int status, bool is_crash) const
{
    const std::string how = WIFSIGNALED(status) ? fmt::format("killed by {} ({})", WTERMSIG(status), sigdescr_np(WTERMSIG(status)))
                                                : fmt::format("exit status {}", WEXITSTATUS(status));
    std::string note;
    if (child.row >= 0) {
        const char* text = arena_->regions().rows[child.row].note;
        note.assign(text, ::strnlen(text, shm::kNoteBytes));
    }
    os::log(is_crash ? os::Level::error : os::Level::info, is_crash ? "process crashed" : "process ended",
            {{"process", name_of(child)}, {"pid", child.pid}, {"how", how}, {"note", note}});
}

void Supervisor::check_heartbeats()
{
    const loop::Nanos now = loop::clock_now();
    if (now - last_check_ > kSecond) {
        // We were not running ourselves (the whole group stopped, or the machine short of CPU): everybody starts anew.
        forgiven_until_ = now;
    }
    last_check_ = now;
    for (const auto& child : children_) {
        check_heartbeat(*child, now);
    }
}

void Supervisor::check_heartbeat(Child& child, loop::Nanos now)
{
    if (child.phase == Child::Phase::draining && now > child.leave_by) {
        child.leave_by = now + kSecond;
        ::kill(child.pid, SIGKILL);
        return;
    }
    if (child.row < 0) {
        return;
    }
    const loop::Nanos beat =
        std::max(arena_->regions().rows[child.row].heartbeat_ns.load(std::memory_order_relaxed), forgiven_until_);
    const loop::Nanos silence = now > beat ? now - beat : 0;
    if (silence < kSecond) {
        child.was_warned = false;
        child.aborted = 0;
        return;
    }
    if (!child.was_warned) {
        child.was_warned = true;
        os::log(os::Level::warning, "process does not answer",
                {{"process", name_of(child)}, {"pid", child.pid}, {"silent_ms", silence / 1'000'000}});
    }
    const loop::Nanos hang = loop::to_nanos(hang_timeout_);
    if (child.aborted == 0 && silence >= hang) {
        // A stopped process would take SIGABRT only when continued; it has no stack worth a core anyway.
        const bool is_stopped = os::is_stopped(child.pid);
        os::log(os::Level::error, "process hangs: replacing it",
                {{"process", name_of(child)}, {"pid", child.pid}, {"signal", is_stopped ? "KILL" : "ABRT"}});
        ::kill(child.pid, is_stopped ? SIGKILL : SIGABRT);
        child.aborted = now;
    } else if (child.aborted != 0 && now - child.aborted >= hang) {
        ::kill(child.pid, SIGKILL);
        child.aborted = now;
    }
}

} // namespace ladle::master
