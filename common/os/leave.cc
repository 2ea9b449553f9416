// SPDX-License-Identifier: Apache-2.0
#include "common/os/leave.h"

#include <unistd.h>

namespace ladle::os {

void leave(int status) noexcept
{
    ::_exit(status);
}

} // namespace ladle::os
