// SPDX-License-Identifier: Apache-2.0
#include "worker/request/live_config.h"

#include "worker/tls/providers.h"

#include <algorithm>

namespace ladle::worker {

Result<std::shared_ptr<LiveConfig>> LiveConfig::make(std::shared_ptr<const config::Config> parsed, ServerSet& servers,
                                                     shm::Regions& regions, shm::ProcessRow& row)
{
    if (auto loaded = use_providers(parsed->tls.providers); !loaded) {
        return std::unexpected(loaded.error());
    }
    auto live = std::make_shared<LiveConfig>(std::move(parsed), servers, regions, row);
    const std::vector<config::Listen>& listens = live->config->listens;
    if (std::any_of(listens.begin(), listens.end(), [](const config::Listen& listen) { return listen.is_tls; })) {
        auto acceptor = TlsAcceptor::make(*live->config, live->router, regions, row);
        if (!acceptor) {
            return std::unexpected(acceptor.error());
        }
        live->acceptor = std::move(*acceptor);
    }
    return live;
}

LiveConfig::LiveConfig(std::shared_ptr<const config::Config> parsed, ServerSet& servers, shm::Regions& regions,
                       shm::ProcessRow& row)
    : config(std::move(parsed)), router(*config), connector(config->tls, row)
{
    for (const config::Upstream& upstream : config->upstreams) {
        upstreams.push_back(std::make_unique<Upstream>(upstream, servers, regions, row));
    }
}

} // namespace ladle::worker
