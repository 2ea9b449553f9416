// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace ladle::shm {

namespace {

constexpr int kReadTries = 64;
constexpr unsigned kGateTries = 2000;

bool has_key(const ServerEntry& entry, std::string_view upstream, std::string_view server_text) noexcept
{
    if (entry.key_length != upstream.size() + 1 + server_text.size()) {
        return false;
    }
    return std::memcmp(entry.key, upstream.data(), upstream.size()) == 0 && entry.key[upstream.size()] == '\0' &&
           std::memcmp(entry.key + upstream.size() + 1, server_text.data(), server_text.size()) == 0;
}

} // namespace

sockaddr_storage to_socket_address(const ServerAddress& a) noexcept
{
    sockaddr_storage out{};
    if (a.family == AF_INET) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(a.port);
        std::memcpy(&in.sin_addr, a.address.data(), 4);
        std::memcpy(&out, &in, sizeof in);
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(a.port);
        std::memcpy(&in.sin6_addr, a.address.data(), 16);
        std::memcpy(&out, &in, sizeof in);
    }
    return out;
}

bool is_of_server(const ServerEntry& entry, std::string_view upstream, std::string_view server_text) noexcept
{
    return entry.used.load(std::memory_order_acquire) == 1 && has_key(entry, upstream, server_text);
}

int find_server(const ServerTable& table, std::string_view upstream, std::string_view server_text) noexcept
{
    for (std::uint32_t i = 0; i < kMaxServers; ++i) {
        if (is_of_server(table.entries[i], upstream, server_text)) {
            return static_cast<int>(i);
        }
    }
    return -1;
}

int find_or_assign_server(ServerTable& table, std::string_view upstream, std::string_view server_text) noexcept
{
    if (upstream.size() + 1 + server_text.size() > kServerKeyBytes) {
        return -1;
    }
    if (const int found = find_server(table, upstream, server_text); found >= 0) {
        return found;
    }
    for (std::uint32_t i = 0; i < kMaxServers; ++i) {
        ServerEntry& entry = table.entries[i];
        if (entry.used.load(std::memory_order_relaxed) != 0) {
            continue;
        }
        std::memcpy(entry.key, upstream.data(), upstream.size());
        entry.key[upstream.size()] = '\0';
        std::memcpy(entry.key + upstream.size() + 1, server_text.data(), server_text.size());
        entry.key_length = static_cast<std::uint32_t>(upstream.size() + 1 + server_text.size());
        entry.used.store(1, std::memory_order_release);
        return static_cast<int>(i);
    }
    return -1;
}

void free_server(ServerTable& table, std::uint32_t index) noexcept
{
    ServerEntry& entry = table.entries[index];
    entry.used.store(0, std::memory_order_release);
    entry.tenancy.fetch_add(1, std::memory_order_release); // first: what comes from now on is not this server's
    // seq keeps counting, so that a reader in the middle sees a change.
    entry.seq.fetch_add(2, std::memory_order_relaxed);
    entry.name_state.store(NameState::literal, std::memory_order_relaxed);
    entry.address_count = 0;
    entry.resolved_ns = 0;
    clear_health(entry.health);
    clear_limit(entry.limit);
    clear_breaker(entry.breaker);
    entry.requests.store(0, std::memory_order_relaxed);
    entry.key_length = 0;
}

std::vector<ServerAddress> copy_addresses(const ServerEntry& entry)
{
    for (int tries = 0; tries < kReadTries; ++tries) {
        const std::uint32_t before = entry.seq.load(std::memory_order_acquire);
        if ((before & 1u) != 0) {
            continue;
        }
        const NameState state = entry.name_state.load(std::memory_order_relaxed);
        const std::uint32_t count = std::min(entry.address_count, kMaxAddresses);
        ServerAddress copy[kMaxAddresses];
        std::memcpy(copy, entry.addresses, sizeof copy);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (entry.seq.load(std::memory_order_relaxed) != before) {
            continue;
        }
        if (state == NameState::unresolved || state == NameState::literal) {
            return {};
        }
        return {copy, copy + count};
    }
    return {};
}

std::vector<ServerAddress> usable_addresses(const ServerEntry& entry)
{
    std::vector<ServerAddress> addresses = copy_addresses(entry);
    if (!std::all_of(addresses.begin(), addresses.end(), [](const ServerAddress& a) { return a.is_down != 0; })) {
        std::erase_if(addresses, [](const ServerAddress& a) { return a.is_down != 0; });
    }
    return addresses;
}

