// SPDX-License-Identifier: Apache-2.0
//
// What must not come back from disk after a crash is gone from there before the client hears of it. What an unsafe request made invalid
// has its files unlinked: that is one hop to the pool of threads for a request whose URL the disk has (about 30 µs, and nothing for
// others), and needs no place in the table of purges. A purge is written into the log (purge_log.h), and is on the disk when it is answered.
//
// Unlinks are not: a power failure may undo those of the last seconds before it. To sync the folder before each answer costs 2 ms in
// place of 40 µs (ext4, NVMe), for each request that changes something that the disk has; so would the log of purges, which needs the
// same, and a place in the table besides. RFC 9111 §4.4 does not promise to reach every cache, and what comes back is what the server
// had called fresh. Who cannot bear that purges.
//
// A disk that does not answer holds a client up for three seconds, not longer.
#pragma once

#include "common/loop/task.h"
#include "worker/request/request.h"

#include <string>

namespace ladle::worker {

/// Whether purges are to be on the disk itself when log_purges() returns, or only safe from the death of processes.
enum class Durably : std::uint8_t { yes, no };

/// Writes lines of purges that are in force into the log. When that fails nothing that lies on disk is believed after a crash.
loop::Task<void> log_purges(Request& request, std::string lines, Durably durably);

/// Pays what visit.forgotten says. Where a file cannot be unlinked its URL is purged instead.
loop::Task<void> forget_on_disk(Request& request);

} // namespace ladle::worker
