// SPDX-License-Identifier: Apache-2.0
//
// What one image of the master leaves to the next over an exec: a JSON text in a memfd, and the descriptors that it names, which
// stay open. Written by the old image and read by the new one, perhaps of another version: members are only ever added, and
// kVersion changes when an old reader would go wrong.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"
#include "common/shm/rows.h"
#include "master/cache_owner.h"
#include "master/child.h"
#include "master/listeners.h"

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

namespace ladle::master {

/// A child as it is handed over.
struct HandedChild {
    pid_t pid = 0;
    shm::Role role = shm::Role::none;
    std::uint32_t number = 0;
    std::uint32_t generation = 0;
    int row = -1;
    int cache_row = -1;
    bool is_draining = false;
    bool has_joined = false;
    int channel = -1;
};

struct HandedAddress {
    std::string text;
    std::vector<int> slots;
};

/// Descriptors are numbers: the old image goes on owning them until the exec, the new one takes them over.
struct Handover {
    static constexpr int kVersion = 1;
    std::string from_version;
    std::uint32_t generation = 0; ///< of the old binary's children
    int bundle = -1;
    int arena = -1;
    int control_socket = -1;
    int control_lock = -1;
    int asking = -1; ///< the connection of who asked for the upgrade
    std::time_t started_at = 0;
    std::time_t config_since = 0;
    std::uint64_t restarts = 0;
    std::string error_log;
    std::string binary_path; ///< what the next upgrade executes
    std::vector<std::uint8_t> ticket_keys; ///< a shm::TicketKeySet, for an arena of another layout; empty = none
    std::uint64_t ticket_keys_since = 0;
    HandedCache cache;
    std::vector<HandedAddress> listeners;
    std::vector<HandedChild> children;
};

/// The memfd, close-on-exec; and from it again. Reading fails for another version or a text that is none.
Result<os::Fd> write_handover(const Handover& handover);
Result<Handover> read_handover(int fd);

/// Every descriptor that it names.
std::vector<int> descriptors_of(const Handover& handover);

/// What `ladle check-handover` does, in the new binary: whether it could take over. Nothing is touched.
Result<void> check_handover(int fd);

} // namespace ladle::master
