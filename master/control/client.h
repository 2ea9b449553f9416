// SPDX-License-Identifier: Apache-2.0
//
// The other end of the control socket: what a command of the CLI does to ask the running master. Blocking; runs in the CLI process.
#pragma once

#include "common/base/error.h"
#include "common/base/json.h"
#include "common/os/fd.h"

#include <sys/types.h>

#include <string>

namespace ladle::master {

/// A connection to the master behind the control socket. `code` of a failure: ENOENT and ECONNREFUSED mean that none is running
/// (nothing there, or the socket of a dead one); EACCES that we may not ask. `detail` is a line for the user.
Result<os::Fd> connect_control(const std::string& path);

/// The pid of the process behind the connection.
pid_t peer_pid(int connection);

/// Sends the request, waits for the answer however long it takes. EPIPE: the master went away without one.
Result<nlohmann::json> ask(int connection, const nlohmann::json& request);

} // namespace ladle::master
