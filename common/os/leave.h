// SPDX-License-Identifier: Apache-2.0
//
// How a forked child ends: without the atexit work and the static destructors that belong to its parent. A build with
// AddressSanitizer takes leave_checked.cc instead of leave.cc: it looks for leaks first, which otherwise happens in atexit only,
// and so never in a worker. Any child process; no owner.
#pragma once

namespace ladle::os {

/// Ends the process now. In a build that checks for leaks: after the check, and with status 23 where there were some.
[[noreturn]] void leave(int status) noexcept;

} // namespace ladle::os
