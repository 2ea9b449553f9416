// SPDX-License-Identifier: Apache-2.0
#include "master/cache_folder.h"

#include "master/acting_as.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace ladle::master {

namespace {

constexpr std::string_view kPrefix = "ladle-cache-";
constexpr std::size_t kDigits = 16; ///< behind it, hexadecimal
constexpr int kMostTries = 16;

/// Whether it is a name that make() gives. Other programs have folders called ladle-something as well, in /tmp above all.
bool is_our_name(std::string_view name) noexcept
{
    constexpr std::string_view kHex = "0123456789abcdef";
    return name.size() == kPrefix.size() + kDigits && name.starts_with(kPrefix) &&
           name.find_first_not_of(kHex, kPrefix.size()) == std::string_view::npos;
}

struct CloseFolder {
    void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};

os::Fd open_folder(int at, const char* name) noexcept
{
    return os::Fd(::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

/// A folder of `uid`'s or of our own user's; -1 where it is something else.
os::Fd open_ours(int at, const char* name, uid_t uid) noexcept
{
    const auto is_ours = [uid](const struct stat& status) {
        return S_ISDIR(status.st_mode) && (status.st_mode & 07777) == 0700 &&
               (status.st_uid == uid || status.st_uid == ::geteuid());
    };
    struct stat status {};
    if (::fstatat(at, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !is_ours(status)) {
        return os::Fd();
    }
    os::Fd folder = open_folder(at, name);
    if (!folder) {
        const ActingAs owner(status.st_uid);
        folder = open_folder(at, name);
    }
    return folder && ::fstat(folder.get(), &status) == 0 && is_ours(status) ? std::move(folder) : os::Fd();
}

/// The names in a folder, without "." and "..".
std::vector<std::string> names_in(int folder)
{
    std::vector<std::string> names;
    const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); // a reading position of our own
    const std::unique_ptr<DIR, CloseFolder> entries(copy < 0 ? nullptr : ::fdopendir(copy));
    if (!entries) {
        os::Fd(copy).reset();
        return names;
    }
    while (const dirent* entry = ::readdir(entries.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") {
            names.emplace_back(name);
        }
    }
    return names;
}

/// No folder lies in ours: whatever cannot be unlinked stays, and the folder with it.
void empty(int folder)
{
    struct stat status {};
    if (::fstat(folder, &status) != 0) {
        return;
    }
    const ActingAs owner(status.st_uid);
    for (const std::string& name : names_in(folder)) {
        ::unlinkat(folder, name.c_str(), 0);
    }
}

/// Whether the name still means the folder that is open.
bool is_named(int parent, const char* name, int folder) noexcept
{
    struct stat held {};
    struct stat named {};
    return ::fstat(folder, &held) == 0 && ::fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

/// One attempt with one name; EEXIST and EWOULDBLOCK are worth another.
int try_name(int parent, const std::string& name, uid_t uid, gid_t gid, os::Fd& out) noexcept
{
    if (::mkdirat(parent, name.c_str(), 0700) != 0) {
        return errno;
    }
    os::Fd folder = open_folder(parent, name.c_str());
    struct stat status {};
    if (!folder || ::fstat(folder.get(), &status) != 0) {
        return errno;
    }
    if (status.st_uid != ::geteuid()) {
        return EEXIST; // exchanged by somebody
    }
    // Before the lock is ours another Ladle may take the folder for one that was left, and remove it.
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) {
        return errno;
    }
    if (!is_named(parent, name.c_str(), folder.get())) {
        return EEXIST;
    }
    if (uid != 0 && uid != ::geteuid() && ::fchown(folder.get(), uid, gid) != 0) {
        const int code = errno;
        ::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
        return code;
    }
    out = std::move(folder);
    return 0;
}

} // namespace

Result<CacheFolder> CacheFolder::mount(std::uint64_t bytes, uid_t uid, gid_t gid)
{
    const auto failed = [] { return fail_errno("cannot mount a tmpfs with large pages", errno); };
    const os::Fd context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!context) {
        return failed();
    }
    const std::pair<const char*, std::string> options[] = {{"huge", "within_size"}, // large pages, but none past a file's end
                                                           {"size", std::to_string(bytes)},
                                                           {"mode", "0700"},
                                                           {"uid", std::to_string(uid)},
                                                           {"gid", std::to_string(gid)}};
    for (const auto& [key, value] : options) {
        if (::fsconfig(context.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
            return failed();
        }
    }
    if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return failed();
    }
    const os::Fd root(::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    if (!root) {
        return failed();
    }
    CacheFolder made;
    made.folder_ = open_folder(root.get(), "."); // the mount stays as long as something of it is open
    if (!made.folder_) {
        return failed();
    }
    made.owner_ = ::getpid();
    return made;
}

CacheFolder& CacheFolder::operator=(CacheFolder&& other) noexcept
{
    if (this != &other) {
        remove();
        path_ = std::move(other.path_);
        folder_ = std::move(other.folder_);
        owner_ = other.owner_;
    }
    return *this;
}

Result<CacheFolder> CacheFolder::make(const std::string& parent, uid_t uid, gid_t gid)
{
    const os::Fd above(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!above) {
        return fail_errno("cannot open " + parent, errno);
    }
    int code = EEXIST;
    for (int tries = 0; tries < kMostTries && (code == EEXIST || code == EWOULDBLOCK); ++tries) {
        std::uint64_t random = 0;
        if (::getrandom(&random, sizeof random, 0) != sizeof random) {
            return fail_errno("cannot get random numbers", errno);
        }
        const std::string name = fmt::format("{}{:016x}", kPrefix, random);
        CacheFolder made;
        code = try_name(above.get(), name, uid, gid, made.folder_);
        if (code == 0) {
            made.path_ = parent + "/" + name;
            made.owner_ = ::getpid();
            return made;
        }
    }
    return fail_errno("cannot make a folder in " + parent, code);
}

CacheFolder CacheFolder::adopt(std::string path, os::Fd folder)
{
    CacheFolder adopted;
    adopted.path_ = std::move(path);
    adopted.folder_ = std::move(folder);
    adopted.owner_ = ::getpid();
    return adopted;
}

std::string CacheFolder::parent() const
{
    return path_.empty() ? path_ : path_.substr(0, path_.rfind('/'));
}

void CacheFolder::remove() noexcept
{
    if (folder_ && !path_.empty() && owner_ == ::getpid()) {
        empty(folder_.get());
        ::rmdir(path_.c_str());
    }
    leave();
}

void CacheFolder::leave() noexcept
{
    folder_.reset();
    path_.clear();
}

int remove_unused(const std::string& parent, uid_t uid) noexcept
{
    int removed = 0;
    const os::Fd above(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!above) {
        return 0;
    }
    for (const std::string& name : names_in(above.get())) {
        if (!is_our_name(name)) {
            continue;
        }
        const os::Fd folder = open_ours(above.get(), name.c_str(), uid);
        if (!folder || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0 || !is_named(above.get(), name.c_str(), folder.get())) {
            continue;
        }
        empty(folder.get());
        removed += ::unlinkat(above.get(), name.c_str(), AT_REMOVEDIR) == 0 ? 1 : 0;
    }
    return removed;
}

} // namespace ladle::master
