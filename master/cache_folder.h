// SPDX-License-Identifier: Apache-2.0
//
// The folder in which the cache's larger bodies lie, on tmpfs, mode 0700, of the workers' user; workers get its descriptor.
//
// Where the master may mount, it is the root of a tmpfs of its own: in no folder, so that nobody else comes near it and it goes
// with the last descriptor; and with large pages, which cost sendfile a fifth less than single ones. Elsewhere it is
// FOLDER/ladle-cache-<random>, made and removed by the master. An flock on its descriptor, which all processes share by
// inheritance, says that somebody uses the folder: it ends with the last of them, whatever way they end. A folder that nobody has
// locked is what a killed Ladle left, and is removed by the next one.
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

    /// Mounts a tmpfs of at most `bytes`. Fails without CAP_SYS_ADMIN, and where the kernel has no large pages to offer.
    static Result<CacheFolder> mount(std::uint64_t bytes, uid_t uid, gid_t gid);
    /// Makes a new one in `parent`, never through a name that is there already. `uid` 0: it stays ours.
    static Result<CacheFolder> make(const std::string& parent, uid_t uid, gid_t gid);
    /// Takes over what the image before handed over.
    static CacheFolder adopt(std::string path, os::Fd folder);

    explicit operator bool() const noexcept { return static_cast<bool>(folder_); }
    int fd() const noexcept { return folder_.get(); }
    /// Empty for one that was mounted.
    const std::string& path() const noexcept { return path_; }
    /// In which folder it lies. Empty likewise.
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
