// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/announce.h"

#include "worker/net/address.h"

namespace ladle::worker {

http::Endpoint destination_of(const ClientStream& client)
{
    if (client.destination.family != http::Endpoint::Family::unknown) {
        return client.destination;
    }
    sockaddr_storage own{};
    socklen_t length = sizeof own;
    const bool is_open = client.transport != nullptr && client.transport->is_open();
    return is_open && ::getsockname(client.transport->fd(), reinterpret_cast<sockaddr*>(&own), &length) == 0 ? to_endpoint(own)
                                                                                                             : http::Endpoint{};
}

std::string announcement_for(const Request& request, const config::Upstream& upstream)
{
    if (!upstream.proxy_protocol) {
        return {};
    }
    http::Endpoint source;
    if (const std::optional<Address> client = parse_address(request.client_address)) {
        // Of a client that a trusted proxy names the port is not known.
        const bool is_peer = request.client_address == request.client.peer_text;
        source = to_endpoint(*client, is_peer ? to_endpoint(request.client.peer).port : std::uint16_t{0});
    }
    return http::make_proxy_header(*upstream.proxy_protocol, source, destination_of(request.client));
}

bool announce(Socket& socket, const std::string& header)
{
    Chain bytes;
    bytes.append_copy(header);
    // What comes next is written at once. A fresh connection has room for a hundred bytes.
    return socket.send(bytes, Follows::more).state == IoState::done && bytes.empty();
}

} // namespace ladle::worker
