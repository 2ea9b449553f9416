// SPDX-License-Identifier: Apache-2.0
#include "worker/upstream/agent_reply.h"

#include "common/http/grammar.h"

#include <algorithm>
#include <array>
#include <utility>

namespace ladle::worker {

namespace {

constexpr std::string_view kBetweenWords = " \t,";
constexpr std::string_view kMaxConn = "maxconn:";
constexpr std::size_t kMostShown = 80; // of what was not understood

constexpr std::array<std::pair<std::string_view, shm::ServerOrder>, 3> kOrders{
    {{"ready", shm::ServerOrder::none}, {"drain", shm::ServerOrder::drain}, {"maint", shm::ServerOrder::down}}};
constexpr std::array<std::pair<std::string_view, shm::AgentState>, 5> kStates{{{"up", shm::AgentState::up},
                                                                               {"down", shm::AgentState::down},
                                                                               {"failed", shm::AgentState::failed},
                                                                               {"fail", shm::AgentState::failed},
                                                                               {"stopped", shm::AgentState::stopped}}};

template <typename Table, typename Value>
bool take_named(const Table& table, std::string_view word, std::optional<Value>& into)
{
    const auto found =
        std::find_if(table.begin(), table.end(), [word](const auto& one) { return http::equals_ignoring_case(one.first, word); });
    if (found == table.end()) {
        return false;
    }
    into = found->second;
    return true;
}

/// Digits only; what is more than `most` counts as that.
bool take_number(std::string_view digits, std::uint32_t most, std::optional<std::uint32_t>& into)
{
    std::uint64_t value = 0;
    for (const char c : digits) {
        if (c < '0' || c > '9') {
            return false;
        }
        value = std::min<std::uint64_t>(value * 10 + static_cast<std::uint64_t>(c - '0'), most);
    }
    if (digits.empty()) {
        return false;
    }
    into = static_cast<std::uint32_t>(value);
    return true;
}

bool take_word(std::string_view word, shm::AgentWord& into)
{
    if (word.ends_with('%')) {
        return take_number(word.substr(0, word.size() - 1), shm::kMostAgentPercent, into.percent);
    }
    if (http::equals_ignoring_case(word.substr(0, kMaxConn.size()), kMaxConn)) {
        return take_number(word.substr(kMaxConn.size()), shm::kMostAgentConnections, into.max_conn);
    }
    return take_named(kOrders, word, into.order) || take_named(kStates, word, into.state);
}

/// For logs and JSON: whatever was sent, as ASCII on one line.
std::string printable(std::string_view text)
{
    std::string out(text.substr(0, kMostShown));
    std::replace_if(
        out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return out;
}

} // namespace

std::expected<AgentReply, std::string> parse_agent_reply(std::string_view text)
{
    text = text.substr(0, text.find_first_of("\r\n"));
    if (text.size() >= kMostAgentLine) {
        return std::unexpected("its line is too long");
    }
    std::string_view description;
    if (const std::size_t sharp = text.find('#'); sharp != std::string_view::npos) {
        description = text.substr(std::min(text.find_first_not_of(" \t", sharp + 1), text.size()));
        text = text.substr(0, sharp);
    }
    AgentReply reply;
    for (;;) {
        text.remove_prefix(std::min(text.find_first_not_of(kBetweenWords), text.size()));
        if (text.empty()) {
            break;
        }
        const std::string_view word = text.substr(0, text.find_first_of(kBetweenWords));
        if (!take_word(word, reply.word)) {
            return std::unexpected("not a word of an agent: \"" + printable(word) + "\"");
        }
        text.remove_prefix(word.size());
    }
    if (reply.word == shm::AgentWord{}) {
        return std::unexpected("it said nothing");
    }
    reply.description = printable(description);
    return reply;
}

} // namespace ladle::worker
