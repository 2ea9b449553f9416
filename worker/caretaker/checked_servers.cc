// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/checked_servers.h"

#include "common/os/log.h"

#include <netinet/in.h>

#include <utility>

namespace ladle::worker {

CheckSource::CheckSource(std::shared_ptr<const config::Config> followed, shm::ProcessRow& row)
    : config(std::move(followed)), connector(config->tls, row)
{
}

loop::Nanos CheckClock::next_after(loop::Nanos now, config::Duration interval) noexcept
{
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    const loop::Nanos span = loop::to_nanos(interval);
    return now + span * 9 / 10 + random_ % (span / 5 + 1);
}

Probe::Subject question_to(const config::Upstream& upstream, const config::UpstreamServer& server, const config::HealthCheck& check,
                           const sockaddr_storage& address)
{
    Probe::Subject asked{upstream, server, check, address, 0};
    if (check.port != 0 && address.ss_family == AF_UNIX) {
        asked.address = {};
        asked.address.ss_family = AF_INET;
        reinterpret_cast<sockaddr_in&>(asked.address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    if (asked.address.ss_family == AF_INET6) {
        auto& v6 = reinterpret_cast<sockaddr_in6&>(asked.address);
        v6.sin6_port = check.port != 0 ? htons(check.port) : v6.sin6_port;
        asked.length = sizeof v6;
    } else if (asked.address.ss_family == AF_INET) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(asked.address);
        v4.sin_port = check.port != 0 ? htons(check.port) : v4.sin_port;
        asked.length = sizeof v4;
    } else {
        asked.length = server.address_length;
    }
    return asked;
}

void log_unmade(const config::Upstream& upstream, const config::UpstreamServer& server, const Probe& probe)
{
    os::log(os::Level::warning, "a server cannot be checked",
            {{"upstream", upstream.name}, {"server", server.text}, {"reason", probe.detail()}});
}

} // namespace ladle::worker
