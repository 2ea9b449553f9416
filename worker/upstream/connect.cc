// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/connect.h"

#include "common/os/log.h"
#include "worker/upstream/address_turn.h"
#include "worker/upstream/announce.h"
#include "worker/upstream/begin_connect.h"
#include "worker/upstream/join.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ladle::worker {

namespace {

constexpr std::size_t kMostAddresses = 3; // tried for one request

struct Endpoint {
    sockaddr_storage address;
    socklen_t length;
};

/// The addresses to try, in order; empty if the name has none.
std::vector<Endpoint> find_endpoints(const Upstream& upstream, const Member& member)
{
    std::vector<Endpoint> endpoints;
    if (member.settings->host_name.empty()) {
        endpoints.push_back({member.settings->address, member.settings->address_length});
        return endpoints;
    }
    if (!shm::is_of_server(*member.entry, upstream.settings().name, member.settings->text)) {
        return endpoints;
    }
    const std::vector<shm::ServerAddress> addresses = shm::usable_addresses(*member.entry);
    const std::size_t first = addresses.empty() ? 0 : first_address(addresses, member.server->next_address++);
    for (std::size_t i = 0; i < std::min(addresses.size(), kMostAddresses); ++i) {
        const sockaddr_storage address = shm::to_socket_address(addresses[(first + i) % addresses.size()]);
        endpoints.push_back({address, address.ss_family == AF_INET6 ? static_cast<socklen_t>(sizeof(sockaddr_in6))
                                                                    : static_cast<socklen_t>(sizeof(sockaddr_in))});
    }
    return endpoints;
}

/// A host may have several servers of a service, on ports of their own.
bool is_same_place(const sockaddr_storage& a, const sockaddr_storage& b) noexcept
{
    if (a.ss_family != b.ss_family) {
        return false;
    }
    if (a.ss_family == AF_INET6) {
        const auto& six = reinterpret_cast<const sockaddr_in6&>(a);
        const auto& other = reinterpret_cast<const sockaddr_in6&>(b);
        return six.sin6_port == other.sin6_port && std::memcmp(&six.sin6_addr, &other.sin6_addr, sizeof(in6_addr)) == 0;
    }
    const auto& four = reinterpret_cast<const sockaddr_in&>(a);
    const auto& other = reinterpret_cast<const sockaddr_in&>(b);
    return four.sin_port == other.sin_port && four.sin_addr.s_addr == other.sin_addr.s_addr;
}

/// A kept connection, unless its name has moved to other addresses since.
std::unique_ptr<ServerConnection> take_kept(const Member& member, std::string_view announced)
{
    while (std::unique_ptr<ServerConnection> connection = member.server->take_kept(announced)) {
        if (is_still_of(member, *connection)) {
            return connection;
        }
    }
    return nullptr;
}

/// Waits until the connect has ended or its time is over; false = the client has left.
loop::Task<bool> wait_for_connect(Request& request, ServerConnection& connection)
{
    while (!connection.socket.may_write() && !request.client.alarm.rang()) {
        co_await request.client.wake.wait();
        if (request.client.has_left()) {
            co_return false;
        }
    }
    co_return true;
}

/// RFC 9113 §3.2: HTTP/2 over TLS is what both sides have agreed on, or nothing.
std::optional<Connected> check_protocol(const Upstream& upstream, const Encryption& encryption)
{
    if (upstream.settings().protocol == config::UpstreamProtocol::h2 && encryption.facts().protocol != "h2") {
        return Connected{Answer{502, Reason::server_not_h2}, "the server does not speak HTTP/2: it did not agree to it (ALPN)"};
    }
    return std::nullopt;
}

/// TLS with the server, within another connect timeout; nullopt = it is agreed on.
loop::Task<std::optional<Connected>> shake_hands(Request& request, const Turn& turn, Socket& socket)
{
    const Member& member = turn.upstream->members()[turn.member];
    socket.encrypt(request.live->connector.connect(request.parts.loop, socket, turn.upstream->settings(), *member.settings));
    if (socket.encryption() == nullptr) {
        co_return Connected{Answer{502, Reason::server_tls}, "TLS cannot be set up"};
    }
    request.client.alarm.set(request.timeouts().connect);
    for (;;) {
        const Handshake state = socket.shake_hands();
        if (state == Handshake::done) {
            co_return check_protocol(*turn.upstream, *socket.encryption());
        }
        if (state != Handshake::under_way) {
            const std::string_view why = socket.encryption()->failure();
            co_return Connected{Answer{502, Reason::server_tls},
                                "TLS: " + std::string(why.empty() ? "the server closed the connection" : why)};
        }
        if (request.client.alarm.rang()) {
            co_return Connected{Answer{504, Reason::connect_timeout}, "the TLS handshake timed out"};
        }
        co_await request.client.wake.wait();
        if (request.client.has_left()) {
            co_return Connected{Answer{499, Reason::client_left}, {}};
        }
    }
}

} // namespace

