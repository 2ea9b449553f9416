// SPDX-License-Identifier: Apache-2.0
//
// ServerHealth: whether a server may be chosen, and what is known of how it does; a part of its entry in the server table.
//
//   │ what every choice reads │ pace │ times │ load │ what checks found │ agent │ what requests met │ latency[] │ recent │
//     each from a cache line of its own
//
// Words that stand for themselves, so that a death at any instruction leaves nothing half done. Who writes: `order`, `weight`: the
// master. `verdict`, `check` … `note` and what belongs to the agent: the caretaker (during an upgrade there are two for a moment:
// the last one wins, and both ask the same servers). The rest: any worker, by compare-and-swap or addition where sums matter, else
// the last writer wins. All of it outlives every process and reload; it
// goes with its entry. A worker that dies in the middle of an ejection leaves counts that are one too
// low or too high, which the next success or the window's end sets right.
#pragma once

#include "common/shm/recent_times.h"
#include "common/shm/server_slowness.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ladle::shm {

/// What the last checks say. `unknown`, before the first result that counts, is as good as `up`: a start or a new server must not
/// wait for its checks.
enum class Verdict : std::uint32_t { unknown, up, down };

/// What the operator has ordered.
enum class ServerOrder : std::uint32_t { none, drain, down };

/// How one check ended.
enum class CheckEnd : std::uint8_t {
    none,         ///< there was none
    good,
    unresolved,   ///< the name has no address
    refused,      ///< no connection, or TLS, or HTTP/2
    silent,       ///< no whole answer in time
    malformed,    ///< cut, reset, or against the protocol
    wrong_status,
    wrong_body,
    not_serving,  ///< gRPC: it says so itself
};
std::string_view name_of(CheckEnd end) noexcept;

/// How a request failed, of those failures that the server is to blame for.
enum class ServerFailure : std::uint32_t { connect, reset, timeout, bad_response, bad_status };
inline constexpr std::size_t kServerFailures = 5;
/// As `out_for`: no request failed, its answers took too long.
inline constexpr std::uint32_t kOutForSlowness = kServerFailures;
std::string_view name_of(ServerFailure failure) noexcept;

inline constexpr std::size_t kNoteWords = 16;
/// A short text, which may mix two for a moment.
using Note = std::array<std::atomic<std::uint64_t>, kNoteWords>;

struct alignas(64) ServerHealth {
    std::atomic<std::uint64_t> out_until_ns;  ///< CLOCK_MONOTONIC; ejected until then
    std::atomic<std::uint64_t> back_ns;       ///< when checks, its agent or an order brought it back; 0 = it was never out for that
    std::atomic<Verdict> verdict;
    std::atomic<ServerOrder> order;
    std::atomic<std::uint32_t> weight;        ///< 0 = as configured
    std::atomic<std::uint32_t> failures_in_row; ///< of requests, but for connect
    std::atomic<std::uint32_t> connect_failures; ///< in a row
    std::atomic<std::uint32_t> ejections;     ///< in a row
    std::atomic<std::uint64_t> agent;         ///< all that its agent has said so far: server_agent.h; 0 = nothing

    alignas(64) std::atomic<std::uint64_t> typical; ///< how long it takes to answer: server_pace.h
    std::atomic<std::uint64_t> peak;
    std::atomic<std::uint64_t> known_ns;      ///< when it became one (master), or was reached again after failing connects
    std::atomic<std::uint32_t> slow_trials;   ///< 1 + slow answers in a row since it was ejected as slow; 0 = no such trial

    alignas(64) TimesRing times;              ///< how long it took in a window, where `eject.slow` is set: server_slowness.h

    alignas(64) std::atomic<std::uint64_t> load;  ///< what its responses say of its load: server_load.h; 0 = nothing
    std::atomic<std::uint64_t> load_since_ns;     ///< since when they have said so without a long pause

