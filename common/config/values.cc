// SPDX-License-Identifier: Apache-2.0
#include "common/config/values.h"

#include "common/config/names.h"
#include "common/config/service_name.h"
#include "common/http/grammar.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <span>

namespace ladle::config {

namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

// Largest first, as format_… needs it; what it may propose comes before what is only understood.
constexpr std::array<Unit, 5> kDurationUnits{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr std::array<Unit, 7> kSizeUnits{{{"GiB", 1ull << 30},
                                          {"MiB", 1ull << 20},
                                          {"KiB", 1ull << 10},
                                          {"B", 1},
                                          {"GB", 1'000'000'000},
                                          {"MB", 1'000'000},
                                          {"KB", 1'000}}};

/// What people write for a unit, and what they mean.
struct Spelling {
    std::string_view written;
    std::string_view meant;
};
constexpr std::array<Spelling, 18> kDurationSpellings{{{"sec", "s"},
                                                       {"secs", "s"},
                                                       {"second", "s"},
                                                       {"seconds", "s"},
                                                       {"min", "m"},
                                                       {"mins", "m"},
                                                       {"minute", "m"},
                                                       {"minutes", "m"},
                                                       {"hour", "h"},
                                                       {"hours", "h"},
                                                       {"hr", "h"},
                                                       {"day", "d"},
                                                       {"days", "d"},
                                                       {"msec", "ms"},
                                                       {"millis", "ms"},
                                                       {"milliseconds", "ms"},
                                                       {"", "s"},
                                                       {"hrs", "h"}}};
constexpr std::array<Spelling, 11> kSizeSpellings{{{"k", "KiB"},
                                                   {"m", "MiB"},
                                                   {"g", "GiB"},
                                                   {"kb", "KB"},
                                                   {"mb", "MB"},
                                                   {"gb", "GB"},
                                                   {"kib", "KiB"},
                                                   {"mib", "MiB"},
                                                   {"gib", "GiB"},
                                                   {"b", "B"},
                                                   {"", "B"}}};

struct UnitKind {
    std::string_view what;    ///< "a duration"
    std::string_view example; ///< "10s"
    std::span<const Unit> units;
    std::span<const Spelling> spellings;
};

Parsed<std::uint64_t> parse_with_unit(std::string_view text, const UnitKind& kind)
{
    const auto complaint = [&](std::string hint) {
        return std::unexpected(Complaint{
            fmt::format("expected {} such as \"{}\", got the string \"{}\"", kind.what, kind.example, text), std::move(hint)});
    };
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [after, status] = std::from_chars(text.data(), end, value);
    if (status == std::errc::result_out_of_range) {
        return complaint("this is too large");
    }
    if (status != std::errc()) {
        return complaint({});
    }
    std::string_view unit(after, static_cast<std::size_t>(end - after));
    for (const Unit& known : kind.units) {
        if (unit == known.name) {
            if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / known.factor) {
                return complaint("this is too large");
            }
            return value * known.factor;
        }
    }
    while (!unit.empty() && unit.front() == ' ') {
        unit.remove_prefix(1);
    }
    const std::string folded = http::lowered(unit);
    for (const Unit& known : kind.units) {
        if (unit == known.name) {
            return complaint(fmt::format("write \"{}{}\"", value, known.name));
        }
    }
    for (const Spelling& spelling : kind.spellings) {
        if (folded == spelling.written) {
            return complaint(fmt::format("write \"{}{}\"", value, spelling.meant));
        }
    }
    if (!unit.empty() && unit.front() == '.') {
        return complaint("write a whole number of a smaller unit");
    }
    std::string names;
    for (const Unit& known : kind.units) {
        names += names.empty() ? "" : ", ";
        names += known.name;
    }
    return complaint("the units are " + names);
}

std::string format_with_unit(std::uint64_t value, std::span<const Unit> units)
{
    for (const Unit& unit : units) {
        if (value != 0 && value % unit.factor == 0) {
            return fmt::format("{}{}", value / unit.factor, unit.name);
        }
    }
    return "0" + std::string(units.size() == kDurationUnits.size() ? "s" : "B");
}

/// "HOST:PORT" taken apart; IPv6 in brackets. `port` is empty where there is none.
struct HostPort {
    std::string host;
    bool is_ipv6 = false;
    std::string port;
};

Parsed<HostPort> split_host_port(std::string_view text)
{
    HostPort out;
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos) {
            return std::unexpected(Complaint{fmt::format("expected an address, got \"{}\"", text), "the \"]\" is missing"});
        }
        out.host = std::string(text.substr(1, close - 1));
        out.is_ipv6 = true;
        text.remove_prefix(close + 1);
        if (!text.empty() && text.front() != ':') {
            return std::unexpected(Complaint{fmt::format("unexpected \"{}\" after the address", text), {}});
        }
    } else {
        if (std::count(text.begin(), text.end(), ':') > 1) {
            return std::unexpected(Complaint{fmt::format("expected an address, got \"{}\"", text),
                                             "an IPv6 address stands in brackets, as in \"[::1]:8080\""});
        }
        const std::size_t colon = std::min(text.find(':'), text.size());
        out.host = std::string(text.substr(0, colon));
        text.remove_prefix(colon);
    }
    if (!text.empty()) {
        out.port = std::string(text.substr(1));
        if (out.port.empty()) {
            return std::unexpected(Complaint{"there is no port after the \":\"", {}});
        }
    }
    return out;
}

Parsed<std::uint16_t> parse_port(std::string_view text)
{
    unsigned value = 0;
    const auto [after, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || after != text.data() + text.size() || value == 0 || value > 65535) {
        return std::unexpected(Complaint{fmt::format("a port is a number from 1 to 65535, got \"{}\"", text), {}});
    }
    return static_cast<std::uint16_t>(value);
}

/// The socket address of a Unix path and its canonical text "unix:/path".
struct SocketAddress {
    std::string text;
    sockaddr_storage address{};
    socklen_t length = 0;
};

Parsed<SocketAddress> unix_address(std::string_view path)
{
    SocketAddress out;
    auto* un = reinterpret_cast<sockaddr_un*>(&out.address);
    if (path.empty() || path.front() != '/') {
        return std::unexpected(Complaint{"expected the absolute path of a socket after \"unix:\"",
                                         path.empty() ? std::string() : fmt::format("write \"unix:/{}\"", path)});
    }
    if (path.size() >= sizeof(un->sun_path) || path.find('\0') != std::string_view::npos) {
        return std::unexpected(Complaint{fmt::format("the path of a socket has at most {} bytes", sizeof(un->sun_path) - 1), {}});
    }
    un->sun_family = AF_UNIX;
    std::memcpy(un->sun_path, path.data(), path.size());
    out.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    out.text = "unix:" + std::string(path);
    return out;
}

/// The socket address of a literal IP address; nullopt-like failure (empty message) where `host` is none.
Parsed<SocketAddress> literal_address(const HostPort& from, std::uint16_t port)
{
    SocketAddress out;
    std::array<char, INET6_ADDRSTRLEN> text{};
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.address);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.address);
    if (!from.is_ipv6 && inet_pton(AF_INET, from.host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out.length = sizeof(sockaddr_in);
        inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
        out.text = fmt::format("{}:{}", text.data(), port);
        return out;
    }
    if (from.is_ipv6 && inet_pton(AF_INET6, from.host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        out.length = sizeof(sockaddr_in6);
        inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
        out.text = fmt::format("[{}]:{}", text.data(), port);
        return out;
    }
    return std::unexpected(Complaint{});
}

/// 0.0.0.0 or ::, at whatever port.
bool is_any_address(const SocketAddress& address)
{
    if (address.address.ss_family == AF_INET) {
        return reinterpret_cast<const sockaddr_in&>(address.address).sin_addr.s_addr == htonl(INADDR_ANY);
    }
    return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(address.address).sin6_addr) != 0;
}

/// An IPv6 address without brackets whose last group is probably meant as a port: "::1:53" is also "::1" and port 53.
std::optional<Complaint> ambiguous_port(std::string_view text)
{
    const std::size_t colon = text.rfind(':');
    const HostPort shorter{std::string(text.substr(0, colon)), true, {}};
    const Parsed<std::uint16_t> port = parse_port(text.substr(colon + 1));
    if (!port || !literal_address(shorter, *port)) {
        return std::nullopt;
    }
    const bool is_address = literal_address(HostPort{std::string(text), true, {}}, *port).has_value();
    return Complaint{
        is_address ? fmt::format("\"{}\" can be read as an address alone, or as \"{}\" and port {}", text, shorter.host, *port)
                   : fmt::format("an IPv6 address with a port stands in brackets, got \"{}\"", text),
        fmt::format("write \"[{}]:{}\"", shorter.host, *port) + (is_address ? fmt::format(" or \"[{}]\"", text) : "")};
}

bool is_https(std::string_view text)
{
    return http::lowered(text.substr(0, 8)) == "https://";
}

/// Takes "http://" or "https://" off; refuses other schemes, and anything behind the address.
Parsed<std::string_view> without_scheme(std::string_view text, std::string_view whose)
{
    const std::size_t scheme_end = text.find("://");
    if (scheme_end == std::string_view::npos) {
        return text;
    }
    const std::string scheme = http::lowered(text.substr(0, scheme_end));
    std::string_view rest = text.substr(scheme_end + 3);
    if (scheme != "http" && scheme != "https") {
        return std::unexpected(Complaint{fmt::format("unknown scheme \"{}://\"", text.substr(0, scheme_end)),
                                         fmt::format("write \"http://{}{}\"", scheme == "srv" ? "srv:" : "", rest)});
    }
    if (rest.starts_with("unix:")) {
        return rest;
    }
    if (rest.ends_with('/')) {
        rest.remove_suffix(1);
    }
    if (const std::size_t slash = rest.find_first_of("/?#"); slash != std::string_view::npos) {
        return std::unexpected(Complaint{fmt::format("the address {} has no path, got \"{}\"", whose, rest.substr(slash)),
                                         fmt::format("write \"{}://{}\"", scheme, rest.substr(0, slash))});
    }
    if (const std::size_t at = rest.find('@'); at != std::string_view::npos) {
        return std::unexpected(Complaint{fmt::format("the address {} has no user name", whose),
                                         fmt::format("write \"{}://{}\"", scheme, rest.substr(at + 1))});
    }
    return rest;
}

/// "srv:80" is port 80 of a host that is called so.
bool names_service(std::string_view text)
{
    constexpr std::string_view kPrefix = "srv:";
    return text.starts_with(kPrefix) && text.find_first_not_of("0123456789", kPrefix.size()) != std::string_view::npos;
}

/// A server of which SRV records say where it is. `name` has no need of "_http._tcp.": registries such as Consul's have others too.
Parsed<UpstreamServer> service_server(UpstreamServer server, std::string_view name)
{
    if (const std::size_t colon = name.find(':'); colon != std::string_view::npos) {
        return std::unexpected(Complaint{fmt::format("SRV records bring the port, got \"{}\" as well", name.substr(colon)),
                                         fmt::format("write \"srv:{}\"", name.substr(0, colon))});
    }
    server.host_name = normalise_host(name);
    if (looks_like_ipv4(server.host_name)) {
        return std::unexpected(Complaint{fmt::format("an address has no SRV records, got \"{}\"", name),
                                         fmt::format("write \"{}:80\"", name)});
    }
    const bool has_domain = server.host_name.find('.') != std::string::npos && !service_domain(server.host_name).empty();
    if (!is_host_name(server.host_name) || !has_domain) {
        return std::unexpected(Complaint{fmt::format("expected the name of SRV records after \"srv:\", got \"{}\"", name),
                                         "as in \"srv:_http._tcp.app.internal\""});
    }
    server.text = "srv:" + server.host_name;
    return server;
}

} // namespace

Parsed<std::uint64_t> parse_duration(std::string_view text)
{
    return parse_with_unit(text, {"a duration", "10s", kDurationUnits, kDurationSpellings});
}

Parsed<std::uint64_t> parse_size(std::string_view text)
{
    return parse_with_unit(text, {"a size", "64MiB", kSizeUnits, kSizeSpellings});
}

Parsed<std::uint64_t> parse_percent(std::string_view text)
{
    std::uint64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [after, status] = std::from_chars(text.data(), end, value);
    const bool is_number = status == std::errc() && value <= 100;
    if (is_number && std::string_view(after, static_cast<std::size_t>(end - after)) == "%") {
        return value;
    }
    return std::unexpected(Complaint{fmt::format("expected a share such as \"10%\", from 0% to 100%, got the string \"{}\"", text),
                                     is_number && after == end ? fmt::format("write \"{}%\"", value) : std::string()});
}

std::string format_duration(std::uint64_t milliseconds)
{
    return format_with_unit(milliseconds, kDurationUnits);
}

std::string format_size(std::uint64_t bytes)
{
    return format_with_unit(bytes, std::span(kSizeUnits).first(4));
}

Parsed<Cidr> parse_cidr(std::string_view text)
{
    const auto complaint = [&](std::string hint) {
        return std::unexpected(
            Complaint{fmt::format("expected an address range such as \"10.0.0.0/8\", got \"{}\"", text), std::move(hint)});
    };
    const std::size_t slash = std::min(text.find('/'), text.size());
    const std::string host(text.substr(0, slash));
    Cidr out;
    unsigned bits_of_family = 128;
    if (in_addr v4{}; inet_pton(AF_INET, host.c_str(), &v4) == 1) {
        out.address[10] = out.address[11] = 0xFF;
        std::memcpy(&out.address[12], &v4, 4);
        bits_of_family = 32;
    } else if (inet_pton(AF_INET6, host.c_str(), out.address.data()) != 1) {
        return complaint({});
    }
    unsigned bits = bits_of_family;
    if (slash < text.size()) {
        const std::string_view digits = text.substr(slash + 1);
        const auto [after, status] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
        if (status != std::errc() || after != digits.data() + digits.size() || bits > bits_of_family) {
            return complaint(fmt::format("the prefix is a number from 0 to {}", bits_of_family));
        }
    }
    out.prefix_bits = bits + (128 - bits_of_family);
    std::array<std::uint8_t, 16> masked = out.address;
    for (unsigned bit = out.prefix_bits; bit < 128; ++bit) {
        masked[bit / 8] = static_cast<std::uint8_t>(masked[bit / 8] & ~(0x80u >> (bit % 8)));
    }
    if (masked != out.address) {
        std::array<char, INET6_ADDRSTRLEN> shown{};
        const bool v4 = bits_of_family == 32;
        inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &masked[12] : masked.data(), shown.data(), shown.size());
        return complaint(fmt::format("bits behind the prefix are set: write \"{}/{}\"", shown.data(), bits));
    }
    return out;
}

