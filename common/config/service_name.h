// SPDX-License-Identifier: Apache-2.0
//
// Servers that are services: a name whose SRV records (RFC 2782) say on which hosts and ports they are. All processes.
#pragma once

#include "common/config/config.h"

#include <string>
#include <string_view>

namespace ladle::config {

/// Whether SRV records say where the server is.
bool is_service(const UpstreamServer& server) noexcept;

/// "_http._tcp.app.internal": nothing but SRV records bears such a name.
bool is_service_name(std::string_view name) noexcept;

/// "app.internal" of "_http._tcp.app.internal": without the labels in front that begin with '_'. Empty where there are no others.
std::string_view service_domain(std::string_view name) noexcept;

/// The name of the server itself, which TLS asks for and verifies: host_name, of a service its domain. Empty where it has none.
std::string domain_of(const UpstreamServer& server);

} // namespace ladle::config
