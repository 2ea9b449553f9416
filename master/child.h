// SPDX-License-Identifier: Apache-2.0
//
// One child process as the master knows it. Owned by the Supervisor from the fork (or the adoption after an upgrade) to the reap.
#pragma once

#include "common/ipc/inheritance.h"
#include "common/loop/loop.h"
#include "common/os/fd.h"

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace ladle::master {

class Supervisor;

struct Child {
    enum class Phase : std::uint8_t { starting, ready, draining };

    pid_t pid = 0;
    shm::Role role = shm::Role::none;
    std::uint32_t number = 0;
    std::uint32_t generation = 0; ///< of the binary that forked it
    int row = -1;                 ///< -1: its row lies in an arena of another layout
    int cache_row = -1;           ///< the same in the cache; -1: it uses none, or one that is not ours
    Phase phase = Phase::starting;
    bool has_joined = false; ///< its siblings' slots
    loop::Nanos started = 0;
    loop::Nanos leave_by = loop::kNever; ///< of draining: then it is killed
    bool was_warned = false;             ///< watchdog: silent for a second
    loop::Nanos aborted = 0;             ///< watchdog: when SIGABRT was sent; 0 = not
    std::string last_words;              ///< why it refused to start
    os::Fd channel;
    std::unique_ptr<std::pair<Supervisor*, Child*>> watch_self; ///< what the watch calls back with
    loop::Watch watch;
};

/// "worker 0", "caretaker"
std::string name_of(const Child& child);

/// The entry points of the children, given by main(): master/ and worker/ do not know each other.
struct Roles {
    void (*worker)(ipc::Inheritance) = nullptr;    ///< does not return
    void (*caretaker)(ipc::Inheritance) = nullptr; ///< does not return
};

} // namespace ladle::master
