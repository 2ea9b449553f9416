// SPDX-License-Identifier: Apache-2.0
#include "master/log_files.h"

#include "common/os/log.h"

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace ladle::master {

namespace {

Result<os::Fd> open_one(const config::LogTarget& target, const char* setting)
{
    if (target.kind == config::LogTarget::Kind::off) {
        return os::Fd();
    }
    if (target.kind == config::LogTarget::Kind::standard_error) {
        return os::Fd(::fcntl(2, F_DUPFD_CLOEXEC, 3));
    }
    const auto try_open = [&target] {
        return ::open(target.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    };
    os::Fd file(try_open());
    if (!file && errno == ENOENT) {
        ::mkdir(std::filesystem::path(target.path).parent_path().c_str(), 0750);
        file.reset(try_open());
    }
    if (!file) {
        const int code = errno;
        return std::unexpected(
            Error{code, Origin::local, Retry::no,
                  fmt::format("cannot write the log {}: {}{}", target.path, strerrordesc_np(code),
                              ::geteuid() == 0 ? fmt::format(" (log.{}.to)", setting)
                                               : fmt::format(": set log.{} to a file of yours, \"stderr\" or \"off\"", setting))});
    }
    return file;
}

} // namespace

Result<LogFiles> open_logs(const config::Log& log)
{
    auto access = open_one(log.access, "access");
    if (!access) {
        return std::unexpected(access.error());
    }
    auto error = open_one(log.error, "error");
    if (!error) {
        return std::unexpected(error.error());
    }
    return LogFiles{std::move(*access), std::move(*error)};
}

std::string daemon_error_log(const config::Config& config)
{
    if (config.log.error.kind == config::LogTarget::Kind::file) {
        return config.log.error.path;
    }
    if (::geteuid() == 0) {
        return "/var/log/ladle/error.log";
    }
    return (std::filesystem::path(config.server.admin).parent_path() / "error.log").string();
}

os::Fd open_spool(const std::string& path, uid_t uid, gid_t gid)
{
    const auto unusable = [&path](int code) {
        os::log(os::Level::warning, "no spool on disk: bodies are kept in memory only",
                {{"budget.spool_path", path}, {"reason", strerrordesc_np(code)}});
        return os::Fd();
    };
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    ::mkdir(path.c_str(), 0700);
    // Not through a symbolic link: the folder above may belong to the workers' user, and we may be about to give it away.
    const os::Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat st {};
    if (!folder || ::fstat(folder.get(), &st) != 0) {
        return unusable(errno);
    }
    const bool is_for_all = (st.st_mode & 0002) != 0; // /tmp, say: used as it is
    if (uid != 0 && st.st_uid != uid && !is_for_all && (st.st_uid != ::geteuid() || ::fchown(folder.get(), uid, gid) != 0)) {
        return unusable(EACCES);
    }
    if (uid == 0 && ::faccessat(folder.get(), ".", W_OK | X_OK, 0) != 0) {
        return unusable(errno);
    }
    os::Fd opened(::openat(folder.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return opened ? std::move(opened) : unusable(errno);
}

} // namespace ladle::master
