// SPDX-License-Identifier: Apache-2.0
//
// What the commands about servers have in common: reading a request of the control socket, and finding what it names.
#pragma once

#include "common/base/json.h"
#include "common/config/config.h"

#include <cstdint>
#include <string>

namespace ladle::master {

nlohmann::json refuse(std::string message);

/// A member of whatever was written there; empty, or the fallback, where it is missing, or something else.
std::string text_of(const nlohmann::json& from, const char* key);
std::uint64_t number_of(const nlohmann::json& from, const char* key, std::uint64_t fallback);

/// The upstream of that name, or null.
const config::Upstream* find_upstream(const config::Config& config, const std::string& name);
/// Its server of that text, or null.
const config::UpstreamServer* find_server(const config::Upstream& upstream, const std::string& text);
bool has_server(const config::Upstream& upstream, const std::string& text);
std::string list_servers(const config::Upstream& upstream);

} // namespace ladle::master
