// SPDX-License-Identifier: Apache-2.0
//
// The keys with which session tickets are encrypted: previous, current, next, the same for all workers, so that a client comes back
// to any of them, and after a reload or an upgrade.
//
//   sequence | since (CLOCK_REALTIME, s) | key 0: the next one | key 1: the current one | key 2: the previous one
//   key ─► │ name 16 bytes │ AES-256 key 32 │ HMAC-SHA-256 key 32 │
//
// Who writes: the master alone, at its start and once in [tls] tickets, or when [tls] ticket_keys says others; workers read.
// `sequence` is odd while it writes. If it dies in the middle, readers find no keys, which costs full handshakes, until the next
// master makes new ones. The next key is known to all before the first ticket is made with it. The page is left out of core dumps.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace ladle::shm {

struct TicketKey {
    std::array<std::uint8_t, 16> name;
    std::array<std::uint8_t, 32> cipher;
    std::array<std::uint8_t, 32> mac;
};
static_assert(sizeof(TicketKey) == 80);

enum class TicketAge : std::uint8_t { next, current, previous };
inline constexpr std::size_t kTicketKeys = 3;
using TicketKeySet = std::array<TicketKey, kTicketKeys>; ///< by TicketAge

struct alignas(4096) TicketKeys {
    std::atomic<std::uint64_t> sequence; ///< 0 = there are none yet
    std::atomic<std::uint64_t> since_s;  ///< of the current key
    std::atomic<std::uint64_t> words[kTicketKeys * sizeof(TicketKey) / sizeof(std::uint64_t)];
};

/// The keys as they are now; nullopt = there are none.
std::optional<TicketKeySet> read_ticket_keys(const TicketKeys& keys) noexcept;

/// Master only: those that the image before it had, whatever the layout of its arena.
void restore_ticket_keys(TicketKeys& keys, const TicketKeySet& set, std::uint64_t since_s) noexcept;

/// Master only: keys that somebody else has made, 80 bytes each (name, HMAC key, AES key), one to three; the first one is for new
/// tickets. Nothing is written where they are the present ones.
void adopt_ticket_keys(TicketKeys& keys, std::span<const std::string_view> given, std::uint64_t now_s) noexcept;

/// Master only: makes keys where there are none, and lets the next one follow when the current one has been so for `period_s`.
/// False: the kernel gives no random numbers; they stay as they are.
bool tend_ticket_keys(TicketKeys& keys, std::uint64_t now_s, std::uint64_t period_s) noexcept;

} // namespace ladle::shm
