// SPDX-License-Identifier: Apache-2.0
#include "common/ipc/inheritance.h"

namespace ladle::ipc {

void release_borrowed(Inheritance& inheritance) noexcept
{
    for (os::Fd* fd : {&inheritance.control, &inheritance.bundle, &inheritance.access_log, &inheritance.error_log,
                       &inheritance.spool_directory, &inheritance.cache_files, &inheritance.disk_files}) {
        fd->release();
    }
    for (os::Fd& bell : inheritance.cache_bells) {
        bell.release();
    }
    for (ListenerSlots& listener : inheritance.listeners) {
        for (os::Fd& slot : listener.slots) {
            slot.release();
        }
    }
}

} // namespace ladle::ipc
