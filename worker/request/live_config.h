// SPDX-License-Identifier: Apache-2.0
//
// LiveConfig: a Config and what a worker derives from it once: the router, TLS with clients, and each upstream's servers joined
// with this worker's lasting state of them. A request holds the one it began with.
#pragma once

#include "common/config/config.h"
#include "worker/route/router.h"
#include "worker/tls/acceptor.h"
#include "worker/tls/connector.h"
#include "worker/upstream/upstream.h"

#include <memory>
#include <vector>

namespace ladle::worker {

struct LiveConfig {
    /// Fails only where TLS is wanted and cannot be had.
    static Result<std::shared_ptr<LiveConfig>> make(std::shared_ptr<const config::Config> parsed, ServerSet& servers,
                                                    shm::Regions& regions, shm::ProcessRow& row);
    LiveConfig(std::shared_ptr<const config::Config> parsed, ServerSet& servers, shm::Regions& regions, shm::ProcessRow& row);

    std::shared_ptr<const config::Config> config;
    Router router;
    std::unique_ptr<TlsAcceptor> acceptor; ///< null where no address speaks TLS
    TlsConnector connector;                ///< to upstreams with TLS
    std::vector<std::unique_ptr<Upstream>> upstreams; ///< same indices as config->upstreams
};

} // namespace ladle::worker
