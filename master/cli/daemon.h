// SPDX-License-Identifier: Apache-2.0
//
// Becoming a master: in this process (run, demo), or in one of the background (start), of which the caller learns whether it
// serves.
#pragma once

#include "common/config/config.h"
#include "master/cli/commands.h"

#include <sys/types.h>

#include <functional>
#include <string>

namespace ladle::master::cli {

struct StartOutcome {
    std::string failure; ///< empty = it serves
    pid_t pid = 0;
    std::string error_log;
};

/// Forks a daemon and waits until it serves or has failed.
StartOutcome start_daemon(const CommandOptions& options, const config::Config& config);

/// This process becomes a master and serves until it is told to stop; the exit code. `on_started` is called once, with the reason
/// where it does not come to serve.
int run_master(const CommandOptions& options, const std::string& error_log,
               const std::function<void(const std::string& failure)>& on_started);

} // namespace ladle::master::cli
