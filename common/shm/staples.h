// SPDX-License-Identifier: Apache-2.0
//
// Staples: what OCSP responders have said of our certificates, for workers to show to clients (RFC 6066 §8). By the certificate.
//
//   │ staple 0 │ … │ staple 4095 │ answer 0 │ … │ answer 4095 │      staple: seq · size · hash · good until · key (32)
//                                                                  answer: DER, to 8 KiB
//
// Who writes: the caretaker alone; any worker and the master read. A key lies in one of kProbes places from where its first bytes
// point. The answers' pages are touched, and so are memory, only where there is one. `seq` is odd while a staple is written: a
// reader then does without, which costs a client nothing but the staple. If the caretaker dies in the middle it stays odd until the
// next one writes it again. For the moment of an upgrade in which two caretakers live, and may write at once, the hash covers all
// that a reader uses.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

namespace ladle::shm {

using StapleKey = std::array<std::uint8_t, 32>; ///< SHA-256 of the certificate's DER

inline constexpr std::uint32_t kMaxStaples = 4096;
inline constexpr std::size_t kMostStapleBytes = 8192;

struct Staple {
    std::atomic<std::uint32_t> seq;
    std::uint32_t size;         ///< of the answer; 0 = the place is free
    std::uint64_t hash;         ///< of key, good_until_s and answer
    std::uint64_t good_until_s; ///< CLOCK_REALTIME
    StapleKey key;
};
static_assert(sizeof(Staple) == 56);

struct StapleTable {
    alignas(4096) Staple staples[kMaxStaples];
    alignas(4096) std::uint8_t answers[kMaxStaples][kMostStapleBytes];
};

/// Copies the answer for that certificate to `out`; false = there is none that is good at `now_s`.
bool read_staple(const StapleTable& table, const StapleKey& key, std::uint64_t now_s, std::vector<std::uint8_t>& out);

/// Until when there is one; 0 = there is none.
std::uint64_t staple_until(const StapleTable& table, const StapleKey& key) noexcept;

/// Caretaker only. False: it is too large, or the places for it are taken.
[[nodiscard]] bool publish_staple(StapleTable& table, const StapleKey& key, std::span<const std::uint8_t> answer,
                                  std::uint64_t good_until_s) noexcept;

/// Caretaker only: it is not to be shown any more.
void withdraw_staple(StapleTable& table, const StapleKey& key) noexcept;

/// Caretaker only: withdraws those of all other certificates.
void keep_staples(StapleTable& table, const std::set<StapleKey>& keys) noexcept;

} // namespace ladle::shm
