// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_agent.h"

#include <algorithm>

namespace ladle::shm {

namespace {

constexpr auto kRelaxedOrder = std::memory_order_relaxed;

void count_end(ServerHealth& health, CheckEnd end, std::uint64_t now_ns) noexcept
{
    health.agent_recent.store(health.agent_recent.load(kRelaxedOrder) << 8 | static_cast<std::uint8_t>(end), kRelaxedOrder);
    health.agent_asked_ns.store(now_ns, kRelaxedOrder);
}

} // namespace

std::string_view name_of(AgentState state) noexcept
{
    switch (state) {
    case AgentState::up:
        return "up";
    case AgentState::down:
        return "down";
    case AgentState::failed:
        return "failed";
    case AgentState::stopped:
        return "stopped";
    }
    return "?";
}

AgentWord AgentWord::with(const AgentWord& later) const noexcept
{
    return {later.order ? later.order : order, later.state ? later.state : state, later.percent ? later.percent : percent,
            later.max_conn ? later.max_conn : max_conn};
}

std::string describe(const AgentWord& word, std::string_view note)
{
    const ServerOrder order = word.order.value_or(ServerOrder::none);
    const AgentState state = word.state.value_or(AgentState::up);
    std::string out(order == ServerOrder::down ? "maint" : order == ServerOrder::drain ? "drain" : "");
    if (state != AgentState::up) {
        out += (out.empty() ? "" : ", ") + std::string(name_of(state));
    }
    if (out.empty() && word.percent == 0u) {
        out = "0%";
    }
    if (!out.empty() && !note.empty()) {
        out += ": " + std::string(note);
    }
    return out;
}

std::uint64_t pack(const AgentWord& word) noexcept
{
    std::uint64_t packed = 0;
    if (word.order) {
        packed |= kAgentSaidOrder | static_cast<std::uint64_t>(*word.order);
    }
    if (word.state) {
        packed |= kAgentSaidState | static_cast<std::uint64_t>(*word.state) << kAgentStateAt;
    }
    if (word.percent) {
        packed |= kAgentSaidPercent | std::uint64_t{std::min(*word.percent, kMostAgentPercent)} << kAgentPercentAt;
    }
    if (word.max_conn) {
        packed |= kAgentSaidConnections | std::uint64_t{std::min(*word.max_conn, kMostAgentConnections)} << kAgentConnectionsAt;
    }
    return packed;
}

AgentWord unpack_agent(std::uint64_t word) noexcept
{
    AgentWord out;
    if ((word & kAgentSaidOrder) != 0) {
        out.order = agent_order(word);
    }
    if ((word & kAgentSaidState) != 0) {
        out.state = agent_state(word);
    }
    if ((word & kAgentSaidPercent) != 0) {
        out.percent = agent_percent(word);
    }
    if ((word & kAgentSaidConnections) != 0) {
        out.max_conn = agent_max_conn(word, 0);
    }
    return out;
}

void begin_agent(ServerHealth& health, std::uint64_t fingerprint) noexcept
{
    if (health.agent_check.load(kRelaxedOrder) == fingerprint) {
        return;
    }
    for (auto* word :
         {&health.agent, &health.agent_since_ns, &health.agent_asked_ns, &health.next_agent_ns, &health.agent_recent}) {
        word->store(0, kRelaxedOrder);
    }
    write_note(health.agent_note, {});
    write_note(health.agent_failure, {});
    health.agent_check.store(fingerprint, kRelaxedOrder); // last: of a caretaker that dies before it the next one begins again
}

void add_agent_failure(ServerHealth& health, CheckEnd end, std::string_view why, std::uint64_t now_ns) noexcept
{
    count_end(health, end, now_ns);
    write_note(health.agent_failure, why);
}

bool add_agent_answer(ServerHealth& health, const AgentWord& said, std::string_view why, std::uint64_t now_ns) noexcept
{
    count_end(health, CheckEnd::good, now_ns);
    const std::uint64_t before = health.agent.load(kRelaxedOrder);
    const std::uint64_t now = pack(unpack_agent(before).with(said));
    // A description belongs to a state; an answer that speaks of none leaves it.
    if (said.state || !why.empty()) {
        write_note(health.agent_note, why);
    }
    if (now == before) {
        return false;
    }
    if (is_kept_out(before) && !is_kept_out(now)) {
        health.back_ns.store(now_ns, kRelaxedOrder); // its share grows anew
    }
    health.agent_since_ns.store(now_ns, kRelaxedOrder);
    health.agent.store(now, kRelaxedOrder);
    return true;
}

} // namespace ladle::shm
