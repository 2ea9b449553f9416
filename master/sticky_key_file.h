// SPDX-License-Identifier: Apache-2.0
//
// The key of sticky cookies: 32 random bytes in the file sticky.key of the state folder ([server] state), made by the first master
// that needs it and read by those after it, so that cookies are good over restarts. Proxies that are to honour each other's cookies
// are given the same file. Master process.
#pragma once

#include "common/config/config.h"
#include "common/shm/sticky_key.h"

namespace ladle::master {

/// Fills the key, unless it is there, where the configuration has sticky cookies. A file that cannot be read or made is warned of;
/// the key is then random and goes with this master.
void provide_sticky_key(shm::StickyKey& key, const config::Config& config);

} // namespace ladle::master