bool read_addresses(const ServerEntry& entry, std::vector<sockaddr_storage>& out)
{
    const std::vector<ServerAddress> addresses = usable_addresses(entry);
    if (addresses.empty()) {
        return false;
    }
    out.clear();
    for (const ServerAddress& address : addresses) {
        out.push_back(to_socket_address(address));
    }
    return true;
}

namespace {

bool is_same_set(const ServerEntry& entry, const std::vector<ServerAddress>& addresses, std::size_t count) noexcept
{
    const auto holds_all = [count](const ServerAddress* some, const ServerAddress* of) {
        return std::all_of(of, of + count, [&](const ServerAddress& one) {
            return std::any_of(some, some + count,
                               [&](const ServerAddress& other) { return other.is_same_place(one); });
        });
    };
    // DNS servers like to turn the order round: that is no change.
    return count == entry.address_count && holds_all(entry.addresses, addresses.data()) &&
           holds_all(addresses.data(), entry.addresses);
}

} // namespace

bool publish_addresses(ServerEntry& entry, const std::vector<ServerAddress>& addresses, NameState state,
                       std::uint64_t now_ns) noexcept
{
    const std::size_t count = std::min<std::size_t>(addresses.size(), kMaxAddresses);
    const bool is_changed = !is_same_set(entry, addresses, count); // nobody else writes them; readers wait for what comes next
    std::uint32_t seq = entry.seq.load(std::memory_order_relaxed);
    if ((seq & 1u) != 0 || !entry.seq.compare_exchange_strong(seq, seq + 1, std::memory_order_relaxed)) {
        return false;
    }
    std::atomic_thread_fence(std::memory_order_release);
    if (is_changed) {
        entry.address_version.fetch_add(1, std::memory_order_relaxed);
    }
    ServerAddress known[kMaxAddresses];
    std::memcpy(known, entry.addresses, sizeof known);
    const std::uint32_t known_count = std::min(entry.address_count, kMaxAddresses);
    for (std::size_t i = 0; i < count; ++i) {
        const auto at = std::find_if(known, known + known_count, [&](const auto& one) { return one.is_same_place(addresses[i]); });
        entry.addresses[i] = addresses[i];
        entry.addresses[i].is_down = at != known + known_count ? at->is_down : 0;
    }
    entry.address_count = static_cast<std::uint32_t>(count);
    entry.resolved_ns = now_ns;
    entry.name_state.store(state, std::memory_order_relaxed);
    entry.seq.store(seq + 2, std::memory_order_release);
    return true;
}

bool publish_down(ServerEntry& entry, std::uint32_t is_down) noexcept
{
    std::uint32_t seq = entry.seq.load(std::memory_order_relaxed);
    if ((seq & 1u) != 0 || !entry.seq.compare_exchange_strong(seq, seq + 1, std::memory_order_relaxed)) {
        return false;
    }
    std::atomic_thread_fence(std::memory_order_release);
    for (std::uint32_t i = 0; i < std::min(entry.address_count, kMaxAddresses); ++i) {
        entry.addresses[i].is_down = is_down >> i & 1u;
    }
    entry.address_version.fetch_add(1, std::memory_order_relaxed);
    entry.seq.store(seq + 2, std::memory_order_release);
    return true;
}

void repair_after_caretaker(ServerTable& table) noexcept
{
    for (ServerEntry& entry : table.entries) {
        const std::uint32_t seq = entry.seq.load(std::memory_order_relaxed);
        if ((seq & 1u) != 0) {
            entry.address_count = 0; // half written: nobody may use it; the next caretaker writes it anew
            entry.name_state.store(NameState::unresolved, std::memory_order_relaxed);
            entry.seq.store(seq + 1, std::memory_order_release);
        }
    }
}

ServerGate::ServerGate(ServerEntry& entry, std::uint32_t row) noexcept : entry_(entry)
{
    for (unsigned attempt = 0; attempt < kGateTries && !is_held_; ++attempt) {
        std::uint32_t nobody = 0;
        is_held_ = entry.gate.compare_exchange_weak(nobody, row + 1, std::memory_order_acquire, std::memory_order_relaxed);
    }
}

ServerGate::~ServerGate()
{
    if (is_held_) {
        entry_.gate.store(0, std::memory_order_release);
    }
}

void ServerGate::open_for(ServerEntry& entry, std::uint32_t row) noexcept
{
    std::uint32_t holder = row + 1;
    entry.gate.compare_exchange_strong(holder, 0, std::memory_order_acq_rel);
}

} // namespace ladle::shm
