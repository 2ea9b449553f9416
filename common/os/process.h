// SPDX-License-Identifier: Apache-2.0
//
// What a process does to itself: its title, its descriptors, its identity. Called by the master at start and by every child right
// after the fork. Nothing here can be undone, so the order in worker.cc matters: title, descriptors, privileges.
#pragma once

#include "common/base/error.h"

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace ladle::os {

/// Remembers argv's memory, which the title is written over. Call once at the top of main(); argv must not be used afterwards
/// (copy it first). Later processes inherit it by fork.
void keep_title_space(int argc, char** argv);

/// Sets what ps and top show: "ladle: worker 0". Also the short name of 15 characters.
void set_title(std::string_view title);

/// Closes every descriptor from 3 up that is not in `keep`, then checks in /proc/self/fd that it is so (LADLE_ASSERT).
/// Descriptor 0 and 1 become /dev/null; 2 stays.
void close_all_but(std::vector<int> keep);

/// The open descriptors of this process, sorted.
std::vector<int> list_descriptors();

/// For good: becomes uid:gid without supplementary groups (skipped if uid is 0), may gain no privilege by exec, and gets
/// `death_signal` when the parent, whose pid is `parent`, dies. Fails if the parent is already gone.
Result<void> drop_privileges(uid_t uid, gid_t gid, pid_t parent, int death_signal);

/// All signals to default action, none blocked. For a child, whose handlers would speak to the parent's loop.
void reset_signals() noexcept;

/// Blocks all signals while it lives: around fork and exec.
class SignalsBlocked {
public:
    SignalsBlocked() noexcept;
    ~SignalsBlocked();
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    unsigned char saved_[128];
};

/// Whether the process is stopped (SIGSTOP, a debugger) or gone.
bool is_stopped(pid_t pid);

/// Number of CPUs this process may run on (affinity and the cgroup's quota, rounded up), at least 1.
unsigned usable_cpus();

/// Raises the soft limit of open files to the hard one; returns the limit.
std::uint64_t raise_descriptor_limit() noexcept;

} // namespace ladle::os
