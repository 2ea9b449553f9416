// SPDX-License-Identifier: Apache-2.0
//
// Session tickets: made and opened with the keys that all workers share (common/shm/ticket_keys.h), so that a client resumes its
// session with any of them. In the worker, on behalf of OpenSSL.
#pragma once

#include "common/shm/ticket_keys.h"
#include "worker/tls/library.h"

#include <chrono>

namespace ladle::worker {

/// `keys` outlive the settings. A ticket is good for `lifetime`.
void use_ticket_keys(SSL_CTX& settings, const shm::TicketKeys& keys, std::chrono::seconds lifetime);

} // namespace ladle::worker