Parsed<BindAddress> parse_bind(std::string_view text)
{
    const Parsed<std::string_view> bare = without_scheme(text, "to listen on");
    if (!bare) {
        return std::unexpected(bare.error());
    }
    Parsed<SocketAddress> socket_address;
    if (bare->starts_with("unix:")) {
        socket_address = unix_address(bare->substr(5));
    } else {
        const Parsed<HostPort> parts = split_host_port(*bare);
        if (!parts) {
            return std::unexpected(parts.error());
        }
        if (parts->port.empty()) {
            const bool is_port = parse_port(parts->host).has_value();
            const std::string_view scheme = text.substr(0, static_cast<std::size_t>(bare->data() - text.data()));
            return std::unexpected(Complaint{fmt::format("expected an address and a port such as \"0.0.0.0:80\", got \"{}\"", text),
                                             is_port ? fmt::format("write \"{}0.0.0.0:{}\"", scheme, parts->host)
                                             : parts->host.empty() ? std::string()
                                                                   : fmt::format("write \"{}:80\"", text)});
        }
        const Parsed<std::uint16_t> port = parse_port(parts->port);
        if (!port) {
            return std::unexpected(port.error());
        }
        socket_address = literal_address(*parts, *port);
        if (!socket_address) {
            const bool any = parts->host.empty() || parts->host == "*";
            return std::unexpected(
                Complaint{fmt::format("expected an IP address to listen on, got \"{}\"", parts->host),
                          any ? fmt::format("for every address write \"0.0.0.0:{0}\" and \"[::]:{0}\"", *port)
                              : (parts->host == "localhost" ? fmt::format("write \"127.0.0.1:{0}\" or \"[::1]:{0}\"", *port)
                                                            : std::string())});
        }
    }
    if (!socket_address) {
        return std::unexpected(socket_address.error());
    }
    return BindAddress{socket_address->text, socket_address->address, socket_address->length,
                       is_https(text)};
}

