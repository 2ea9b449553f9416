// SPDX-License-Identifier: Apache-2.0
#include "master/kept_file.h"

#include "common/os/fd.h"
#include "common/os/log.h"
#include "common/os/memory_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

namespace ladle::master {

namespace {

constexpr std::size_t kMostKept = 4 << 20;

bool write_all(int fd, const std::string& text)
{
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t written = ::write(fd, text.data() + at, text.size() - at);
        if (written <= 0) {
            return false;
        }
        at += static_cast<std::size_t>(written);
    }
    return true;
}

} // namespace

std::optional<std::string> read_kept_file(const std::string& path, const char* what)
{
    const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file) {
        return std::nullopt;
    }
    struct stat found {};
    if (::fstat(file.get(), &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != ::geteuid()) {
        os::log(os::Level::warning, "a file that Ladle keeps is not read: it is another user's", {{"file", path}, {"of", what}});
        return std::nullopt;
    }
    auto text = os::read_whole(file.get(), kMostKept);
    if (!text) {
        os::log(os::Level::warning, "a file that Ladle keeps cannot be read", {{"file", path}, {"of", what}});
        return std::nullopt;
    }
    return std::move(*text);
}

bool write_kept_file(const std::string& path, const std::string& text)
{
    const std::string fresh = path + ".new";
    ::unlink(fresh.c_str()); // what a crash has left, or somebody else
    const os::Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    return file && write_all(file.get(), text) && ::rename(fresh.c_str(), path.c_str()) == 0;
}

} // namespace ladle::master
