// SPDX-License-Identifier: Apache-2.0
//
// For builds with AddressSanitizer: leave.h.
#include "common/os/leave.h"

#include <sanitizer/lsan_interface.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace ladle::os {

void leave(int status) noexcept
{
    ::prctl(PR_SET_DUMPABLE, 1); // the check traces this process; to have changed user forbids that
    const bool has_leaks = __lsan_do_recoverable_leak_check() != 0;
    ::_exit(has_leaks ? 23 : status);
}

} // namespace ladle::os
