// SPDX-License-Identifier: Apache-2.0
//
// ActingAs: as long as it lives the kernel takes this thread for another user where files are concerned. The unit leaves root
// without the right to write in another's folder; and what happens in a folder of the workers' user should not happen with root's
// rights anyway. Master process; has no effect without root's rights.
//
// The kernel takes a change of user for a reason to forget the signal at the parent's death (prctl(2)), by which the demo's proxy
// ends with the demo: it is set again.
#pragma once

#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

namespace ladle::master {

class ActingAs {
public:
    explicit ActingAs(uid_t uid) noexcept : parent_(::getppid())
    {
        ::prctl(PR_GET_PDEATHSIG, &death_signal_);
        before_ = static_cast<uid_t>(::setfsuid(uid));
    }
    ActingAs(const ActingAs&) = delete;
    ActingAs& operator=(const ActingAs&) = delete;
    ~ActingAs()
    {
        ::setfsuid(before_);
        if (death_signal_ != 0) {
            ::prctl(PR_SET_PDEATHSIG, death_signal_);
            if (::getppid() != parent_) { // it died in between
                ::raise(death_signal_);
            }
        }
    }

private:
    pid_t parent_;
    int death_signal_ = 0;
    uid_t before_ = 0;
};

} // namespace ladle::master
