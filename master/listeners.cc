// SPDX-License-Identifier: Apache-2.0
#include "master/listeners.h"

#include "common/os/log.h"
#include "common/os/socket.h"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ladle::master {

namespace {

bool is_unix(const config::BindAddress& bind) noexcept
{
    return bind.address.ss_family == AF_UNIX;
}

std::string unix_path(const config::BindAddress& bind)
{
    return bind.text.substr(std::string_view("unix:").size());
}

/// Port in host order; 0 of a Unix address.
std::uint16_t port_of(const config::BindAddress& bind) noexcept
{
    if (bind.address.ss_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &bind.address, sizeof in);
        return ntohs(in.sin_port);
    }
    if (bind.address.ss_family == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, &bind.address, sizeof in);
        return ntohs(in.sin6_port);
    }
    return 0;
}

const char* advice(int code, const config::BindAddress& bind) noexcept
{
    if (code == EADDRINUSE) {
        return is_unix(bind) ? ": another process serves this socket" : ": another program listens there (ss -ltnp shows which)";
    }
    if (code == EACCES && !is_unix(bind) && port_of(bind) < 1024) {
        return ": ports below 1024 need root or CAP_NET_BIND_SERVICE";
    }
    if (code == EADDRNOTAVAIL) {
        return ": no interface of this machine has this address";
    }
    return "";
}

std::unexpected<Error> cannot_listen(const config::BindAddress& bind, int code)
{
    return std::unexpected(Error{code, Origin::local, Retry::no,
                                 fmt::format("cannot listen on {}: {}{}", bind.text, strerrordesc_np(code), advice(code, bind))});
}

/// A socket file that nobody serves any more is removed; one that is served is left alone.
void remove_stale_socket_file(const config::BindAddress& bind)
{
    struct stat st {};
    if (::lstat(unix_path(bind).c_str(), &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    const os::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&bind.address), bind.address_length) != 0 &&
        errno == ECONNREFUSED) {
        ::unlink(unix_path(bind).c_str());
    }
}

/// With SO_REUSEPORT a second proxy of the same user could bind beside a first one and take half its clients; without, bind() fails
/// while anybody listens there. Never listens, so it disturbs nobody.
Result<void> probe_is_free(const config::BindAddress& bind)
{
    const auto probe = os::bind_stream(bind.address, bind.address_length, os::Sharing::alone);
    if (!probe) {
        return cannot_listen(bind, probe.error().code);
    }
    return {};
}

/// A wildcard IPv6 address that stands beside the IPv4 one and cannot be had: this machine has no IPv6.
bool may_be_skipped(const config::BindAddress& bind, int code, const std::vector<config::BindAddress>& all)
{
    return (code == EAFNOSUPPORT || code == EADDRNOTAVAIL) && bind.text.starts_with("[::]:") &&
           std::any_of(all.begin(), all.end(),
                       [&](const auto& other) { return other.text == fmt::format("0.0.0.0:{}", port_of(bind)); });
}

} // namespace

std::vector<config::BindAddress> bind_addresses(const config::Config& config)
{
    std::vector<config::BindAddress> all;
    for (const config::Listen& listen : config.listens) {
        for (const config::BindAddress& bind : listen.bind) {
            if (std::find(all.begin(), all.end(), bind) == all.end()) {
                all.push_back(bind);
            }
        }
    }
    return all;
}

void ListenerSet::offer(os::Fd socket)
{
    offered_.push_back(std::move(socket));
}

void ListenerSet::drop_offered()
{
    offered_.clear();
}

void ListenerSet::take_offered(BoundAddress& address)
{
    for (os::Fd& socket : offered_) {
        sockaddr_storage own{};
        socklen_t length = sizeof own;
        if (socket && ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &length) == 0 &&
            os::to_text(own, length) == address.bind.text) {
            address.slots.push_back(std::move(socket));
        }
    }
}

bool ListenerSet::is_active(const std::string& text) const
{
    return std::any_of(active_.begin(), active_.end(), [&](const auto& a) { return a.bind.text == text; });
}

bool ListenerSet::holds_port(const config::BindAddress& bind) const
{
    const auto is_same = [&](const BoundAddress& a) { return port_of(a.bind) != 0 && port_of(a.bind) == port_of(bind); };
    return std::any_of(active_.begin(), active_.end(), is_same) || std::any_of(leaving_.begin(), leaving_.end(), is_same) ||
           std::any_of(pending_.begin(), pending_.end(), is_same);
}