Parsed<std::string> parse_resolver(std::string_view text)
{
    if (const std::size_t scheme = text.find("://"); scheme != std::string_view::npos) {
        const std::string_view rest = text.substr(scheme + 3);
        return std::unexpected(
            Complaint{fmt::format("DNS servers are asked over UDP and TCP: an address has no scheme, got \"{}\"", text),
                      parse_resolver(rest) ? fmt::format("write \"{}\"", rest) : std::string()});
    }
    const bool is_bare_ipv6 = !text.starts_with('[') && std::count(text.begin(), text.end(), ':') > 1;
    if (is_bare_ipv6) {
        if (auto ambiguity = ambiguous_port(text)) {
            return std::unexpected(std::move(*ambiguity));
        }
    }
    const Parsed<HostPort> parts = is_bare_ipv6 ? HostPort{std::string(text), true, {}} : split_host_port(text);
    if (!parts) {
        return std::unexpected(parts.error());
    }
    const Parsed<std::uint16_t> port = parts->port.empty() ? 53 : parse_port(parts->port);
    if (!port) {
        return std::unexpected(port.error());
    }
    const Parsed<SocketAddress> address = literal_address(*parts, *port);
    if (!address) {
        return std::unexpected(Complaint{
            fmt::format("expected the IP address of a DNS server such as \"192.0.2.1\" or \"[2001:db8::1]:53\", got \"{}\"", text),
            {}});
    }
    if (is_any_address(*address)) {
        const char* own = !parts->is_ipv6 ? "127.0.0.1" : is_bare_ipv6 ? "::1" : "[::1]";
        return std::unexpected(
            Complaint{fmt::format("\"{}\" means any address: nobody can be asked there", text),
                      fmt::format("write \"{}{}{}\" for this machine", own, parts->port.empty() ? "" : ":", parts->port)});
    }
    return address->text;
}

