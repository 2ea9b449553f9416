// SPDX-License-Identifier: Apache-2.0
//
// The value of the sticky cookie that names a server: the first 120 bits of an HMAC (SHA-256) over the upstream's name and the
// server's text, in base64url. So it is the same in every worker and after a restart, nobody else can make one, and it tells
// nobody where the server is.
#pragma once

#include "common/shm/sticky_key.h"

#include <string>
#include <string_view>

namespace ladle::worker {

/// 20 characters; empty where there is no key.
std::string sticky_value(const shm::StickyKey& key, std::string_view upstream, std::string_view server);

} // namespace ladle::worker
