// SPDX-License-Identifier: Apache-2.0
//
// The listening sockets of one worker: which it watches, and accepting from them.
//
// Every address has one socket per slot, bound by the master (ipc/inheritance.h). A worker registers its own slot (number % slots)
// first and its siblings' slots once join_siblings() is called, all level-triggered and, where the kernel and libevent let us,
// EPOLLEXCLUSIVE: a connection in the queue of a dead or busy worker is taken by a sibling, and one connection wakes one worker.
// A worker that may not accept (full, draining, out of descriptors) leaves epoll by EPOLL_CTL_DEL: a registered socket that
// nobody accepts on would swallow wake-ups meant for others. Owned by Worker; its thread only.
//
//   pending ──apply──► active ──apply (no longer configured)──► leaving ──1 s without a connection──► closed, told by on_left
#pragma once

#include "common/ipc/inheritance.h"
#include "common/ipc/messages.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"
#include "common/shm/rows.h"

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace ladle::worker {

/// Who gets accepted connections and news. Functions are called from the loop; they may call back into Listeners, except destroy
/// it.
struct ListenerEvents {
    void* self = nullptr;
    void (*on_connection)(void* self, os::Fd socket, const sockaddr_storage& peer, const std::string& bind_text) = nullptr;
    void (*on_left)(void* self, const std::string& bind_text) = nullptr;
};

/// Whom a waiting connection wakes: one worker (EPOLLEXCLUSIVE), or all that watch its socket.
enum class WakeUp : std::uint8_t { one, all };

class Listeners {
public:
    Listeners(loop::Loop& loop, shm::ProcessRow& row, std::uint32_t number, ListenerEvents events, WakeUp wake_up);

    /// Takes the sockets of an address that the next apply() may name; nothing is watched yet.
    void add(ipc::ListenerSlots slots);
    /// Takes further slots of an address in use, and watches them at once (if siblings are joined).
    void add_slots(const std::string& text, std::vector<os::Fd> slots);
    /// Makes exactly these addresses active: begins with new ones, takes what waits on removed ones and begins to leave them.
    void apply(const std::set<std::string>& texts);
    /// Forgets addresses that were added and never applied.
    void drop_pending();
    /// From now on watches the siblings' slots too.
    void join_siblings();

    /// Leaves all sockets until resume(): the worker is full.
    void pause();
    void resume();
    /// For good: takes what waits in the queues if `rest` says so, then leaves and closes all of them.
    void leave(ipc::DrainRest rest);

    /// Takes what waits in the siblings' slots: a worker that was woken for a connection and hangs before it accepts leaves it
    /// there, and an exclusive wake-up is not repeated for others.
    void sweep_siblings();

    /// Every 100 ms: ends an accept back-off, and closes addresses that are left.
    void on_tick();

private:
    struct Address;
    struct Slot {
        Address* address = nullptr;
        os::Fd socket;
        bool is_own = false;
        loop::Watch watch; ///< after socket: stops before it closes
    };
    enum class Phase : std::uint8_t { pending, active, leaving };
    struct Address {
        Listeners* owner = nullptr;
        std::string text;
        Phase phase = Phase::pending;
        loop::Nanos quiet_since = 0; ///< of leaving
        loop::Nanos leaving_since = 0;
        std::vector<std::unique_ptr<Slot>> slots;
    };

    static void append_slot(Address& address, os::Fd socket, bool is_own);
    void watch_all();
    void watch_slot(Slot& slot);
    void unwatch_all();
    static void on_readable(void* self, loop::Ready);
    void accept_some(Slot& slot, int most);
    bool begin_back_off(int code);

    loop::Loop& loop_;
    shm::ProcessRow& row_;
    std::uint32_t number_;
    ListenerEvents events_;
    WakeUp wake_up_;
    bool joined_ = false;   ///< siblings' slots too
    bool paused_ = false;
    bool backing_off_ = false;
    bool left_ = false;
    std::vector<std::unique_ptr<Address>> addresses_;
};

/// WakeUp::one if an exclusive watch delivers on this kernel, tried with a pipe in at most 200 ms; else all, and a warning.
WakeUp find_wake_up();

} // namespace ladle::worker
