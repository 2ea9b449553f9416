// SPDX-License-Identifier: Apache-2.0
#include "worker/net/listeners.h"

#include "common/os/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ladle::worker {

namespace {

constexpr int kOwnBatch = 64;
constexpr int kSiblingBatch = 8;
constexpr int kRestBatch = 100'000; ///< the whole queue
constexpr loop::Nanos kQuiet = 1'000'000'000;
constexpr loop::Nanos kMaxLeaving = 2'000'000'000;

} // namespace

Listeners::Listeners(loop::Loop& loop, shm::ProcessRow& row, std::uint32_t number, ListenerEvents events, WakeUp wake_up)
    : loop_(loop), row_(row), number_(number), events_(events), wake_up_(wake_up)
{
}

void Listeners::append_slot(Address& address, os::Fd socket, bool is_own)
{
    auto slot = std::make_unique<Slot>();
    slot->address = &address;
    slot->socket = std::move(socket);
    slot->is_own = is_own;
    address.slots.push_back(std::move(slot));
}

void Listeners::add(ipc::ListenerSlots slots)
{
    auto address = std::make_unique<Address>();
    address->owner = this;
    address->text = std::move(slots.text);
    const std::size_t own = slots.slots.empty() ? 0 : number_ % slots.slots.size();
    for (std::size_t i = 0; i < slots.slots.size(); ++i) {
        append_slot(*address, std::move(slots.slots[i]), i == own);
    }
    addresses_.push_back(std::move(address));
}

void Listeners::add_slots(const std::string& text, std::vector<os::Fd> sockets)
{
    for (auto& address : addresses_) {
        if (address->text != text || address->phase == Phase::leaving) {
            continue;
        }
        for (os::Fd& socket : sockets) {
            append_slot(*address, std::move(socket), false);
        }
        break;
    }
    watch_all();
}

void Listeners::apply(const std::set<std::string>& texts)
{
    for (auto& address : addresses_) {
        const bool wanted = texts.contains(address->text);
        if (address->phase == Phase::pending && wanted) {
            address->phase = Phase::active;
        } else if (address->phase == Phase::active && !wanted) {
            address->phase = Phase::leaving;
            address->quiet_since = address->leaving_since = loop_.now();
        }
    }
    drop_pending();
    watch_all();
}

void Listeners::drop_pending()
{
    std::erase_if(addresses_, [](const auto& address) { return address->phase == Phase::pending; });
}

void Listeners::join_siblings()
{
    joined_ = true;
    watch_all();
}

void Listeners::pause()
{
    if (!paused_) {
        paused_ = true;
        row_.add(shm::Metric::accept_paused);
        unwatch_all();
    }
}

void Listeners::resume()
{
    paused_ = false;
    watch_all();
}

void Listeners::leave(ipc::DrainRest rest)
{
    unwatch_all();
    left_ = true;
    if (rest == ipc::DrainRest::accept) {
        for (auto& address : addresses_) {
            for (auto& slot : address->slots) {
                accept_some(*slot, kRestBatch);
            }
        }
    }
    addresses_.clear();
}

void Listeners::sweep_siblings()
{
    for (auto& address : addresses_) {
        for (auto& slot : address->slots) {
            if (!slot->is_own && slot->watch.is_active()) {
                accept_some(*slot, kSiblingBatch);
            }
        }
    }
}

void Listeners::on_tick()
{
    if (backing_off_) {
        backing_off_ = false;
        watch_all();
    }
    const loop::Nanos now = loop_.now();
    for (std::size_t i = 0; i < addresses_.size();) {
        Address& address = *addresses_[i];
        const bool is_due =
            address.phase == Phase::leaving && (now - address.quiet_since >= kQuiet || now - address.leaving_since >= kMaxLeaving);
        if (!is_due) {
            ++i;
            continue;
        }
        const std::string text = address.text;
        addresses_.erase(addresses_.begin() + static_cast<std::ptrdiff_t>(i));
        events_.on_left(events_.self, text);
    }
}

