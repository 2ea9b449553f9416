// SPDX-License-Identifier: Apache-2.0
#include "common/loop/loop.h"

#include "common/base/assert.h"

#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

namespace ladle::loop {

Nanos clock_now() noexcept
{
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<Nanos>(t.tv_sec) * 1'000'000'000u + static_cast<Nanos>(t.tv_nsec);
}

namespace {

constexpr short kReadEdges = EV_READ | EV_CLOSED | EV_ET | EV_PERSIST;
constexpr short kBothEdges = kReadEdges | EV_WRITE;

sigset_t g_watched_signals{}; // all zero = the empty set

timeval to_timeval(std::chrono::milliseconds d) noexcept
{
    return timeval{static_cast<time_t>(d.count() / 1000), static_cast<suseconds_t>(d.count() % 1000 * 1000)};
}

/// libevent does not tell its epoll descriptor; it is the newest eventpoll of this process right after the base was made.
int find_epoll_descriptor()
{
    int found = -1;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
        const auto target = std::filesystem::read_symlink(entry.path(), error);
        if (!error && target == "anon_inode:[eventpoll]") {
            found = std::max(found, std::stoi(entry.path().filename().string()));
        }
    }
    return found;
}

/// Whoever has more patient work than its time leaves the processor to others for about as long: the servers and clients of all the
/// other requests need it too, and a process that never sleeps is put behind those that do. The first event ends it.
void rest(int epoll_descriptor) noexcept
{
    constexpr timespec kRest{0, 100'000};
    pollfd events{epoll_descriptor, POLLIN, 0};
    ::ppoll(&events, 1, &kRest, nullptr);
}

} // namespace

Result<std::unique_ptr<Loop>> Loop::make()
{
    std::unique_ptr<Loop> loop(new Loop);
    event_config* config = event_config_new();
    LADLE_ASSERT(config != nullptr);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
    event_config_require_features(config, EV_FEATURE_ET);
    loop->base_ = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->base_ == nullptr) {
        return fail_errno("cannot make an event loop", errno);
    }
    loop->epoll_descriptor_ = find_epoll_descriptor();
    loop->wheel_tick_ = clock_now() / kGrain;
    loop->tick_ = event_new(loop->base_, -1, EV_PERSIST, &Loop::on_tick, loop.get());
    const timeval grain = to_timeval(std::chrono::milliseconds(100));
    if (loop->tick_ == nullptr || event_add(loop->tick_, &grain) != 0) {
        return fail(Origin::local, "cannot add the loop's tick");
    }
    return loop;
}

Loop::~Loop()
{
    if (tick_ != nullptr) {
        event_free(tick_);
    }
    if (base_ != nullptr) {
        event_base_free(base_);
    }
}

void Loop::run()
{
    while (!stopping_) {
        now_ = 0;
        const bool has_work = first_.is_linked() || last_.is_linked() || patient_.is_linked();
        event_base_loop(base_, has_work ? EVLOOP_ONCE | EVLOOP_NONBLOCK : EVLOOP_ONCE);
        run_posted();
        if (patient_.is_linked()) {
            const Nanos begun = clock_now();
            run_patient();
            const bool is_too_much = patient_.is_linked() && clock_now() - begun >= kPatientTime;
            if (is_too_much && !first_.is_linked() && !last_.is_linked() && epoll_descriptor_ >= 0) {
                rest(epoll_descriptor_);
            }
        }
    }
    stopping_ = false;
}

namespace {

/// All that is in `list` is in `batch` then, which was empty.
void take_all(Link& list, Link& batch) noexcept
{
    if (list.is_linked()) {
        batch.insert_before(list);
        list.unlink();
    }
}

} // namespace

void Loop::run_all(Link& batch)
{
    while (batch.is_linked()) {
        auto& work = static_cast<Posted&>(*batch.next);
        work.unlink();
        work.function_(work.self_);
    }
}

void Loop::run_posted()
{
    // Only what is there now: work posted by this work waits for the next turn, so that I/O is never starved.
    Link first;
    Link last;
    take_all(first_, first);
    take_all(last_, last);
    run_all(first);
    run_all(last);
}

void Loop::run_patient()
{
    if (!patient_.is_linked()) {
        return;
    }
    Link last; // what this work posts waits for the next turn
    last.insert_before(patient_);
    const Nanos end = clock_now() + kPatientTime;
    do {
        auto& work = static_cast<Posted&>(*patient_.next);
        work.unlink();
        work.function_(work.self_);
    } while (patient_.next != &last && clock_now() < end);
}

void Posted::post(Loop& loop) noexcept
{
    if (!is_linked()) {
        Link& list = order_ == Order::first ? loop.first_ : order_ == Order::last ? loop.last_ : loop.patient_;
        insert_before(list);
    }
}

void Loop::on_tick(int, short, void* self)
{
    auto& loop = *static_cast<Loop*>(self);
    loop.turn_wheel();
    if (loop.tick_function_ != nullptr) {
        loop.tick_function_(loop.tick_self_);
    }
}

void Loop::turn_wheel()
{
    const Nanos tick = now() / kGrain;
    if (tick - wheel_tick_ > kSlots) { // a long stall: one round sees every slot
        wheel_tick_ = tick - kSlots;
    }
    while (wheel_tick_ < tick) {
        ++wheel_tick_;
        Link& head = wheel_[wheel_tick_ % kSlots];
        if (!head.is_linked()) {
            continue;
        }
        Link due;
        due.insert_before(head);
        head.unlink();
        while (due.is_linked()) {
            auto& deadline = static_cast<Deadline&>(*due.next);
            deadline.unlink();
            deadline.slot_at_ = kNever;
            if (deadline.at_ == kNever) {
                continue;
            }
            if (deadline.at_ > now()) {
                put_in_wheel(deadline);
                continue;
            }
            deadline.at_ = kNever;
            deadline.function_(deadline.self_);
        }
    }
}

