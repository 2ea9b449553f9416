// SPDX-License-Identifier: Apache-2.0
//
// The server's side of a WebSocket (RFC 6455) that sends back what it gets. For the demo's origin.
#pragma once

#include <string>
#include <string_view>

namespace ladle::master::cli {

/// The Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key (section 4.2.2).
std::string websocket_accept(std::string_view key);

/// Echoes messages and answers pings until the peer closes. `early` are bytes already received after the handshake.
void echo_websocket(int socket, std::string early);

} // namespace ladle::master::cli
