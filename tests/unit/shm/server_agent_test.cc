// SPDX-License-Identifier: Apache-2.0
#include "common/shm/server_agent.h"

#include <doctest/doctest.h>

#include <memory>

using namespace ladle;
using shm::AgentState;
using shm::AgentWord;
using shm::ServerOrder;

namespace {

AgentWord ordered(ServerOrder order)
{
    AgentWord word;
    word.order = order;
    return word;
}
AgentWord found(AgentState state)
{
    AgentWord word;
    word.state = state;
    return word;
}
AgentWord weighed(std::uint32_t percent)
{
    AgentWord word;
    word.percent = percent;
    return word;
}
AgentWord limited(std::uint32_t max_conn)
{
    AgentWord word;
    word.max_conn = max_conn;
    return word;
}

} // namespace

TEST_CASE("agent: all that it can say fits in one word, and comes out as it went in")
{
    CHECK(shm::pack(AgentWord{}) == 0);
    for (const ServerOrder order : {ServerOrder::none, ServerOrder::drain, ServerOrder::down}) {
        for (const AgentState state : {AgentState::up, AgentState::down, AgentState::failed, AgentState::stopped}) {
            for (const std::uint32_t percent : {0u, 1u, 100u, shm::kMostAgentPercent}) {
                for (const std::uint32_t max_conn : {0u, 1u, shm::kMostAgentConnections}) {
                    const AgentWord word{order, state, percent, max_conn};
                    CHECK(shm::unpack_agent(shm::pack(word)) == word);
                    CHECK(shm::agent_order(shm::pack(word)) == order);
                    CHECK(shm::agent_state(shm::pack(word)) == state);
                    CHECK(shm::agent_percent(shm::pack(word)) == percent);
                    CHECK(shm::agent_max_conn(shm::pack(word), 7) == max_conn);
                }
            }
        }
    }
    for (const AgentWord& word : {ordered(ServerOrder::none), found(AgentState::up), weighed(0), limited(0)}) {
        CHECK(shm::unpack_agent(shm::pack(word)) == word);
    }
    CHECK(shm::agent_percent(0) == 100);
    CHECK(shm::agent_max_conn(0, 7) == 7);
}

TEST_CASE("agent: what takes a server out is an order, a state or no weight, each by itself")
{
    const auto is_out = [](const AgentWord& word) { return shm::is_kept_out(shm::pack(word)); };
    CHECK_FALSE(is_out({}));
    CHECK_FALSE(is_out({ServerOrder::none, AgentState::up, 1, 0}));
    CHECK(is_out(ordered(ServerOrder::drain)));
    CHECK(is_out(ordered(ServerOrder::down)));
    CHECK(is_out(found(AgentState::down)));
    CHECK(is_out(found(AgentState::failed)));
    CHECK(is_out(found(AgentState::stopped)));
    CHECK(is_out(weighed(0)));
    CHECK_FALSE(is_out(limited(0)));
}

TEST_CASE("agent: an answer changes what it speaks of and nothing else, and no answer nothing")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    const auto now_says = [&] { return shm::unpack_agent(health->agent); };
    CHECK(shm::add_agent_answer(*health, {ServerOrder::drain, AgentState::down, 50, 9}, "why", 100));
    CHECK(health->agent_since_ns == 100);
    CHECK(shm::add_agent_answer(*health, weighed(75), "", 200));
    CHECK(now_says() == AgentWord{ServerOrder::drain, AgentState::down, 75, 9});
    CHECK(shm::read_note(health->agent_note) == "why"); // still why it is down
    CHECK_FALSE(shm::add_agent_answer(*health, weighed(75), "", 300));
    CHECK(health->agent_since_ns == 200);
    shm::add_agent_failure(*health, shm::CheckEnd::refused, "connect: Connection refused", 400);
    CHECK(now_says() == AgentWord{ServerOrder::drain, AgentState::down, 75, 9});
    CHECK((health->agent_recent & 0xffff) ==
          (static_cast<unsigned>(shm::CheckEnd::good) << 8 | static_cast<unsigned>(shm::CheckEnd::refused)));
    CHECK(health->agent_asked_ns == 400);
}

TEST_CASE("agent: ready lifts drain and not down, up the other way round, and then the server is back")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    shm::add_agent_answer(*health, {ServerOrder::drain, AgentState::down, {}, {}}, "disk full", 100);
    CHECK(shm::describe(shm::unpack_agent(health->agent), shm::read_note(health->agent_note)) == "drain, down: disk full");
    shm::add_agent_answer(*health, ordered(ServerOrder::none), "", 200);
    CHECK(shm::is_kept_out(health->agent));
    CHECK(health->back_ns == 0);
    shm::add_agent_answer(*health, found(AgentState::up), "", 300);
    CHECK_FALSE(shm::is_kept_out(health->agent));
    CHECK(health->back_ns == 300);
    CHECK(shm::describe(shm::unpack_agent(health->agent), shm::read_note(health->agent_note)).empty());
    shm::add_agent_answer(*health, weighed(50), "", 400);
    CHECK(health->back_ns == 300); // it was not away
}

TEST_CASE("agent: another question begins anew, the same one goes on")
{
    const auto health = std::make_unique<shm::ServerHealth>();
    shm::begin_agent(*health, 7);
    shm::add_agent_answer(*health, ordered(ServerOrder::down), "x", 100);
    health->next_agent_ns = 200;
    shm::begin_agent(*health, 7);
    CHECK(health->agent != 0);
    CHECK(health->next_agent_ns == 200);
    shm::begin_agent(*health, 8);
    CHECK(health->agent == 0);
    CHECK(health->next_agent_ns == 0);
    CHECK(health->agent_recent == 0);
    CHECK(shm::read_note(health->agent_note).empty());
}
