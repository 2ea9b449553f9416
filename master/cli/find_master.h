// SPDX-License-Identifier: Apache-2.0
//
// How a command finds the master that it is meant for: by the control socket that its configuration file names.
#pragma once

#include "common/base/error.h"

#include <string>

namespace ladle::master::cli {

/// The control socket of the proxy that runs with this file, even if the file has errors now: a broken edit must not keep anybody
/// from `status` or `stop`. Fails for a file that cannot be read, unless it is the packaged one: a mistyped name must not reach the
/// master of another file.
Result<std::string> find_admin(const std::string& config_path);

/// Whether systemd runs this machine and has a unit for ladle with this configuration file, and we may ask it.
bool is_systemd_unit(const std::string& config_path);

/// `systemctl VERB ladle`, waiting; the exit code for the user.
int run_systemctl(const char* verb);

} // namespace ladle::master::cli
