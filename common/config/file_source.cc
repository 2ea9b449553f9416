// SPDX-License-Identifier: Apache-2.0
#include "common/config/file_source.h"

#include "common/config/server_changes.h"

#include "common/os/fd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <glob.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace ladle::config {

namespace {

constexpr std::string_view kEnvironment = "env:";
constexpr std::string_view kCredential = "credential:";

Result<std::string> read_file(const std::string& path, std::size_t most_bytes = FileSource::kMostBytes)
{
    // O_NONBLOCK: a FIFO without a writer must not hang `ladle check`.
    const os::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) {
        return fail_errno("cannot read " + path, errno);
    }
    std::string text;
    char piece[16 << 10]; // and not the text itself: thousands of small files are kept, none of which is to hold more than its size
    for (;;) {
        const ssize_t got = ::read(fd.get(), piece, sizeof piece);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return fail_errno("cannot read " + path, errno);
        }
        if (got == 0) {
            break;
        }
        text.append(piece, static_cast<std::size_t>(got));
        if (text.size() > most_bytes) {
            return fail(Origin::local, fmt::format("cannot read {}: it has more than {} MiB", path, most_bytes >> 20));
        }
    }
    return text;
}

/// A file, a variable of the environment, or one of systemd's credentials.
Result<std::string> read_source(const std::string& source, std::size_t most_bytes)
{
    if (source.starts_with(kEnvironment)) {
        const std::string name = source.substr(kEnvironment.size());
        const char* text = std::getenv(name.c_str());
        return text != nullptr ? Result<std::string>(text) : fail(Origin::local, "the environment has no variable " + name);
    }
    if (!source.starts_with(kCredential)) {
        return read_file(source, most_bytes);
    }
    const std::string name = source.substr(kCredential.size());
    const char* folder = std::getenv("CREDENTIALS_DIRECTORY");
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
        return fail(Origin::local, "a credential is named without a folder: its name is what LoadCredential= has before the colon");
    }
    if (folder == nullptr) {
        return fail(Origin::local,
                    "there are no credentials here: systemd gives them to a unit with LoadCredential=" + name + ":FILE");
    }
    return read_file(std::string(folder) + "/" + name);
}

SharedText share(std::string text)
{
    auto owner = std::make_shared<const std::string>(std::move(text));
    const std::string_view view = *owner;
    return {view, std::move(owner)};
}

} // namespace

std::string Recording::server_changes() const
{
    const auto found = files.find(std::string(kServerChanges));
    return found == files.end() ? std::string() : found->second;
}

void Recording::set_server_changes(const std::string& text)
{
    files.erase(std::string(kServerChanges));
    if (!text.empty()) {
        files[std::string(kServerChanges)] = text;
    }
}

Result<std::string> DiskFiles::read(const std::string& path)
{
    Result<std::string> text = read_file(path);
    if (text) {
        recording_.files[path] = *text;
    }
    return text;
}

Result<SharedText> DiskFiles::keep(const std::string& path, std::size_t most_bytes)
{
    if (const auto known = recording_.kept.find(path); known != recording_.kept.end()) {
        return known->second;
    }
    Result<std::string> text = read_source(path, most_bytes);
    if (!text) {
        return std::unexpected(text.error());
    }
    return recording_.kept[path] = share(std::move(*text));
}

Result<std::vector<std::string>> DiskFiles::expand(const std::string& pattern)
{
    glob_t found{};
    int failed = 0;
    const int status = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
    failed = errno;
    std::vector<std::string> paths(found.gl_pathv, found.gl_pathv + (status == 0 ? found.gl_pathc : 0));
    ::globfree(&found);
    if (status == GLOB_ABORTED) {
        // A folder that does not exist matches nothing; one that may not be read is a failure.
        if (failed != ENOENT && failed != ENOTDIR) {
            return fail_errno("cannot look into the folder of " + pattern, failed);
        }
    } else if (status == GLOB_NOSPACE) {
        return fail_errno("cannot look into the folder of " + pattern, ENOMEM);
    }
    recording_.expansions[pattern] = paths;
    return paths;
}

FileSource::Folder DiskFiles::look_at_folder(const std::string& path)
{
    struct stat status {};
    struct statfs system {};
    if (::stat(path.c_str(), &status) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? Folder::missing : Folder::unknown;
    }
    if (!S_ISDIR(status.st_mode)) {
        return Folder::not_a_folder;
    }
    if (::statfs(path.c_str(), &system) != 0) {
        return Folder::unknown;
    }
    return system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC ? Folder::in_memory : Folder::on_disk;
}

Result<std::string> BundleFiles::read(const std::string& path)
{
    const auto found = recording_.files.find(path);
    if (found == recording_.files.end()) {
        return fail_errno("cannot read " + path, ENOENT);
    }
    return found->second;
}

Result<SharedText> BundleFiles::keep(const std::string& path, std::size_t)
{
    if (const auto found = recording_.kept.find(path); found != recording_.kept.end()) {
        return found->second;
    }
    Result<std::string> text = read(path);
    if (!text) {
        return std::unexpected(text.error());
    }
    return share(std::move(*text));
}

Result<std::vector<std::string>> BundleFiles::expand(const std::string& pattern)
{
    const auto found = recording_.expansions.find(pattern);
    return found == recording_.expansions.end() ? std::vector<std::string>() : found->second;
}

bool is_secret_source(std::string_view source) noexcept
{
    return source.starts_with(kEnvironment) || source.starts_with(kCredential);
}

std::string resolve_path(const std::string& from, const std::string& path)
{
    if (path.starts_with('/')) {
        return path;
    }
    const std::size_t slash = from.rfind('/');
    return slash == std::string::npos ? path : from.substr(0, slash + 1) + path;
}

} // namespace ladle::config
