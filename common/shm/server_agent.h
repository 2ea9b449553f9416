// SPDX-License-Identifier: Apache-2.0
//
// What the agent of a server has said so far: one word of its ServerHealth, so that a choice reads it at once. Only the agent takes
// back what it has said: an answer replaces of the word what it speaks of and leaves the rest, and no answer leaves all of it. 0 =
// nothing was said.
//
//   │ max_conn, 32 bits │ percent, 16 bits │ which of the four it has said, a bit each │ state, 2 bits │ order, 2 bits │
//
// Written by the caretaker alone, read by everyone.
#pragma once

#include "common/shm/server_health.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ladle::shm {

/// How the agent finds its server. All but `up` are as good as a failed check; which of them it is, is for people.
enum class AgentState : std::uint8_t { up, down, failed, stopped };
std::string_view name_of(AgentState state) noexcept;

/// Of those things that an agent may speak of what one answer does, or all answers so far did.
struct AgentWord {
    std::optional<ServerOrder> order; ///< `ready`, `drain` or `maint`, in the words of the operator's orders
    std::optional<AgentState> state;
    std::optional<std::uint32_t> percent;  ///< of the weight, kMostAgentPercent at most; 0 = no new clients
    std::optional<std::uint32_t> max_conn; ///< in place of the configured one; 0 = no limit

    /// This, with what `later` speaks of in place of its own.
    AgentWord with(const AgentWord& later) const noexcept;
    bool operator==(const AgentWord&) const = default;
};

inline constexpr std::uint32_t kMostAgentPercent = 25'600;
inline constexpr std::uint32_t kMostAgentConnections = 1'000'000;

std::uint64_t pack(const AgentWord& word) noexcept;
AgentWord unpack_agent(std::uint64_t word) noexcept;

inline constexpr unsigned kAgentStateAt = 2;
inline constexpr unsigned kAgentPercentAt = 16;
inline constexpr unsigned kAgentConnectionsAt = 32;
inline constexpr std::uint64_t kAgentSaidOrder = 1u << 4;
inline constexpr std::uint64_t kAgentSaidState = 1u << 5;
inline constexpr std::uint64_t kAgentSaidPercent = 1u << 6;
inline constexpr std::uint64_t kAgentSaidConnections = 1u << 7;

/// What it says against its server, and why: "drain", "down: out of memory"; empty = nothing.
std::string describe(const AgentWord& word, std::string_view note);

/// The parts that every choice looks at, from the packed word.
inline ServerOrder agent_order(std::uint64_t word) noexcept
{
    return static_cast<ServerOrder>(word & 3u);
}
inline AgentState agent_state(std::uint64_t word) noexcept
{
    return static_cast<AgentState>(word >> kAgentStateAt & 3u);
}
/// 100 where it has said none.
inline std::uint32_t agent_percent(std::uint64_t word) noexcept
{
    return (word & kAgentSaidPercent) != 0 ? static_cast<std::uint32_t>(word >> kAgentPercentAt & 0xffff) : 100;
}
/// `configured` where it has said none.
inline std::uint32_t agent_max_conn(std::uint64_t word, std::uint32_t configured) noexcept
{
    return (word & kAgentSaidConnections) != 0 ? static_cast<std::uint32_t>(word >> kAgentConnectionsAt) : configured;
}
/// Whether a server of which the agent says so gets no new clients while another one can.
inline bool is_kept_out(std::uint64_t word) noexcept
{
    return (word & 15u) != 0 || agent_percent(word) == 0;
}

/// Takes over another question, or none (0): what the agent has said is forgotten. Nothing happens where it is the same. Caretaker.
void begin_agent(ServerHealth& health, std::uint64_t fingerprint) noexcept;

/// Counts how a question ended that brought nothing, and keeps why.
void add_agent_failure(ServerHealth& health, CheckEnd end, std::string_view why, std::uint64_t now_ns) noexcept;
/// Takes over an answer; `why` is the agent's own description. True where it has changed what the agent says.
bool add_agent_answer(ServerHealth& health, const AgentWord& said, std::string_view why, std::uint64_t now_ns) noexcept;

} // namespace ladle::shm
