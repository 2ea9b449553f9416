// SPDX-License-Identifier: Apache-2.0
//
// What the caretaker's books of servers (health_book.h, agent_book.h) share: the configuration that a question is of, when the next
// one is due, and where it goes.
#pragma once

#include "common/config/config.h"
#include "common/loop/loop.h"
#include "worker/upstream/probe.h"

#include <cstdint>
#include <memory>

namespace ladle::worker {

/// A configuration and TLS as it wants it; kept while a question of it is under way.
struct CheckSource {
    CheckSource(std::shared_ptr<const config::Config> followed, shm::ProcessRow& row);

    std::shared_ptr<const config::Config> config;
    TlsConnector connector;
};

/// The moments of questions: every interval, give or take a tenth, so that many servers are not asked at once.
class CheckClock {
public:
    CheckClock() noexcept : random_(loop::clock_now() * 2 + 1) {}
    loop::Nanos next_after(loop::Nanos now, config::Duration interval) noexcept;

private:
    std::uint64_t random_;
};

/// A question to a server at one of its addresses, at the check's own port where it has one; of a server on a Unix socket, which is
/// on this host, that is a port of 127.0.0.1.
Probe::Subject question_to(const config::Upstream& upstream, const config::UpstreamServer& server, const config::HealthCheck& check,
                           const sockaddr_storage& address);

/// We lack descriptors, ports or memory: no word about the server.
void log_unmade(const config::Upstream& upstream, const config::UpstreamServer& server, const Probe& probe);

} // namespace ladle::worker
