// SPDX-License-Identifier: Apache-2.0
//
// ActingAs: as long as it lives the kernel takes this thread for another user where files are concerned. The unit leaves root
// without the right to write in another's folder; and what happens in a folder of the workers' user should not happen with root's
// rights anyway. Master process; has no effect without root's rights.
#pragma once

#include <sys/fsuid.h>
#include <sys/types.h>

namespace ladle::master {

class ActingAs {
public:
    explicit ActingAs(uid_t uid) noexcept : before_(static_cast<uid_t>(::setfsuid(uid))) {}
    ActingAs(const ActingAs&) = delete;
    ActingAs& operator=(const ActingAs&) = delete;
    ~ActingAs() { ::setfsuid(before_); }

private:
    uid_t before_;
};

} // namespace ladle::master