void Listeners::watch_all()
{
    if (paused_ || backing_off_ || left_) {
        return;
    }
    for (const bool own_turn : {true, false}) {
        for (auto& address : addresses_) {
            for (auto& slot : address->slots) {
                const bool is_due = slot->is_own == own_turn && (slot->is_own || joined_);
                if (is_due && address->phase != Phase::pending && !slot->watch.is_active()) {
                    watch_slot(*slot);
                }
            }
        }
    }
}

void Listeners::watch_slot(Slot& slot)
{
    const auto mode = wake_up_ == WakeUp::one ? loop::WatchMode::level_read_exclusive : loop::WatchMode::level_read;
    const auto started = slot.watch.start(loop_, slot.socket.get(), mode, &Listeners::on_readable, &slot);
    if (!started) {
        os::log(os::Level::error, "cannot watch a listener", {{"address", slot.address->text}, {"reason", started.error().detail}});
    }
}

void Listeners::unwatch_all()
{
    for (auto& address : addresses_) {
        for (auto& slot : address->slots) {
            slot->watch.stop();
        }
    }
}

void Listeners::on_readable(void* self, loop::Ready)
{
    Slot& slot = *static_cast<Slot*>(self);
    slot.address->owner->accept_some(slot, slot.is_own ? kOwnBatch : kSiblingBatch);
}

void Listeners::accept_some(Slot& slot, int most)
{
    Address& address = *slot.address;
    for (int i = 0; i < most; ++i) {
        sockaddr_storage peer{};
        socklen_t length = sizeof peer;
        os::Fd socket(::accept4(slot.socket.get(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (!socket) {
            const int code = errno;
            if (code == EINTR || code == ECONNABORTED || code == EPROTO) {
                continue;
            }
            if (code != EAGAIN && !begin_back_off(code)) {
                os::log(os::Level::error, "cannot accept", {{"address", address.text}, {"reason", strerrordesc_np(code)}});
            }
            return;
        }
        address.quiet_since = loop_.now();
        events_.on_connection(events_.self, std::move(socket), peer, address.text);
        if (paused_) {
            return;
        }
    }
}

bool Listeners::begin_back_off(int code)
{
    if (code != EMFILE && code != ENFILE && code != ENOBUFS && code != ENOMEM) {
        return false;
    }
    if (!backing_off_) {
        backing_off_ = true;
        row_.add(shm::Metric::accept_paused);
        os::log(os::Level::warning, "accepting pauses", {{"reason", strerrordesc_np(code)}});
        unwatch_all();
    }
    return true;
}

namespace {

bool exclusive_works(loop::Loop& loop)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return false;
    }
    const os::Fd reading(ends[0]);
    const os::Fd writing(ends[1]);
    struct Probe {
        loop::Loop& loop;
        bool fired = false;
    } probe{loop};
    loop::Watch watch;
    loop::Timer limit;
    const auto started = watch.start(
        loop, reading.get(), loop::WatchMode::level_read_exclusive,
        [](void* self, loop::Ready) {
            static_cast<Probe*>(self)->fired = true;
            static_cast<Probe*>(self)->loop.stop();
        },
        &probe);
    const auto limited = limit.start(
        loop, std::chrono::milliseconds(200), loop::Timer::Repeat::once, [](void* self) { static_cast<Probe*>(self)->loop.stop(); },
        &probe);
    if (!started || !limited || ::write(writing.get(), "x", 1) != 1) {
        return false;
    }
    loop.run();
    return probe.fired;
}

} // namespace

WakeUp find_wake_up()
{
    const auto loop = loop::Loop::make(); // in the worker's own a signal could come before it is ready for one
    if (loop && exclusive_works(**loop)) {
        return WakeUp::one;
    }
    os::log(os::Level::warning, "EPOLLEXCLUSIVE does not work here: a connection may wake several workers");
    return WakeUp::all;
}

} // namespace ladle::worker