bool is_still_of(const Member& member, ServerConnection& connection)
{
    const std::uint32_t version = member.entry->address_version.load(std::memory_order_relaxed);
    if (member.settings->host_name.empty() || connection.address_version == version) {
        return true;
    }
    std::vector<sockaddr_storage> addresses;
    const bool is_one = !shm::read_addresses(*member.entry, addresses) ||
                        std::any_of(addresses.begin(), addresses.end(), [&](const sockaddr_storage& address) {
                            return is_same_place(address, connection.address);
                        });
    connection.address_version = is_one ? version : connection.address_version;
    return is_one;
}

loop::Task<Connected> open_connection(Request& request, Turn& turn, std::unique_ptr<ServerConnection>& made)
{
    const Member& member = turn.upstream->members()[turn.member];
    const std::vector<Endpoint> endpoints = find_endpoints(*turn.upstream, member);
    const std::string announced = announcement_for(request, turn.upstream->settings());
    Connected last{Answer{503, Reason::name_unresolved}, "the name has no address"};
    for (const Endpoint& endpoint : endpoints) {
        auto connection = member.server->make_connection();
        connection->address = endpoint.address;
        connection->address_version = member.entry->address_version.load(std::memory_order_relaxed);
        int code = begin_connect(request.parts.loop, *connection, endpoint.address, endpoint.length, request.client.wake.news());
        request.client.alarm.set(request.timeouts().connect);
        if (code == 0 && !connection->socket.may_write()) {
            const bool is_wanted = co_await wait_for_connect(request, *connection);
            if (!is_wanted) {
                co_return Connected{Answer{499, Reason::client_left}, {}};
            }
        }
        if (code == 0 && !connection->socket.may_write()) {
            last = {Answer{504, Reason::connect_timeout}, "connect timed out"};
            continue;
        }
        code = code != 0 ? code : connection->socket.take_error();
        if (code == 0 && !announced.empty()) {
            connection->announced = announced;
            code = announce(connection->socket, announced) ? 0 : EPIPE;
        }
        if (code == 0 && turn.upstream->settings().tls) {
            std::optional<Connected> refused = co_await shake_hands(request, turn, connection->socket);
            if (refused) {
                if (refused->failed->reason == Reason::client_left) {
                    co_return std::move(*refused);
                }
                last = std::move(*refused);
                continue;
            }
        }
        if (code == 0) {
            request.parts.row.add(shm::Metric::server_connections_made);
            if (os::is_logged(os::Level::debug)) {
                os::log(os::Level::debug, "connected to a server",
                        {{"upstream", request.upstream_name}, {"server", request.server_text}, {"id", request.id}});
            }
            made = std::move(connection);
            co_return Connected{};
        }
        last = {Answer{502, Reason::connect_failed}, strerrordesc_np(code), is_own_want(code) ? Fault::ours : Fault::theirs};
    }
    co_return last;
}

loop::Task<Connected> connect(Request& request, Turn& turn, Freshness freshness)
{
    const Member& member = turn.upstream->members()[turn.member];
    turn.is_reused = false;
    if (turn.upstream->settings().protocol == config::UpstreamProtocol::h2) {
        Connected joined = co_await join(request, turn);
        co_return joined;
    }
    if (freshness == Freshness::kept_or_fresh) {
        turn.stream = take_kept(member, announcement_for(request, turn.upstream->settings()));
        if (turn.stream) {
            turn.stream->set_news(&request.client.wake.news());
            turn.is_reused = true;
            request.parts.row.add(shm::Metric::server_connections_reused);
            co_return Connected{};
        }
    }
    std::unique_ptr<ServerConnection> made;
    Connected connected = co_await open_connection(request, turn, made);
    if (!connected.failed) {
        turn.upstream->report_connected(turn.member);
        turn.stream = std::move(made);
    }
    co_return connected;
}

} // namespace ladle::worker
