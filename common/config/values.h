// SPDX-License-Identifier: Apache-2.0
//
// The typed strings of the configuration: durations, sizes, address ranges, addresses to listen on, servers. Pure functions of
// text: no files, no DNS. A failure is a Complaint that says what was expected and, where it can, what to write instead.
#pragma once

#include "common/config/config.h"

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace ladle::config {

/// Why a text is not the value it should be; `hint` proposes what to write and may be empty.
struct Complaint {
    std::string message;
    std::string hint;
};

template <typename T>
using Parsed = std::expected<T, Complaint>;

/// "1500ms", "10s", "5m", "2h", "1d" in milliseconds.
Parsed<std::uint64_t> parse_duration(std::string_view text);
/// "512B", "8KiB", "64MB", "1GiB" in bytes.
Parsed<std::uint64_t> parse_size(std::string_view text);
/// "95%" in percent, 0 to 100.
Parsed<std::uint64_t> parse_percent(std::string_view text);
/// "10s" for 10000: the largest unit without a remainder.
std::string format_duration(std::uint64_t milliseconds);
/// "64MiB" for 67108864: the largest unit without a remainder.
std::string format_size(std::uint64_t bytes);

/// "10.0.0.0/8", "::1", "192.168.1.7". Bits behind the prefix must be zero.
Parsed<Cidr> parse_cidr(std::string_view text);

/// "0.0.0.0:80", "[::]:80", "unix:/run/ladle/web.sock", each with or without "http://" or "https://" in front.
Parsed<BindAddress> parse_bind(std::string_view text);

/// A DNS server: "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353". Gives it with the port, 53 where there is
/// none, and an IPv6 address in brackets. Refuses what can be read both as an address and as an address with a port.
Parsed<std::string> parse_resolver(std::string_view text);

/// "10.0.0.1:8080", "[::1]:80", "app.internal:80", "srv:_http._tcp.app.internal", "unix:/run/app.sock", also with "http://" or
/// "https://" in front; the port may only be left out behind those (80, 443), and with "srv:". The rest keeps its defaults.
Parsed<UpstreamServer> parse_server(std::string_view text);

} // namespace ladle::config
