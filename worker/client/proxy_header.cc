// SPDX-License-Identifier: Apache-2.0
#include "worker/client/proxy_header.h"

#include "common/os/log.h"
#include "worker/net/address.h"

namespace ladle::worker {

namespace {

void adopt(const http::ProxyHeader& header, ClientConnection& client)
{
    if (header.source.family != http::Endpoint::Family::unknown) {
        client.peer = to_socket_address(header.source);
        client.peer_text = text_of(client.peer);
        client.destination = header.destination;
    }
}

/// Takes the header if it is there; `problem` says why it never will be, and is empty where the peer just left.
http::Progress try_take(ClientConnection& client, std::string_view& problem)
{
    char bytes[http::kMostProxyHeader];
    const Io io = client.socket.peek(bytes, sizeof bytes);
    if (io.state == IoState::failed || io.state == IoState::end) {
        return http::Progress::refused;
    }
    http::ProxyHeader header;
    http::Progress progress = http::parse_proxy_header({bytes, io.bytes}, header);
    problem = header.problem;
    if (progress == http::Progress::incomplete && client.socket.peer_has_finished()) {
        problem = "the connection ended in it";
        progress = http::Progress::refused;
    }
    if (progress == http::Progress::complete) {
        client.socket.receive(bytes, header.size); // they are there: nobody else reads
        adopt(header, client);
    }
    return progress;
}

} // namespace

bool expects_proxy_header(const config::Listen& listen, const ClientConnection& client)
{
    const std::optional<Address> peer = address_of(client.peer);
    return peer ? is_in(listen.proxy_from, *peer) : listen.proxy_from_unix;
}

loop::Task<bool> receive_proxy_header(ClientConnection& client, config::Duration timeout, shm::ProcessRow& row)
{
    client.alarm.set(timeout);
    std::string_view problem;
    http::Progress progress = try_take(client, problem);
    while (progress == http::Progress::incomplete && !client.alarm.rang()) {
        co_await client.wake.wait();
        progress = try_take(client, problem);
    }
    if (progress == http::Progress::complete) {
        row.add(shm::Metric::proxy_headers);
        co_return true;
    }
    if (progress == http::Progress::incomplete) {
        problem = "it took too long";
    }
    row.add(shm::Metric::proxy_headers_refused, problem.empty() ? 0 : 1); // whether a port is open is often asked like that
    if (!problem.empty() && os::is_logged(os::Level::info)) {
        os::log(os::Level::info, "no PROXY header where one has to be", {{"peer", client.peer_text}, {"reason", problem}});
    }
    co_return false;
}

} // namespace ladle::worker
