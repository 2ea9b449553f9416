// SPDX-License-Identifier: Apache-2.0
#include "worker/request/live_config.h"

namespace ladle::worker {

LiveConfig::LiveConfig(std::shared_ptr<const config::Config> parsed, ServerSet& servers, shm::Regions& regions,
                       shm::ProcessRow& row)
    : config(std::move(parsed)), router(*config)
{
    for (const config::Upstream& upstream : config->upstreams) {
        upstreams.push_back(std::make_unique<Upstream>(upstream, servers, regions, row));
    }
}

} // namespace ladle::worker
