// SPDX-License-Identifier: Apache-2.0
//
// The folder in which the cache's larger bodies lie: FOLDER/ladle-cache-<random>, on tmpfs, mode 0700, of the workers' user. Made
// and removed by the master; workers get its descriptor. An flock on that descriptor, which all processes share by inheritance,
// says that somebody uses the folder: it ends with the last of them, whatever way they end. A folder that nobody has locked is what
// a killed Ladle left, and is removed by the next one.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"

#include <sys/types.h>

#include <string>

namespace ladle::master {

class CacheFolder {
public:
    CacheFolder() = default;
    CacheFolder(CacheFolder&&) noexcept = default;
    CacheFolder& operator=(CacheFolder&& other) noexcept;
    /// Removes the folder with what is in it, in the process that made or adopted it; a child has only a copy.
    ~CacheFolder() { remove(); }

    /// Makes a new one in `parent`, never through a name that is there already. `uid` 0: it stays ours.
    static Result<CacheFolder> make(const std::string& parent, uid_t uid, gid_t gid);
    /// Takes over what the image before handed over.
    static CacheFolder adopt(std::string path, os::Fd folder);

    explicit operator bool() const noexcept { return static_cast<bool>(folder_); }
    int fd() const noexcept { return folder_.get(); }
    const std::string& path() const noexcept { return path_; }
    /// In which folder it lies.
    std::string parent() const;

    /// Empties and removes it. Idempotent.
    void remove() noexcept;
    /// Leaves it to others that use it still (remove_unused() removes it after them).
    void leave() noexcept;

private:
    std::string path_;
    os::Fd folder_;
    pid_t owner_ = 0;
};

/// Removes what killed ones of our own user or of `uid` left in `parent`; returns how many. Touches no folder of another name or
/// mode.
int remove_unused(const std::string& parent, uid_t uid) noexcept;

} // namespace ladle::master
