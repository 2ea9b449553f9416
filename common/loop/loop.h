// SPDX-License-Identifier: Apache-2.0
//
// The event loop of one process: descriptors, timers, signals and posted work, on libevent_core, which nothing outside this folder
// sees. Make it after the fork, one per process; everything here belongs to the thread that runs it.
//
// Cost rules: a Watch adds its descriptor once and edge-triggered, so the steady state makes no epoll_ctl; a Deadline is a stored
// number that the wheel looks at when it comes by, so moving it further away costs one store.
#pragma once

#include "common/base/error.h"

#include <chrono>
#include <cstdint>
#include <memory>

struct event;
struct event_base;

namespace ladle::loop {

/// CLOCK_MONOTONIC in nanoseconds; what all deadlines and shared rows count in.
using Nanos = std::uint64_t;
inline constexpr Nanos kNever = ~Nanos{0};

/// The clock itself, not the loop's cached one.
Nanos clock_now() noexcept;

constexpr Nanos to_nanos(std::chrono::nanoseconds d) noexcept
{
    return static_cast<Nanos>(d.count());
}

/// Links of an intrusive list; unlinks itself when destroyed, so nothing dangles.
struct Link {
    Link* next = this;
    Link* previous = this;

    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() { unlink(); }

    bool is_linked() const noexcept { return next != this; }
    void unlink() noexcept
    {
        previous->next = next;
        next->previous = previous;
        next = previous = this;
    }
    /// Puts this before `at`: with a list's head, at its end.
    void insert_before(Link& at) noexcept
    {
        unlink();
        next = &at;
        previous = at.previous;
        previous->next = this;
        at.previous = this;
    }
};

class Loop;

/// When in a turn of the loop posted work runs; within each, in the order of posting.
enum class Order : std::uint8_t {
    first,
    /// After all of `first`, also if posted in the turn before: for those who gather what others make, and send it at once.
    last,
    /// After all else, for as long as kPatientTime; what is left of it then waits for the next turn. For those who could make turns
    /// long for all others.
    patient,
};

/// Work to run once, soon, outside the current callback. Reusable; posting it twice before it ran is one run.
class Posted : private Link {
public:
    using Function = void (*)(void* self);
    Posted(Function function, void* self) noexcept : function_(function), self_(self) {}
    void post(Loop& loop) noexcept;
    void cancel() noexcept { unlink(); }
    /// From the next post on.
    void set_order(Order order) noexcept { order_ = order; }
    bool is_patient() const noexcept { return order_ == Order::patient; }

private:
    friend class Loop;
    Function function_;
    void* self_;
    Order order_ = Order::first;
};

/// A one-shot timer with the wheel's grain of 100 ms: fires at or up to 200 ms after its time, never before.
class Deadline : private Link {
public:
    using Function = void (*)(void* self);
    Deadline(Loop& loop, Function function, void* self) noexcept : loop_(loop), function_(function), self_(self) {}
    /// Sets or moves it; kNever disarms.
    void set(Nanos at) noexcept;
    void clear() noexcept { at_ = kNever; }
    Nanos at() const noexcept { return at_; }

private:
    friend class Loop;
    Loop& loop_;
    Function function_;
    void* self_;
    Nanos at_ = kNever;
    Nanos slot_at_ = kNever; ///< when the wheel will next look at it
};

class Loop {
public:
    static Result<std::unique_ptr<Loop>> make();
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Runs until stop(). Posted work runs after each turn's callbacks.
    void run();
    void stop() noexcept { stopping_ = true; }

    /// Time of the current turn; read at most once a turn.
    Nanos now() noexcept
    {
        if (now_ == 0) {
            now_ = clock_now();
        }
        return now_;
    }

    /// Called every 100 ms, after the deadlines of that moment (heartbeats, log flushes, the cached Date).
    void set_tick(void (*function)(void* self), void* self) noexcept
    {
        tick_function_ = function;
        tick_self_ = self;
    }

private:
    friend class Posted;
    friend class Deadline;
    friend class Watch;
    friend class Timer;
    static constexpr std::size_t kSlots = 1024;
    static constexpr Nanos kGrain = 100'000'000;

