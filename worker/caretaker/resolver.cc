// SPDX-License-Identifier: Apache-2.0
#include "worker/caretaker/resolver.h"

#include "common/http/grammar.h"

// ares_search() is told from later versions to be the old way; the new one is not in Debian 12.
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::size_t kMostAddresses = 256; // of an answer: one over TCP may have thousands, and each is looked for among all
constexpr std::chrono::milliseconds kPulse{100};
constexpr int kTimeoutMs = 500; ///< doubled with each round: a lost datagram costs half a second, a slow server is waited for 4
constexpr int kTries = 4;
constexpr std::chrono::seconds kLocalTtl{60};

std::int64_t change_time(const char* path)
{
    struct stat st {};
    if (::stat(path, &st) != 0) {
        return 0;
    }
    return st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
}

std::string as_csv(const std::vector<std::string>& servers)
{
    std::string text;
    for (const std::string& server : servers) {
        text += (text.empty() ? "" : ",") + server;
    }
    return text;
}

void append_address(std::vector<shm::ServerAddress>& out, const ares_addrinfo_node& node)
{
    shm::ServerAddress address{};
    if (node.ai_family == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, node.ai_addr, sizeof in);
        address.family = AF_INET;
        std::memcpy(address.address.data(), &in.sin_addr, 4);
    } else if (node.ai_family == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, node.ai_addr, sizeof in);
        address.family = AF_INET6;
        std::memcpy(address.address.data(), &in.sin6_addr, 16);
    } else {
        return;
    }
    const auto is_same = [&address](const shm::ServerAddress& a) {
        return a.family == address.family && a.address == address.address;
    };
    if (out.size() < kMostAddresses && std::none_of(out.begin(), out.end(), is_same)) {
        out.push_back(address);
    }
}

/// RFC 6761 §6.3: the name means this machine, also where no file says so (a container without /etc/hosts).
bool is_localhost(std::string_view host) noexcept
{
    constexpr std::string_view kName = "localhost";
    host.remove_suffix(host.ends_with('.') ? 1 : 0);
    if (host.size() < kName.size() || !http::equals_ignoring_case(host.substr(host.size() - kName.size()), kName)) {
        return false;
    }
    return host.size() == kName.size() || host[host.size() - kName.size() - 1] == '.';
}

std::vector<shm::ServerAddress> loopback_addresses()
{
    std::vector<shm::ServerAddress> addresses(2);
    const in_addr four{htonl(INADDR_LOOPBACK)};
    addresses[0].family = AF_INET;
    std::memcpy(addresses[0].address.data(), &four, sizeof four);
    addresses[1].family = AF_INET6;
    std::memcpy(addresses[1].address.data(), &in6addr_loopback, sizeof in6addr_loopback);
    return addresses;
}

} // namespace

struct Resolver::Socket {
    Channel* channel = nullptr;
    int fd = -1;
    loop::Watch watch;
};

/// One c-ares channel: one reading of resolv.conf.
struct Resolver::Channel {
    Resolver* owner = nullptr;
    std::string servers;             ///< as c-ares reads them, separated by commas; empty = resolv.conf's
    std::int64_t system_changed = 0; ///< resolv.conf's time of change, in nanoseconds
    bool is_outdated = false;        ///< other DNS servers were chosen: its answers count no more
    ares_channel ares = nullptr;
    std::size_t open_questions = 0;
    std::map<int, std::unique_ptr<Socket>> sockets;
    std::vector<std::unique_ptr<Socket>> closed; ///< freed outside their own callback

    ~Channel()
    {
        owner = nullptr; // answers that come from the destruction are nobody's
        if (ares != nullptr) {
            ares_destroy(ares);
        }
    }
};

struct Resolver::Question {
    Channel* channel;
    Sought sought;

    void finish(Resolution resolution)
    {
        resolution.sought = sought;
        --channel->open_questions;
        if (Resolver* owner = channel->owner; owner != nullptr && !channel->is_outdated) {
            owner->on_resolved_(owner->self_, std::move(resolution));
        }
    }

    static void on_addresses(void* self, int status, int, ares_addrinfo* answer)
    {
        const std::unique_ptr<Question> question(static_cast<Question*>(self));
        Resolution resolution{};
        if (status != ARES_SUCCESS && is_localhost(question->sought.name)) {
            resolution.addresses = loopback_addresses();
            resolution.ttl = kLocalTtl;
        } else if (status != ARES_SUCCESS) {
            resolution.failure = ares_strerror(status);
        } else {
            int ttl = 0x7fffffff;
            for (const ares_addrinfo_node* node = answer->nodes; node != nullptr; node = node->ai_next) {
                append_address(resolution.addresses, *node);
                ttl = std::min(ttl, node->ai_ttl);
            }
            resolution.ttl = std::chrono::seconds(ttl);
            if (resolution.addresses.empty()) {
                resolution.failure = "no address";
            }
        }
        if (answer != nullptr) {
            ares_freeaddrinfo(answer);
        }
        question->finish(std::move(resolution));
    }

    static void on_services(void* self, int status, int, unsigned char* answer, int length)
    {
        const std::unique_ptr<Question> question(static_cast<Question*>(self));
        Resolution resolution{};
        if (status != ARES_SUCCESS) {
            resolution.failure = ares_strerror(status);
        } else {
            resolution.services = read_service_answer({answer, static_cast<std::size_t>(length)});
            resolution.failure = resolution.services.failure;
            resolution.ttl = resolution.services.ttl;
        }
        question->finish(std::move(resolution));
    }
};

