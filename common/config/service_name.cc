// SPDX-License-Identifier: Apache-2.0
#include "common/config/service_name.h"

#include <algorithm>

namespace ladle::config {

bool is_service(const UpstreamServer& server) noexcept
{
    return !server.host_name.empty() && server.port == 0;
}

bool is_service_name(std::string_view name) noexcept
{
    const std::string_view rest = name.substr(std::min(name.find('.'), name.size()));
    return name.starts_with('_') && (rest.starts_with("._tcp.") || rest.starts_with("._udp."));
}

std::string_view service_domain(std::string_view name) noexcept
{
    while (name.starts_with('_')) {
        name.remove_prefix(std::min(name.find('.'), name.size() - 1) + 1);
    }
    return name;
}

std::string domain_of(const UpstreamServer& server)
{
    return is_service(server) ? std::string(service_domain(server.host_name)) : server.host_name;
}

} // namespace ladle::config
