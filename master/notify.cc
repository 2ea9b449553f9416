// SPDX-License-Identifier: Apache-2.0
#include "master/notify.h"

#include "common/loop/loop.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace ladle::master::notify {

namespace {
constexpr std::size_t kPerMessage = 200; ///< descriptors in one datagram
constexpr const char* kStoreName = "ladle-listener";
} // namespace

bool is_used()
{
    return std::getenv("NOTIFY_SOCKET") != nullptr;
}

void ready(std::string_view text)
{
    sd_notify(0, fmt::format("READY=1\nSTATUS={}", text).c_str());
}

void reloading()
{
    sd_notify(0, fmt::format("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", loop::clock_now() / 1000).c_str());
}

void stopping(std::chrono::milliseconds limit)
{
    sd_notify(0, "STOPPING=1\nSTATUS=finishing requests under way");
    extend(limit);
}

void extend(std::chrono::milliseconds by)
{
    sd_notify(0, fmt::format("EXTEND_TIMEOUT_USEC={}", std::chrono::microseconds(by).count()).c_str());
}

void status(std::string_view text)
{
    sd_notify(0, fmt::format("STATUS={}", text).c_str());
}

void keep_alive()
{
    sd_notify(0, "WATCHDOG=1");
}

std::chrono::milliseconds watchdog_interval()
{
    std::uint64_t microseconds = 0;
    if (sd_watchdog_enabled(0, &microseconds) <= 0) {
        return {};
    }
    return std::chrono::milliseconds(microseconds / 2000);
}

void store(const std::vector<int>& sockets)
{
    const std::string text = fmt::format("FDSTORE=1\nFDNAME={}", kStoreName);
    for (std::size_t i = 0; i < sockets.size(); i += kPerMessage) {
        const std::size_t count = std::min(kPerMessage, sockets.size() - i);
        sd_pid_notify_with_fds(0, 0, text.c_str(), sockets.data() + i, static_cast<unsigned>(count));
    }
}

void drop_stored()
{
    sd_notify(0, fmt::format("FDSTOREREMOVE=1\nFDNAME={}", kStoreName).c_str());
}

std::vector<os::Fd> take_passed()
{
    std::vector<os::Fd> taken;
    const int count = sd_listen_fds(1);
    for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; ++fd) {
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
        taken.emplace_back(fd);
    }
    return taken;
}

} // namespace ladle::master::notify