std::string to_text(const Sought& sought)
{
    return (sought.kind == Sought::Kind::services ? "srv:" : "") + sought.name;
}

Resolver::Resolver(loop::Loop& loop, OnResolved on_resolved, void* self) : loop_(loop), on_resolved_(on_resolved), self_(self)
{
}

Resolver::~Resolver() = default;

Result<std::shared_ptr<Resolver::Channel>> Resolver::make_channel(const std::string& servers)
{
    auto channel = std::make_shared<Channel>();
    channel->owner = this;
    channel->servers = servers;
    channel->system_changed = change_time("/etc/resolv.conf");
    ares_options options{};
    options.timeout = kTimeoutMs;
    options.tries = kTries;
    char lookups[] = "fb"; // files, then DNS
    options.lookups = lookups;
    options.sock_state_cb = &Resolver::on_socket_state;
    options.sock_state_cb_data = channel.get();
    const int status = ares_init_options(&channel->ares, &options,
                                         ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        return fail(Origin::local, std::string("c-ares does not start: ") + ares_strerror(status));
    }
    if (!servers.empty()) {
        if (const int set = ares_set_servers_ports_csv(channel->ares, servers.c_str()); set != ARES_SUCCESS) {
            return fail(Origin::local, "the DNS servers " + servers + " cannot be used: " + ares_strerror(set));
        }
    }
    return channel;
}

void Resolver::take(std::shared_ptr<Channel> channel)
{
    if (channel_) {
        former_.push_back(std::move(channel_));
    }
    channel_ = std::move(channel);
}

Result<void> Resolver::init(const std::vector<std::string>& servers)
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        return fail(Origin::local, "c-ares does not start");
    }
    auto channel = make_channel(as_csv(servers));
    if (!channel) {
        return std::unexpected(channel.error());
    }
    take(std::move(*channel));
    return {};
}

Result<void> Resolver::prepare(const std::vector<std::string>& servers)
{
    next_.reset();
    const std::string wanted = as_csv(servers);
    if (wanted == channel_->servers) {
        return {};
    }
    auto channel = make_channel(wanted);
    if (!channel) {
        return std::unexpected(channel.error());
    }
    next_ = std::move(*channel);
    return {};
}

void Resolver::commit()
{
    if (!next_) {
        return;
    }
    take(std::exchange(next_, nullptr));
    for (const auto& channel : former_) {
        channel->is_outdated = true;
    }
}

void Resolver::ask(const Sought& sought)
{
    ++channel_->open_questions;
    auto question = std::make_unique<Question>(Question{channel_.get(), sought});
    if (!pulse_.is_active()) {
        std::ignore = pulse_.start(
            loop_, kPulse, loop::Timer::Repeat::every, [](void* self) { static_cast<Resolver*>(self)->process_all(); }, this);
    }
    const auto keep = channel_; // the answer may come at once
    if (sought.kind == Sought::Kind::services) {
        ares_search(keep->ares, sought.name.c_str(), kDnsClassInternet, kDnsTypeSrv, &Question::on_services, question.release());
        return;
    }
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = ARES_AI_NOSORT;
    ares_getaddrinfo(keep->ares, sought.name.c_str(), nullptr, &hints, &Question::on_addresses, question.release());
}

void Resolver::refresh_servers()
{
    if (change_time("/etc/resolv.conf") == channel_->system_changed) {
        return;
    }
    if (auto channel = make_channel(channel_->servers)) {
        take(std::move(*channel));
    }
}

void Resolver::on_socket_state(void* self, int fd, int readable, int writable)
{
    auto& channel = *static_cast<Channel*>(self);
    if (readable == 0 && writable == 0) {
        if (const auto it = channel.sockets.find(fd); it != channel.sockets.end()) {
            it->second->watch.stop(); // c-ares closes it next
            channel.closed.push_back(std::move(it->second));
            channel.sockets.erase(it);
        }
        return;
    }
    if (channel.owner == nullptr || channel.sockets.contains(fd)) {
        return;
    }
    auto socket = std::make_unique<Socket>();
    socket->channel = &channel;
    socket->fd = fd;
    const auto on_ready = [](void* s, loop::Ready ready) {
        const auto& ready_socket = *static_cast<Socket*>(s);
        ares_process_fd(ready_socket.channel->ares, loop::is_readable(ready) ? ready_socket.fd : ARES_SOCKET_BAD,
                        loop::is_writable(ready) ? ready_socket.fd : ARES_SOCKET_BAD);
    };
    // Where it fails the pulse does the work, only later.
    std::ignore = socket->watch.start(channel.owner->loop_, fd, loop::WatchMode::edges, on_ready, socket.get());
    channel.sockets.emplace(fd, std::move(socket));
}

void Resolver::process_all()
{
    std::vector<std::shared_ptr<Channel>> all = former_;
    all.push_back(channel_);
    std::size_t open = 0;
    for (const auto& channel : all) {
        channel->closed.clear();
        std::vector<int> descriptors;
        for (const auto& [fd, socket] : channel->sockets) {
            descriptors.push_back(fd);
        }
        for (const int fd : descriptors) {
            if (channel->sockets.contains(fd)) {
                ares_process_fd(channel->ares, fd, fd);
            }
        }
        ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        open += channel->open_questions;
    }
    std::erase_if(former_, [](const auto& channel) { return channel->open_questions == 0; });
    if (open == 0) {
        pulse_.stop();
    }
}

} // namespace ladle::worker
