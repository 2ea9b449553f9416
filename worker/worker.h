// SPDX-License-Identifier: Apache-2.0
//
// The worker process: client traffic, on one event loop, in one thread. worker/README.md tells a request's life in it.
//
// Forked by the master with an Inheritance; keeps nothing else of it. It opens no path, reads no configuration file and does no
// DNS: what it needs comes by descriptor. It leaves when told to (drain, stop), when the master is gone, and on SIGTERM; any other
// end is a crash, after which the master puts another in its place.
#pragma once

#include "common/ipc/inheritance.h"

namespace ladle::worker {

/// The process's whole life, called right after the fork.
[[noreturn]] void run(ipc::Inheritance inheritance);

} // namespace ladle::worker