void Loop::put_in_wheel(Deadline& deadline) noexcept
{
    Nanos tick = deadline.at_ / kGrain + 1;
    tick = std::max(tick, wheel_tick_ + 1);
    tick = std::min(tick, wheel_tick_ + kSlots - 1); // further away: looked at once a round
    deadline.slot_at_ = tick * kGrain;
    deadline.insert_before(wheel_[tick % kSlots]);
}

void Deadline::set(Nanos at) noexcept
{
    at_ = at;
    if (at == kNever || (is_linked() && slot_at_ <= at + Loop::kGrain)) {
        return; // the wheel looks at it early enough, and puts it further then
    }
    unlink();
    loop_.put_in_wheel(*this);
}

Result<void> Watch::start(Loop& loop, int fd, WatchMode mode, Function function, void* self)
{
    stop();
    function_ = function;
    self_ = self;
    const short what = mode == WatchMode::edges        ? kBothEdges
                       : mode == WatchMode::read_edges ? kReadEdges
                                                       : static_cast<short>(EV_READ | EV_PERSIST);
    if (mode == WatchMode::level_read_exclusive && loop.epoll_descriptor_ < 0) {
        return std::unexpected(Error{ENOTSUP, Origin::local, Retry::no, "the loop's epoll descriptor is not known"});
    }
    event_ = event_new(loop.base_, fd, what, &Watch::on_event, this);
    if (event_ == nullptr || event_add(event_, nullptr) != 0) {
        const int code = errno;
        stop();
        return fail_errno("cannot watch a descriptor", code);
    }
    if (mode == WatchMode::level_read_exclusive) {
        // libevent has no flag for EPOLLEXCLUSIVE: add the descriptor anew behind its back (measurements: works, 2.1.12).
        epoll_event e{};
        e.events = EPOLLIN | EPOLLEXCLUSIVE;
        e.data.fd = fd;
        if (::epoll_ctl(loop.epoll_descriptor_, EPOLL_CTL_DEL, fd, &e) != 0 ||
            ::epoll_ctl(loop.epoll_descriptor_, EPOLL_CTL_ADD, fd, &e) != 0) {
            const int code = errno;
            epoll_event plain{};
            plain.events = EPOLLIN;
            plain.data.fd = fd;
            ::epoll_ctl(loop.epoll_descriptor_, EPOLL_CTL_ADD, fd, &plain); // so that event_del finds it
            stop();
            return std::unexpected(Error{ENOTSUP, Origin::local, Retry::no, strerrordesc_np(code)});
        }
    }
    return {};
}

void Watch::add_write_edges() noexcept
{
    event_base* base = event_get_base(event_);
    const int fd = event_get_fd(event_);
    event_del(event_);
    event_assign(event_, base, fd, kBothEdges, &Watch::on_event, this);
    const int added = event_add(event_, nullptr);
    LADLE_ASSERT(added == 0); // the kernel had it a moment ago
}

void Watch::stop() noexcept
{
    if (event_ != nullptr) {
        event_free(std::exchange(event_, nullptr));
    }
}

void Watch::on_event(int, short what, void* self)
{
    auto& watch = *static_cast<Watch*>(self);
    const unsigned readable = (what & EV_READ) != 0 ? 1u : 0u;
    const unsigned writable = (what & EV_WRITE) != 0 ? 2u : 0u;
    const unsigned closed = (what & EV_CLOSED) != 0 ? 4u : 0u;
    watch.function_(watch.self_, static_cast<Ready>(readable | writable | closed));
}

Result<void> Timer::start(Loop& loop, std::chrono::milliseconds delay, Repeat repeat, Function function, void* self)
{
    stop();
    once_ = repeat == Repeat::once;
    function_ = function;
    self_ = self;
    event_ = event_new(loop.base_, -1, once_ ? static_cast<short>(0) : static_cast<short>(EV_PERSIST), &Timer::on_event, this);
    const timeval t = to_timeval(delay);
    if (event_ == nullptr || event_add(event_, &t) != 0) {
        stop();
        return fail(Origin::local, "cannot start a timer");
    }
    return {};
}

void Timer::stop() noexcept
{
    if (event_ != nullptr) {
        event_free(std::exchange(event_, nullptr));
    }
}

void Timer::on_event(int, short, void* self)
{
    auto& timer = *static_cast<Timer*>(self);
    if (timer.once_) {
        timer.stop();
    }
    timer.function_(timer.self_);
}

Result<void> Signal::start(Loop& loop, int number, Function function, void* self)
{
    stop();
    function_ = function;
    self_ = self;
    number_ = number;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    sigaddset(&g_watched_signals, number);
    descriptor_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (descriptor_ < 0) {
        return fail_errno("cannot watch a signal", errno);
    }
    return watch_.start(loop, descriptor_, WatchMode::level_read, &Signal::on_readable, this);
}

void Signal::stop() noexcept
{
    if (descriptor_ < 0) {
        return;
    }
    watch_.stop();
    ::close(std::exchange(descriptor_, -1));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number_);
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
    sigdelset(&g_watched_signals, number_);
}

void Signal::on_readable(void* self, Ready)
{
    auto& signal = *static_cast<Signal*>(self);
    signalfd_siginfo news{};
    bool came = false;
    while (::read(signal.descriptor_, &news, sizeof news) == sizeof news) {
        came = true;
    }
    if (came) {
        signal.function_(signal.self_, signal.number_);
    }
}

void unblock_other_signals() noexcept
{
    ::sigprocmask(SIG_SETMASK, &g_watched_signals, nullptr);
}

} // namespace ladle::loop
