// SPDX-License-Identifier: Apache-2.0
//
// The configuration that the proxy runs, and loading another one. A file is read, checked and made into a bundle in one step, so
// that what the workers get is what was checked. Master process; also `ladle check` and `start` use load_file().
#pragma once

#include "common/base/error.h"
#include "common/config/bundle.h"
#include "common/os/fd.h"

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ladle::master {

struct Running {
    std::shared_ptr<const config::Config> config;
    os::Fd bundle; ///< sealed memfd: the same configuration, for children
    std::time_t since = 0;
};

struct LoadedFile {
    Running running;                             ///< config is null if there were errors
    std::vector<config::Diagnostic> diagnostics; ///< errors and warnings
    std::string failure;                         ///< of the bundle; empty = none
};

/// Reads and checks `path` and makes its bundle, with what was changed of servers beside it (common/config/server_changes.h).
LoadedFile load_file(const std::string& path, std::uint64_t generation, const std::string& server_changes = {});

/// New texts of files that a configuration keeps, by path.
using RenewedFiles = std::map<std::string, config::SharedText>;

/// The configuration that runs, with new texts of some of the files that it keeps; nothing else is read again.
LoadedFile load_renewed(const Running& running, const RenewedFiles& renewed, std::uint64_t generation);
/// The same, with other changes of servers.
LoadedFile load_changed(const Running& running, const std::string& server_changes, std::uint64_t generation);

/// "2 errors: not applied" and the diagnostics before it, as `check` prints them.
std::string explain(const LoadedFile& loaded);

/// Number of workers that a configuration asks for.
std::uint32_t worker_count(const config::Config& config);

/// Whom the children become; both 0 = they stay who we are.
struct Identity {
    uid_t uid = 0;
    gid_t gid = 0;
};

/// Looks `server.user` up, if we are root.
Result<Identity> find_identity(const config::Config& config);

} // namespace ladle::master
