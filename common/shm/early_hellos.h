// SPDX-License-Identifier: Apache-2.0
//
// The ClientHellos whose early data (TLS 1.3, 0-RTT) was taken lately: none is taken twice, whichever worker it comes to
// (RFC 8446 §8.2). OpenSSL lets a ClientHello bring early data for some ten seconds, told by the age that it gives of its ticket;
// for longer than that it is remembered here.
//
//   set ─► │ hello │ × 8     hello ─► │ mark, 32 bits of its hash │ when, CLOCK_REALTIME s, 32 bits │   0 = free
//
// Who writes: any worker, a hello with one compare-and-swap, so a death at any instruction leaves nothing half done. Two who bring
// the same hello at the same time may both be refused, never both let in. A full set, as a mark that two hellos share, costs a
// client nothing but the time of a full handshake. A table that is new knows nothing: see TlsAcceptor. The clock is OpenSSL's for
// the age: where it is set back, hellos of then count as if they were new.
#pragma once

#include <atomic>
#include <cstdint>

namespace ladle::shm {

inline constexpr std::uint64_t kEarlyWindowS = 15; ///< how long a hello is remembered
inline constexpr std::uint32_t kEarlySets = 8192;
inline constexpr std::uint32_t kEarlyWays = 8;

struct EarlyHellos {
    struct alignas(64) Set {
        std::atomic<std::uint64_t> hellos[kEarlyWays];
    };
    alignas(4096) Set sets[kEarlySets];
};

/// Remembers the ClientHello with that hash; false = it was here before, or there is no room: its early data must not be taken.
[[nodiscard]] bool admit_hello(EarlyHellos& table, std::uint64_t hash, std::uint64_t now_s) noexcept;

} // namespace ladle::shm
