// SPDX-License-Identifier: Apache-2.0
// What servers say of themselves, in load reports and as agents: what is taken is a figure that counts, and stays as it was said.
#include "tests/fuzz/require.h"
#include "worker/upstream/agent_reply.h"
#include "worker/upstream/orca.h"

#include <algorithm>
#include <cmath>

using namespace ladle;

namespace {

void check_load(const std::optional<shm::LoadWord>& load)
{
    if (!load) {
        return;
    }
    for (const double figure : {load->utilization, load->rps, load->eps}) {
        REQUIRE(std::isfinite(figure) && figure >= 0);
    }
    for (const std::uint32_t penalty : {0u, 100u, 1000u}) {
        const auto capacity = shm::capacity_of(*load, penalty);
        REQUIRE(!capacity || (std::isfinite(*capacity) && *capacity > 0));
    }
}

void check_agent(std::string_view text)
{
    const auto reply = worker::parse_agent_reply(text);
    if (!reply) {
        REQUIRE(!reply.error().empty());
        return;
    }
    const shm::AgentWord& word = reply->word;
    REQUIRE(word.order || word.state || word.percent || word.max_conn);
    REQUIRE(word.percent.value_or(0) <= shm::kMostAgentPercent);
    REQUIRE(word.max_conn.value_or(0) <= shm::kMostAgentConnections);
    REQUIRE(shm::unpack_agent(shm::pack(word)) == word);
    REQUIRE(shm::agent_percent(shm::pack(word)) == word.percent.value_or(100));
    REQUIRE(shm::agent_max_conn(shm::pack(word), 7) == word.max_conn.value_or(7));
    REQUIRE(std::ranges::all_of(reply->description, [](char c) { return c >= ' ' && c <= '~'; }));
    REQUIRE(is_one_line(shm::describe(word, reply->description)));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size)
{
    const std::string_view input = text_of(bytes, size);
    check_load(worker::parse_load_report(input));
    check_load(worker::parse_binary_load_report(input));
    check_agent(input);
    return 0;
}