    alignas(64) std::atomic<std::uint64_t> check; ///< fingerprint of the check whose results these are; 0 = none
    std::atomic<std::uint64_t> verdict_since_ns;  ///< 0 = never
    std::atomic<std::uint64_t> checked_ns;        ///< when the last check ended; 0 = never
    std::atomic<std::uint64_t> next_check_ns;
    std::atomic<std::uint64_t> recent;            ///< the last eight CheckEnds, a byte each, the newest lowest
    std::atomic<std::uint32_t> in_row;            ///< results that speak against the verdict
    Note note;                                    ///< what the last bad check has met

    alignas(64) std::atomic<std::uint64_t> agent_check; ///< fingerprint of the question that the agent answers; 0 = none
    std::atomic<std::uint64_t> agent_since_ns;    ///< when what it says changed; 0 = never
    std::atomic<std::uint64_t> agent_asked_ns;    ///< when the last question ended; 0 = never
    std::atomic<std::uint64_t> next_agent_ns;
    std::atomic<std::uint64_t> agent_recent;      ///< as `recent`; malformed = an answer that is not understood
    Note agent_note;                              ///< the agent's own words on why it is down
    Note agent_failure;                           ///< why the last question that failed did

    alignas(64) std::atomic<std::uint64_t> evidence; ///< failures in a window: see add_failure()
    std::atomic<std::uint64_t> out_since_ns;         ///< of the last ejection
    std::atomic<std::uint32_t> out_for;              ///< ServerFailure, or kOutForSlowness
    std::atomic<std::uint64_t> failures[kServerFailures];
    std::atomic<std::uint64_t> ejected;              ///< times
    std::atomic<std::uint64_t> retries;              ///< of an upstream, in its first server: see take_retry()
    std::atomic<std::uint64_t> asked;                ///< requests of that upstream, there too: what `retries` are a part of
    std::atomic<std::uint64_t> slowness;             ///< how slow it was when it was last ejected for that: server_slowness.h
    std::atomic<std::uint64_t> hedges;               ///< of an upstream, there too: see take_hedge()

    alignas(64) std::atomic<std::uint64_t> latency[kLatencyBuckets]; ///< responses by the time to their head

    RecentTimes recent_times; ///< of an upstream that hedges, in its first server
};

/// Everything back to the start. The entry's owner only (master).
void clear_health(ServerHealth& health) noexcept;

/// Takes over another check, or none (0): what the last one found is forgotten. Nothing happens where it is the same. Caretaker.
void begin_check(ServerHealth& health, std::uint64_t fingerprint) noexcept;

struct CheckCounts {
    std::uint32_t rise;
    std::uint32_t fall;
};
/// Counts a result; true if the verdict has changed from usable to not, or back. At first one good result is enough. Caretaker.
bool add_check(ServerHealth& health, CheckEnd end, CheckCounts counts, std::uint64_t now_ns) noexcept;

void write_note(Note& note, std::string_view text) noexcept;
std::string read_note(const Note& note);

/// Failures, and the requests among which they were, since a window began that is no older than `within`.
struct Evidence {
    std::uint32_t failures;
    std::uint32_t requests;
};
/// Counts a failure. `requests`: those of the server so far. Lock-free; all workers together.
Evidence add_failure(ServerHealth& health, std::uint64_t requests, std::chrono::nanoseconds within, std::uint64_t now_ns) noexcept;

/// Keeps the word of take_retry() up to date; to be called every second or so.
void settle_retries(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint64_t now_ns) noexcept;
/// Whether one more request may be sent again: `percent` of the requests of the last ten to twenty seconds, and ten in any case.
/// Counts it if so. `word` is all workers' and begins with 0; `requests`: the upstream's so far.
bool take_retry(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint32_t percent, std::uint64_t now_ns) noexcept;

/// The same for hedges, with a word of their own, and not one more than `percent`.
void settle_hedges(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint64_t now_ns) noexcept;
bool take_hedge(std::atomic<std::uint64_t>& word, std::uint64_t requests, std::uint32_t percent, std::uint64_t now_ns) noexcept;

/// Counts a response that took so long.
void add_latency(ServerHealth& health, std::chrono::nanoseconds time) noexcept;
/// The time below which `percent` of the responses so far stayed, to within a fifth; 0 = there was none.
std::chrono::microseconds latency_quantile(const ServerHealth& health, unsigned percent) noexcept;

} // namespace ladle::shm
