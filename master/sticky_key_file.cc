// SPDX-License-Identifier: Apache-2.0
#include "master/sticky_key_file.h"

#include "common/os/fd.h"
#include "common/os/log.h"
#include "common/os/memory_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace ladle::master {

namespace {

using Bytes = std::array<std::uint8_t, 32>;

/// What became of the file; `problem` empty = the bytes are its.
struct Outcome {
    Bytes bytes{};
    std::string problem;
};

Outcome read_sticky_key(const os::Fd& file)
{
    Outcome out;
    const auto text = os::read_whole(file.get(), out.bytes.size() + 1);
    if (!text || text->size() != out.bytes.size()) {
        out.problem = "it is no file of 32 bytes";
        return out;
    }
    std::memcpy(out.bytes.data(), text->data(), out.bytes.size());
    return out;
}

/// Whole or not at all: a crash in between leaves the next master to make one.
std::string write_key(const std::string& path, const Bytes& bytes)
{
    const std::string fresh = path + ".new";
    ::unlink(fresh.c_str()); // what a crash has left
    const os::Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file && ::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && ::fsync(file.get()) == 0 &&
        ::rename(fresh.c_str(), path.c_str()) == 0) {
        return {};
    }
    const int error = errno;
    ::unlink(fresh.c_str());
    return std::strerror(error);
}

Outcome obtain_key(const std::string& path)
{
    const os::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (file) {
        return read_sticky_key(file);
    }
    Outcome out;
    if (errno != ENOENT) {
        out.problem = std::strerror(errno);
    } else if (::getrandom(out.bytes.data(), out.bytes.size(), 0) != static_cast<ssize_t>(out.bytes.size())) {
        out.problem = "the kernel gives no random numbers";
    } else {
        out.problem = write_key(path, out.bytes);
    }
    return out;
}

} // namespace

void provide_sticky_key(shm::StickyKey& key, const config::Config& config)
{
    const bool is_wanted =
        std::any_of(config.upstreams.begin(), config.upstreams.end(), [](const auto& one) { return !one.sticky_cookie.empty(); });
    if (!is_wanted || key.ready.load(std::memory_order_relaxed) != 0) {
        return;
    }
    const std::string& folder = config.server.state;
    ::mkdir(folder.c_str(), 0700); // where the service manager has not made it
    Outcome obtained = obtain_key(folder + "/sticky.key");
    if (!obtained.problem.empty()) {
        os::log(os::Level::warning, "sticky cookies are good until this proxy stops: their key is in no file",
                {{"file", folder + "/sticky.key"}, {"reason", obtained.problem}});
        if (::getrandom(obtained.bytes.data(), obtained.bytes.size(), 0) != static_cast<ssize_t>(obtained.bytes.size())) {
            return; // no cookies rather than ones that anybody could make
        }
    }
    key.bytes = obtained.bytes;
    key.ready.store(1, std::memory_order_release);
}

} // namespace ladle::master
