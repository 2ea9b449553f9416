// SPDX-License-Identifier: Apache-2.0
//
// The PROXY protocol from those who may speak it (`proxy_protocol` of a [listen.NAME]): what they send first, before TLS as well,
// is who their client is. From then on the connection is that client's: for [trust], Forwarded, limits and logs. The header is
// looked at where the kernel holds it and taken whole, so that not one byte behind it is read too early. Called by the Session.
#pragma once

#include "common/config/config.h"
#include "common/loop/task.h"
#include "worker/client/connection.h"

namespace ladle::worker {

/// Whether the peer is one who has to begin with a header there.
bool expects_proxy_header(const config::Listen& listen, const ClientConnection& client);

/// Sets the client's peer, peer_text and destination. False: there is no good header (counted and logged) within `timeout`, or the
/// peer has left; the connection is to be closed without a word. `client` outlives the task.
loop::Task<bool> receive_proxy_header(ClientConnection& client, config::Duration timeout, shm::ProcessRow& row);

} // namespace ladle::worker
