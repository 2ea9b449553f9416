// SPDX-License-Identifier: Apache-2.0
//
// The log files and the spool folder: the master opens them, with its rights, and hands the descriptors to the children, which
// could not open them. Reopened on SIGUSR1 and `ladle reopen`, after logrotate has moved the old ones away.
#pragma once

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/os/fd.h"

#include <sys/types.h>

#include <string>

namespace ladle::master {

struct LogFiles {
    os::Fd access; ///< -1 = off
    os::Fd error;
};

/// Opens what `log` names (0640, for appending; makes the last folder of the path if it is missing). A failure is one line that
/// says which setting to change.
Result<LogFiles> open_logs(const config::Log& log);

/// Where the error log goes when `log` says standard error but there is no terminal to write to (ladle start).
std::string daemon_error_log(const config::Config& config);

/// The spool folder as O_PATH, made if needed, owned by uid:gid (0 = whoever we are), mode 0700. Unusable = a warning and -1.
os::Fd open_spool(const std::string& path, uid_t uid, gid_t gid);

} // namespace ladle::master
