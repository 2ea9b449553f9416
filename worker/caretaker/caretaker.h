// SPDX-License-Identifier: Apache-2.0
//
// The caretaker process: does for all workers what is not a client's request. Today: it resolves the names of servers and publishes
// their addresses in shared memory (resolver.h), asks servers whether they are in order (health_book.h), their agents how much they
// can take (agent_book.h), and CAs whether certificates are revoked (staple_book.h). It has no listening sockets, and a crash of it
// stops nothing: workers go on with what was published last, the master starts another.
#pragma once

#include "common/ipc/inheritance.h"

namespace ladle::worker {

/// The process's whole life, called right after the fork.
[[noreturn]] void run_caretaker(ipc::Inheritance inheritance);

} // namespace ladle::worker
