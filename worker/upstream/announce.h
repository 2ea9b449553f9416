// SPDX-License-Identifier: Apache-2.0
//
// `proxy_protocol` of an upstream: what its servers are told at a connection's beginning about the client that it is for. Such a
// connection is kept for that client alone (ServerConnection::announced). Called by connect().
#pragma once

#include "worker/request/request.h"

#include <string>

namespace ladle::worker {

/// The PROXY header for a connection on behalf of this request; empty where the upstream has none.
std::string announcement_for(const Request& request, const config::Upstream& upstream);

/// Where the client connected to: what a PROXY header has told us, else our own end.
http::Endpoint destination_of(const ClientStream& client);

/// Sends it, as a connection's first bytes; false = the connection is of no use.
bool announce(Socket& socket, const std::string& header);

} // namespace ladle::worker
