// SPDX-License-Identifier: Apache-2.0
#include "master/order_words.h"

#include <algorithm>

namespace ladle::master {

using nlohmann::json;

json refuse(std::string message)
{
    return {{"ok", false}, {"message", std::move(message)}};
}

std::string text_of(const json& from, const char* key)
{
    return from.contains(key) && from[key].is_string() ? from[key].get<std::string>() : std::string();
}

std::uint64_t number_of(const json& from, const char* key, std::uint64_t fallback)
{
    return from.contains(key) && from[key].is_number_unsigned() ? from[key].get<std::uint64_t>() : fallback;
}

const config::Upstream* find_upstream(const config::Config& config, const std::string& name)
{
    const auto at =
        std::find_if(config.upstreams.begin(), config.upstreams.end(), [&](const auto& one) { return one.name == name; });
    return at == config.upstreams.end() ? nullptr : &*at;
}

const config::UpstreamServer* find_server(const config::Upstream& upstream, const std::string& text)
{
    const auto at = std::ranges::find(upstream.servers, text, &config::UpstreamServer::text);
    return at == upstream.servers.end() ? nullptr : &*at;
}

bool has_server(const config::Upstream& upstream, const std::string& text)
{
    return find_server(upstream, text) != nullptr;
}

std::string list_servers(const config::Upstream& upstream)
{
    std::string out;
    for (const config::UpstreamServer& server : upstream.servers) {
        out += (out.empty() ? "" : ", ") + server.text;
    }
    return out;
}

} // namespace ladle::master