Parsed<UpstreamServer> parse_server(std::string_view text)
{
    const Parsed<std::string_view> bare = without_scheme(text, "of a server");
    if (!bare) {
        return std::unexpected(bare.error());
    }
    UpstreamServer server;
    server.is_https = is_https(text);
    if (bare->starts_with("unix:")) {
        const Parsed<SocketAddress> address = unix_address(bare->substr(5));
        if (!address) {
            return std::unexpected(address.error());
        }
        server.text = address->text;
        server.address = address->address;
        server.address_length = address->length;
        return server;
    }
    if (names_service(*bare)) {
        return service_server(std::move(server), bare->substr(4));
    }
    const Parsed<HostPort> parts = split_host_port(*bare);
    if (!parts) {
        return std::unexpected(parts.error());
    }
    if (is_service_name(http::lowered(parts->host))) {
        return std::unexpected(Complaint{fmt::format("\"{}\" has SRV records, not addresses", parts->host),
                                         fmt::format("write \"srv:{}\"", parts->host)});
    }
    server.port = server.is_https ? 443 : 80;
    if (!parts->port.empty()) {
        const Parsed<std::uint16_t> port = parse_port(parts->port);
        if (!port) {
            return std::unexpected(port.error());
        }
        server.port = *port;
    } else if (text.find("://") == std::string_view::npos) {
        return std::unexpected(Complaint{fmt::format("expected a server such as \"10.0.0.1:8080\", got \"{}\"", text),
                                         parts->host.empty() ? std::string() : fmt::format("write \"{}:80\"", text)});
    }
    if (const Parsed<SocketAddress> literal = literal_address(*parts, server.port)) {
        server.text = literal->text;
        server.address = literal->address;
        server.address_length = literal->length;
        return server;
    }
    server.host_name = normalise_host(parts->host);
    if (parts->is_ipv6 || !is_host_name(server.host_name) || looks_like_ipv4(server.host_name)) {
        return std::unexpected(Complaint{fmt::format("expected an IP address or a host name, got \"{}\"", parts->host), {}});
    }
    server.text = fmt::format("{}:{}", server.host_name, server.port);
    return server;
}

} // namespace ladle::config