    Loop() = default;
    static void on_tick(int, short, void* self);
    void turn_wheel();
    void put_in_wheel(Deadline& deadline) noexcept;
    static void run_all(Link& batch);
    void run_posted();
    void run_patient();
    static constexpr Nanos kPatientTime = 100'000; ///< in a turn; one piece of work is always done

    event_base* base_ = nullptr;
    event* tick_ = nullptr;
    int epoll_descriptor_ = -1; ///< for the exclusive listener trick; -1 if it could not be found
    bool stopping_ = false;
    Nanos now_ = 0;
    Nanos wheel_tick_ = 0; ///< last grain looked at
    Link wheel_[kSlots];
    Link first_;
    Link last_;
    Link patient_;
    void (*tick_function_)(void*) = nullptr;
    void* tick_self_ = nullptr;
};

/// What a Watch reports: a set of these.
enum class Ready : std::uint8_t { none = 0, readable = 1, writable = 2, closed = 4 };
constexpr bool is_readable(Ready r) noexcept { return (static_cast<unsigned>(r) & 1u) != 0; }
constexpr bool is_writable(Ready r) noexcept { return (static_cast<unsigned>(r) & 2u) != 0; }
/// The peer has finished writing: its end comes after the bytes that wait now, with no further edge.
constexpr bool is_closed(Ready r) noexcept { return (static_cast<unsigned>(r) & 4u) != 0; }

enum class WatchMode : std::uint8_t {
    edges,          ///< read and write edges, one registration: connections
    read_edges,     ///< read edges, until add_write_edges(): accepted connections, most of which never have to wait to write
    level_read,     ///< while readable: listeners, control channels
    level_read_exclusive, ///< the same with EPOLLEXCLUSIVE: listeners that several processes watch
};

/// Interest in one descriptor until destroyed. Does not own the descriptor; destroy it before closing.
class Watch {
public:
    using Function = void (*)(void* self, Ready what);
    Watch() = default;
    ~Watch() { stop(); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// Begins; fails if the kernel refuses the descriptor. For level_read_exclusive: fails with code ENOTSUP if the trick is not
    /// to be had (the caller falls back to level_read).
    Result<void> start(Loop& loop, int fd, WatchMode mode, Function function, void* self);
    /// From read_edges to edges; a write edge comes at once if the descriptor is writable already.
    void add_write_edges() noexcept;
    /// Leaves epoll at once (EPOLL_CTL_DEL).
    void stop() noexcept;
    bool is_active() const noexcept { return event_ != nullptr; }

private:
    static void on_event(int fd, short what, void* self);
    event* event_ = nullptr;
    Function function_ = nullptr;
    void* self_ = nullptr;
};

/// A precise timer (libevent's heap), one-shot or periodic; for rare things. Connections use Deadline.
class Timer {
public:
    using Function = void (*)(void* self);
    enum class Repeat : std::uint8_t { once, every };
    Timer() = default;
    ~Timer() { stop(); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    Result<void> start(Loop& loop, std::chrono::milliseconds delay, Repeat repeat, Function function, void* self);
    void stop() noexcept;
    bool is_active() const noexcept { return event_ != nullptr; }

private:
    static void on_event(int, short, void* self);
    event* event_ = nullptr;
    bool once_ = true;
    Function function_ = nullptr;
    void* self_ = nullptr;
};

/// Delivery of one signal number in the loop, not in signal context: the number is blocked for the process and read from a signalfd
/// (libevent's own signals live in one base per process image, which a fork would share).
class Signal {
public:
    using Function = void (*)(void* self, int number);
    Signal() = default;
    ~Signal() { stop(); }
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;
    Result<void> start(Loop& loop, int number, Function function, void* self);
    void stop() noexcept;

private:
    static void on_readable(void* self, Ready);
    int descriptor_ = -1;
    int number_ = 0;
    Watch watch_;
    Function function_ = nullptr;
    void* self_ = nullptr;
};

/// Unblocks every signal but those that a Signal of this process reads: for an image that was executed with all of them blocked.
void unblock_other_signals() noexcept;

} // namespace ladle::loop