Result<BoundAddress> ListenerSet::bind_all_slots(const config::BindAddress& bind, std::uint32_t slots) const
{
    BoundAddress address;
    address.bind = bind;
    const std::uint32_t wanted = is_unix(bind) ? 1 : slots;
    if (is_unix(bind)) {
        remove_stale_socket_file(bind);
    } else if (!holds_port(bind)) { // our own sockets are no obstacle: they are of the same group
        if (auto free = probe_is_free(bind); !free) {
            return std::unexpected(free.error());
        }
    }
    while (address.slots.size() < wanted) {
        auto socket = os::bind_stream(bind.address, bind.address_length, os::Sharing::group);
        if (!socket) {
            return cannot_listen(bind, socket.error().code);
        }
        address.slots.push_back(std::move(*socket));
    }
    if (is_unix(bind)) {
        ::chmod(unix_path(bind).c_str(), 0666); // who may connect is said by the folder's permissions
    }
    return address;
}

Result<void> ListenerSet::prepare(const config::Config& config, std::uint32_t slots)
{
    slots = std::max(slots, slots_);
    const std::vector<config::BindAddress> all = bind_addresses(config);
    for (const config::BindAddress& bind : all) {
        if (is_active(bind.text)) {
            continue;
        }
        BoundAddress adopted{bind, {}};
        take_offered(adopted);
        if (!adopted.slots.empty()) {
            pending_.push_back(std::move(adopted));
            continue;
        }
        auto bound = bind_all_slots(bind, slots);
        if (bound) {
            pending_.push_back(std::move(*bound));
        } else if (may_be_skipped(bind, bound.error().code, all)) {
            os::log(os::Level::warning, "no IPv6 on this machine: address left out", {{"address", bind.text}});
        } else {
            drop_pending();
            return std::unexpected(bound.error());
        }
    }
    slots_ = slots;
    return {};
}

Result<void> ListenerSet::listen_pending()
{
    for (BoundAddress& address : pending_) {
        for (os::Fd& socket : address.slots) {
            if (auto listening = os::start_listening(socket.get()); !listening) {
                auto failure = cannot_listen(address.bind, listening.error().code);
                drop_pending();
                return failure;
            }
        }
    }
    return {};
}

void ListenerSet::drop_pending()
{
    for (const BoundAddress& address : pending_) {
        if (is_unix(address.bind)) {
            ::unlink(unix_path(address.bind).c_str());
        }
    }
    pending_.clear();
}

void ListenerSet::commit(const config::Config& config)
{
    const std::vector<config::BindAddress> all = bind_addresses(config);
    for (auto it = active_.begin(); it != active_.end();) {
        if (std::find(all.begin(), all.end(), it->bind) == all.end()) {
            leaving_.push_back(std::move(*it));
            it = active_.erase(it);
        } else {
            ++it;
        }
    }
    std::move(pending_.begin(), pending_.end(), std::back_inserter(active_));
    pending_.clear();
}

Result<std::vector<ListenerSet::Grown>> ListenerSet::grow(std::uint32_t slots)
{
    std::vector<Grown> grown;
    for (BoundAddress& address : active_) {
        Grown more{address.bind.text, {}};
        while (!is_unix(address.bind) && address.slots.size() < slots) {
            auto socket = os::bind_stream(address.bind.address, address.bind.address_length, os::Sharing::group);
            if (!socket) {
                // A socket from systemd without ReusePort=yes: the slots there are must do.
                os::log(os::Level::warning, "cannot open another slot",
                        {{"address", address.bind.text}, {"reason", socket.error().detail}});
                break;
            }
            if (auto listening = os::start_listening(socket->get()); !listening) {
                return cannot_listen(address.bind, listening.error().code);
            }
            more.sockets.push_back(socket->get());
            address.slots.push_back(std::move(*socket));
        }
        if (!more.sockets.empty()) {
            grown.push_back(std::move(more));
        }
    }
    slots_ = std::max(slots_, slots);
    return grown;
}

void ListenerSet::close_left(const std::string& text)
{
    const bool is_back = is_active(text);
    std::erase_if(leaving_, [&](const BoundAddress& address) {
        if (address.bind.text != text) {
            return false;
        }
        if (is_unix(address.bind) && !is_back) {
            ::unlink(unix_path(address.bind).c_str());
        }
        return true;
    });
}

void ListenerSet::close_all()
{
    drop_pending();
    for (std::vector<BoundAddress>* list : {&active_, &leaving_}) {
        for (const BoundAddress& address : *list) {
            if (is_unix(address.bind)) {
                ::unlink(unix_path(address.bind).c_str());
            }
        }
        list->clear();
    }
    offered_.clear();
}

void ListenerSet::adopt_active(BoundAddress address)
{
    slots_ = std::max(slots_, static_cast<std::uint32_t>(address.slots.size()));
    active_.push_back(std::move(address));
}

} // namespace ladle::master
