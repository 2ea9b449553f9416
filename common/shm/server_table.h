// SPDX-License-Identifier: Apache-2.0
//
// Server table: what all processes know of each upstream server, in the shared arena.
//
//   │ orders │ entry 0 │ entry 1 │ … │ entry 1023 │      entry: seq · tenancy · addresses[16] · requests · turns · health ·
//                                                             limit · breaker · key
//
// The index of an entry is the server's identity in every row's in_flight[]. The master assigns entries (find_or_assign) before it
// hands out a bundle that names them, keyed by "upstream\0server text", and frees one only when no configuration names it and no
// request is in flight there; requests of an older configuration see by `tenancy` that it is theirs no more. The caretaker alone
// writes the addresses of a named server, under the seqlock `seq` (odd = being written; a reader gives up after some tries and
// keeps what it had; if the caretaker dies in the middle, the master evens it out and the next one writes again). Which of those
// addresses checks have found dead is a bit of each, written likewise. Whether the server may be chosen is its health
// (server_health.h); how much it is sent at once, its limit (server_limit.h). The master counts `orders` when it has changed an
// order or a weight.
#pragma once

#include "common/shm/breaker.h"
#include "common/shm/rows.h"
#include "common/shm/server_health.h"
#include "common/shm/server_limit.h"

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

namespace ladle::shm {

inline constexpr std::uint32_t kMaxAddresses = 16; ///< used per name; more are ignored and logged
inline constexpr std::uint32_t kServerKeyBytes = 512;

struct ServerAddress {
    std::uint16_t family; ///< AF_INET or AF_INET6
    std::uint16_t port;   ///< host order
    std::array<std::uint8_t, 16> address; ///< IPv4 in the first four
    std::uint32_t is_down; ///< 1 = checks say so: not used while another one is not
    std::uint32_t weight;  ///< its share of new connections beside the others (worker/upstream/address_turn.h)

    bool is_same_place(const ServerAddress& other) const noexcept
    {
        return family == other.family && port == other.port && address == other.address;
    }
};

enum class NameState : std::uint32_t { literal, unresolved, resolved, failed };

struct ServerEntry {
    std::atomic<std::uint32_t> used;         ///< 1 = assigned
    std::atomic<std::uint32_t> seq;
    std::atomic<std::uint32_t> tenancy;      ///< counts how often it was given back
    std::atomic<NameState> name_state;
    std::uint32_t address_count;
    std::uint64_t resolved_ns;               ///< CLOCK_MONOTONIC
    ServerAddress addresses[kMaxAddresses];
    std::atomic<std::uint32_t> address_version; ///< counts changes of the set of addresses: kept connections are looked at again
    std::atomic<std::uint64_t> requests;     ///< sent to it, by all workers
    std::atomic<std::uint64_t> turns;        ///< of round_robin, counted in the entry of an upstream's first server
    std::atomic<std::uint32_t> tickets;      ///< of requests that wait, likewise
    std::atomic<std::uint32_t> gate;         ///< 1 + the row of the process that counts (ServerGate); 0 = nobody
    ServerHealth health;
    ServerLimit limit;
    Breaker breaker;                         ///< of an upstream, in its first server's entry
    std::uint32_t key_length;
    char key[kServerKeyBytes];
};

struct ServerTable {
    std::atomic<std::uint32_t> orders; ///< counts changes of orders and weights
    ServerEntry entries[kMaxServers];
};

/// Lets one process at a time count what a server with a limit has in flight and add its own request: without it two that decide in
/// the same instant would both find the last place free. Held for the time of a sum; that of a process that died is opened by the
/// master, so a server waits for nobody for long.
class ServerGate {
public:
    /// Tries for some microseconds; false where another process holds it for longer, as it is stopped.
    ServerGate(ServerEntry& entry, std::uint32_t row) noexcept;
    ~ServerGate();
    ServerGate(const ServerGate&) = delete;
    ServerGate& operator=(const ServerGate&) = delete;
    explicit operator bool() const noexcept { return is_held_; }

    /// After the death of that row's process.
    static void open_for(ServerEntry& entry, std::uint32_t row) noexcept;

private:
    ServerEntry& entry_;
    bool is_held_ = false;
};

/// Whether the entry is still this server's: a reload may have given it to another one.
bool is_of_server(const ServerEntry& entry, std::string_view upstream, std::string_view server_text) noexcept;

/// The entry's index, or -1. Any process.
int find_server(const ServerTable& table, std::string_view upstream, std::string_view server_text) noexcept;

/// The entry's index, made if needed; -1 when the table is full. Master only.
int find_or_assign_server(ServerTable& table, std::string_view upstream, std::string_view server_text) noexcept;

/// Gives an entry back. Master only; no configuration names it and in_flight() of it is 0.
void free_server(ServerTable& table, std::uint32_t index) noexcept;

/// Evens out entries that a dead caretaker left half written. Master only, after the caretaker was reaped.
void repair_after_caretaker(ServerTable& table) noexcept;

/// The published addresses of a named server that are not down, or all if all are; none if they cannot be had right now.
std::vector<ServerAddress> usable_addresses(const ServerEntry& entry);

/// The same as socket addresses; false if there are none (`out` is then untouched).
bool read_addresses(const ServerEntry& entry, std::vector<sockaddr_storage>& out);

/// Publishes the addresses (caretaker only). False, and nothing is changed, while another caretaker is writing (during an upgrade
/// there are two for a moment): try again later.
[[nodiscard]] bool publish_addresses(ServerEntry& entry, const std::vector<ServerAddress>& addresses, NameState state,
                                     std::uint64_t now_ns) noexcept;

/// Marks those of the published addresses for which `is_down` has a bit; in their order. The same rules as for publish_addresses().
/// A change counts as one of the set: kept connections to an address that is down are not used.
[[nodiscard]] bool publish_down(ServerEntry& entry, std::uint32_t is_down) noexcept;

/// A copy of what is published, with the down ones; none if it cannot be had right now.
std::vector<ServerAddress> copy_addresses(const ServerEntry& entry);

/// As a socket address.
sockaddr_storage to_socket_address(const ServerAddress& address) noexcept;

} // namespace ladle::shm
