// SPDX-License-Identifier: Apache-2.0
//
// What `ladle explain` asks a worker, through the master, and what comes back: the text of the messages explain and explained
// (messages.h), JSON both ways. The worker answers, and not the master, because it does so by taking the request through its own
// steps, with the router and the upstreams that real requests get: an answer from a second copy of that would be a guess. The
// master passes both on without reading them.
#pragma once

#include "common/ipc/messages.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ladle::ipc {

/// Texts and numbers by name, in order.
using Facts = std::vector<std::pair<std::string, std::string>>;

struct Question {
    std::string method;
    std::string url;
    std::string client; ///< address; empty = 127.0.0.1
    Facts fields;
};

/// One server of the upstream.
struct ExplainedServer {
    std::string address;
    std::uint32_t weight = 1; ///< as configured or ordered
    bool is_chosen = false;   ///< a request would go there now
    std::uint32_t share = 100; ///< percent of the weight that counts, as its agent and its responses say
    std::uint32_t limit = 0;   ///< requests that it may have at once, as it finds itself (adaptive); 0 = it does not
    std::string agent;        ///< what its agent says, as far as that matters; empty = nothing
};

struct Explanation {
    std::string error; ///< the question has no answer; empty = all of this is said
    std::uint32_t status = 0; ///< an answer that Ladle gives by itself; 0 = a server is asked
    std::string reason;       ///< of that
    std::string site;
    std::string site_at; ///< "/etc/ladle/ladle.toml:12"
    std::string route;
    std::string route_at;
    std::string path;      ///< that routes were matched with
    std::string sent;      ///< path and query that the server gets
    std::string location;  ///< of a redirect
    std::string upstream;
    std::string breaker; ///< its state; empty = it has none
    std::vector<ExplainedServer> servers;
    std::string mirror;      ///< the upstream that is sent copies; empty = none is
    std::uint32_t mirror_share = 0; ///< percent of the requests
    std::string cache_key; ///< empty = not cached
    std::uint64_t body_bytes = 0;
    Facts limits;           ///< timeouts and buffers
    Facts request_headers;  ///< set; a value "" = removed
    Facts response_headers;
};

std::string to_text(const Question& question);
/// The error says what is wrong with a text that is no question.
std::expected<Question, std::string> read_question(std::string_view text);
std::string to_text(const Explanation& explanation);

} // namespace ladle::ipc
