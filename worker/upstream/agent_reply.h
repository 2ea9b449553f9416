// SPDX-License-Identifier: Apache-2.0
//
// What the agent of a server answers: one line in the format of HAProxy's `agent-check`. Words, in any order and either case,
// between blanks, tabs or commas; what follows a "#" is a description.
//
//   75%                     the weight, as a part of the configured one; 0% = no new clients while others can take them
//   maxconn:30              the most requests in flight, all workers together; 0 = no limit
//   ready · drain · maint   what the operator's orders say: resume, drain, down
//   up · down failed stopped   whether it works ("fail" is taken for "failed")
//
// Of words for the same thing the last one counts. A line with one word that is none of these is not understood at all, where
// HAProxy takes the rest: an error message that happens to contain "down" or "ready" must not take a server out, or bring it back.
// A pure function of the text.
#pragma once

#include "common/shm/server_agent.h"

#include <expected>
#include <string>
#include <string_view>

namespace ladle::worker {

inline constexpr std::size_t kMostAgentLine = 512; ///< bytes, the end of the line included

struct AgentReply {
    shm::AgentWord word;     ///< says one thing at least
    std::string description; ///< printable ASCII; empty = none
};

/// Of the text up to its first CR or LF. The error says for people what is wrong.
std::expected<AgentReply, std::string> parse_agent_reply(std::string_view text);

} // namespace ladle::worker
