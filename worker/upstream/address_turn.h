// SPDX-License-Identifier: Apache-2.0
//
// At which of the addresses of a named server a new connection is tried first. Those of a host name have no weights and take turns;
// those of SRV records get shares by weight. Connections are kept and carry many requests, so the shares are those of connections
// that are opened, in each worker for itself. Worker process.
#pragma once

#include "common/shm/server_table.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ladle::worker {

/// The index of the address for the connection that is the `turn`th one; turns count up and may wrap. Not for an empty list.
std::size_t first_address(const std::vector<shm::ServerAddress>& addresses, std::uint32_t turn) noexcept;

} // namespace ladle::worker
