// SPDX-License-Identifier: Apache-2.0
//
// Everything that crosses the fork from the master to a child. What is not here is closed in the child (asserted), and everything
// said afterwards is in messages.h.
#pragma once

#include "common/os/fd.h"
#include "common/shm/arena.h"
#include "common/shm/cache_arena.h"

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ladle::ipc {

/// The sockets of one listen address, one per slot, in slot order. `text` is config::BindAddress::text. A child never closes what
/// it has not been told to: an open copy that nobody accepts on would swallow clients, so every worker serves every slot.
struct ListenerSlots {
    std::string text;
    std::vector<os::Fd> slots;
};

struct Inheritance {
    shm::Role role = shm::Role::none;
    std::uint32_t number = 0;             ///< worker number; its own slot is number % slots
    std::uint32_t row = 0;                ///< index of its process row
    std::uint64_t generation = 0;         ///< of the bundle
    shm::Arena* arena = nullptr;          ///< mapped, lives as long as the process
    os::Fd control;                       ///< SOCK_SEQPACKET to the master; EOF = the master is gone: finish and leave
    os::Fd bundle;                        ///< sealed memfd
    std::vector<ListenerSlots> listeners; ///< workers only
    os::Fd access_log;                    ///< -1 = off
    os::Fd error_log;
    os::Fd spool_directory; ///< O_PATH|O_DIRECTORY; -1 = no spool on disk
    shm::CacheArena* cache = nullptr; ///< mapped, lives as long as the process; null = [cache] memory is 0
    os::Fd cache_files;               ///< the folder of large bodies, O_RDONLY|O_DIRECTORY; -1 = none could be made
    /// Eventfds by process row, as many as there are rows where `cache` is not null: writing 1 to bell N wakes the process of row
    /// N, whatever it waits for in the cache.
    std::vector<os::Fd> cache_bells;
    shm::CacheArena* disk_index = nullptr; ///< of the disk tier; mapped, lives as long as the process; null = there is none
    os::Fd disk_files;                     ///< its folder, O_RDONLY|O_DIRECTORY
    pid_t master_pid = 0;
    uid_t uid = 0; ///< to become; 0 = stay as it is
    gid_t gid = 0;
};

/// Gives up all descriptors without closing them: the master's copy of an Inheritance only borrows what the child will own.
void release_borrowed(Inheritance& inheritance) noexcept;

} // namespace ladle::ipc
