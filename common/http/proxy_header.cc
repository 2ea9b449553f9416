// SPDX-License-Identifier: Apache-2.0
#include "common/http/proxy_header.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

namespace ladle::http {

namespace {

using Family = Endpoint::Family;

constexpr std::string_view kLineBegin = "PROXY ";
constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kFixed = 16; // of version 2: signature, version and command, family, length
constexpr std::size_t kV4Bytes = 12;
constexpr std::size_t kV6Bytes = 36;
constexpr std::size_t kUnixBytes = 216;

// Version 2, in the high and low half of its bytes.
constexpr unsigned kVersion2 = 2;
constexpr unsigned kCommandLocal = 0;
constexpr unsigned kCommandProxy = 1;
constexpr unsigned kFamilyUnspecified = 0;
constexpr unsigned kFamilyV4 = 1;
constexpr unsigned kFamilyV6 = 2;
constexpr unsigned kFamilyUnix = 3;
constexpr unsigned kTransportStream = 1;
constexpr unsigned kTransportDatagram = 2;
constexpr unsigned kTypeChecksum = 0x03;
constexpr std::size_t kChecksumBytes = 4;

Progress refuse(ProxyHeader& header, std::string_view problem) noexcept
{
    header = {};
    header.problem = problem;
    return Progress::refused;
}

/// RFC 3720 §12.1; the same as iSCSI's.
std::uint32_t extend_crc32c(std::uint32_t sum, std::string_view bytes) noexcept
{
    static constexpr auto kTable = [] {
        std::array<std::uint32_t, 256> table{};
        for (std::uint32_t at = 0; at < table.size(); ++at) {
            std::uint32_t value = at;
            for (int bit = 0; bit < 8; ++bit) {
                value = (value >> 1) ^ ((value & 1u) != 0 ? 0x82F63B78u : 0u);
            }
            table[at] = value;
        }
        return table;
    }();
    for (const char c : bytes) {
        sum = kTable[(sum ^ static_cast<unsigned char>(c)) & 0xffu] ^ (sum >> 8);
    }
    return sum;
}

unsigned byte_at(std::string_view bytes, std::size_t at) noexcept
{
    return static_cast<unsigned char>(bytes[at]);
}

std::uint16_t two_bytes(std::string_view bytes, std::size_t at) noexcept
{
    return static_cast<std::uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}

/// The next word; exactly one blank is between two.
std::string_view take_word(std::string_view& rest) noexcept
{
    const std::size_t end = rest.find(' ');
    const std::string_view word = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    return word;
}

bool parse_address(std::string_view text, Family family, Endpoint& out) noexcept
{
    char plain[INET6_ADDRSTRLEN];
    if (text.empty() || text.size() >= sizeof plain) {
        return false;
    }
    std::memcpy(plain, text.data(), text.size());
    plain[text.size()] = '\0';
    out.family = family;
    return ::inet_pton(family == Family::ipv4 ? AF_INET : AF_INET6, plain, out.address.data()) == 1;
}

/// 0 to 65535 in decimal, without zeros in front.
bool parse_port(std::string_view text, Endpoint& out) noexcept
{
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), out.port);
    return status == std::errc() && end == text.data() + text.size() && (text.size() == 1 || text.front() != '0');
}

/// Section 2.1. `received` begins with "PROXY ".
Progress parse_text_line(std::string_view received, ProxyHeader& header) noexcept
{
    received = received.substr(0, kMostProxyLine);
    const auto odd = std::find_if(received.begin(), received.end(), [](char c) { return c < ' ' || c > '~'; });
    const auto length = static_cast<std::size_t>(odd - received.begin());
    if (odd == received.end() || (*odd == '\r' && length + 1 == received.size())) {
        return received.size() < kMostProxyLine ? Progress::incomplete : refuse(header, "its line is too long");
    }
    if (received.substr(length, 2) != "\r\n") {
        return refuse(header, "a byte that may not be in its line");
    }
    std::string_view rest = received.substr(kLineBegin.size(), length - kLineBegin.size());
    header.size = length + 2;
    const std::string_view protocol = take_word(rest);
    if (protocol == "UNKNOWN") {
        return Progress::complete; // whatever follows says nothing
    }
    if (protocol != "TCP4" && protocol != "TCP6") {
        return refuse(header, "neither TCP4, TCP6 nor UNKNOWN");
    }
    const Family family = protocol == "TCP4" ? Family::ipv4 : Family::ipv6;
    const bool has_ends =
        parse_address(take_word(rest), family, header.source) && parse_address(take_word(rest), family, header.destination);
    const std::string_view source_port = take_word(rest);
    // The last word is the rest: a further blank, and what is behind it, is no part of a number.
    if (!has_ends || !parse_port(source_port, header.source) || !parse_port(rest, header.destination)) {
        return refuse(header, "an address or a port in its line is malformed");
    }
    return Progress::complete;
}

Endpoint read_end(std::string_view addresses, Family family, std::size_t address_at, std::size_t port_at) noexcept
{
    Endpoint end;
    end.family = family;
    std::memcpy(end.address.data(), addresses.data() + address_at, family == Family::ipv4 ? 4 : 16);
    end.port = two_bytes(addresses, port_at);
    return end;
}

/// Section 2.2.3: with its own bytes taken as zero, the sum of the whole header.
bool has_right_sum(std::string_view whole, std::size_t at) noexcept
{
    std::uint32_t sum = extend_crc32c(~0u, whole.substr(0, at));
    sum = extend_crc32c(sum, std::string_view("\0\0\0\0", kChecksumBytes));
    sum = ~extend_crc32c(sum, whole.substr(at + kChecksumBytes));
    return sum == (static_cast<std::uint32_t>(two_bytes(whole, at)) << 16 | two_bytes(whole, at + 2));
}

/// The further fields, from `at` to the end. Empty = good.
std::string_view look_at_fields(std::string_view whole, std::size_t at) noexcept
{
    constexpr std::size_t kPrefix = 3; // type and length
    while (at < whole.size()) {
        const std::size_t left = whole.size() - at;
        const std::size_t length = left < kPrefix ? 0 : two_bytes(whole, at + 1);
        if (left < kPrefix || length > left - kPrefix) {
            return "a field that is longer than it";
        }
        if (byte_at(whole, at) == kTypeChecksum && (length != kChecksumBytes || !has_right_sum(whole, at + kPrefix))) {
            return "its checksum is wrong";
        }
        at += kPrefix + length;
    }
    return {};
}

/// Section 2.2. `received` begins with the signature.
Progress parse_binary(std::string_view received, ProxyHeader& header) noexcept
{
    if (received.size() < kFixed) {
        return Progress::incomplete;
    }
    const unsigned version = byte_at(received, 12) >> 4;
    const unsigned command = byte_at(received, 12) & 15u;
    const unsigned family = byte_at(received, 13) >> 4;
    const unsigned transport = byte_at(received, 13) & 15u;
    const std::size_t size = kFixed + two_bytes(received, 14);
    if (version != kVersion2 || command > kCommandProxy) {
        return refuse(header, "an unknown version or command");
    }
    if (family > kFamilyUnix || transport > kTransportDatagram) {
        return refuse(header, "an unknown family of addresses");
    }
    if (size > kMostProxyHeader) {
        return refuse(header, "it is too long");
    }
    if (received.size() < size) {
        return Progress::incomplete;
    }
    header.size = size;
    if (command == kCommandLocal || family == kFamilyUnspecified) {
        return Progress::complete; // what it carries is to be passed over
    }
    const std::string_view whole = received.substr(0, size);
    const std::size_t address_bytes = family == kFamilyV4 ? kV4Bytes : family == kFamilyV6 ? kV6Bytes : kUnixBytes;
    if (size < kFixed + address_bytes) {
        return refuse(header, "no room for its addresses");
    }
    if (const std::string_view problem = look_at_fields(whole, kFixed + address_bytes); !problem.empty()) {
        return refuse(header, problem);
    }
    const std::string_view addresses = whole.substr(kFixed, address_bytes);
    if (transport == kTransportStream && family == kFamilyV4) {
        header.source = read_end(addresses, Family::ipv4, 0, 8);
        header.destination = read_end(addresses, Family::ipv4, 4, 10);
    } else if (transport == kTransportStream && family == kFamilyV6) {
        header.source = read_end(addresses, Family::ipv6, 0, 32);
        header.destination = read_end(addresses, Family::ipv6, 16, 34);
    }
    return Progress::complete;
}

std::string text_of(const Endpoint& end)
{
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(end.family == Family::ipv4 ? AF_INET : AF_INET6, end.address.data(), text, sizeof text);
    return text;
}

Endpoint as_v6(const Endpoint& end) noexcept
{
    if (end.family != Family::ipv4) {
        return end;
    }
    Endpoint mapped{Family::ipv6, {}, end.port};
    mapped.address[10] = mapped.address[11] = 0xff;
    std::memcpy(&mapped.address[12], end.address.data(), 4);
    return mapped;
}

void append_big_endian(std::string& out, std::size_t number)
{
    out += static_cast<char>(number >> 8);
    out += static_cast<char>(number);
}

std::string make_binary(const Endpoint& source, const Endpoint& destination)
{
    std::string out(kSignature);
    const auto halves = [](unsigned high, unsigned low) { return static_cast<char>(high << 4 | low); };
    if (source.family == Family::unknown) {
        out += halves(kVersion2, kCommandLocal);
        out += halves(kFamilyUnspecified, 0);
        append_big_endian(out, 0);
        return out;
    }
    const bool is_v4 = source.family == Family::ipv4;
    out += halves(kVersion2, kCommandProxy);
    out += halves(is_v4 ? kFamilyV4 : kFamilyV6, kTransportStream);
    append_big_endian(out, is_v4 ? kV4Bytes : kV6Bytes);
    for (const Endpoint* end : {&source, &destination}) {
        out.append(reinterpret_cast<const char*>(end->address.data()), is_v4 ? 4 : 16);
    }
    append_big_endian(out, source.port);
    append_big_endian(out, destination.port);
    return out;
}

} // namespace

Progress parse_proxy_header(std::string_view received, ProxyHeader& header) noexcept
{
    header = {};
    for (const std::string_view begin : {kLineBegin, kSignature}) {
        if (received.starts_with(begin)) {
            return begin == kLineBegin ? parse_text_line(received, header) : parse_binary(received, header);
        }
        if (begin.starts_with(received)) {
            return Progress::incomplete;
        }
    }
    return refuse(header, "there is none");
}

std::string make_proxy_header(ProxyVersion version, const Endpoint& client, const Endpoint& reached)
{
    Endpoint source = client;
    Endpoint destination = reached;
    if (destination.family == Family::unknown) {
        destination.family = source.family;
    }
    if (source.family != destination.family) {
        source = as_v6(source);
        destination = as_v6(destination);
    }
    if (version == ProxyVersion::v2) {
        return make_binary(source, destination);
    }
    if (source.family == Family::unknown) {
        return "PROXY UNKNOWN\r\n";
    }
    return std::string("PROXY ") + (source.family == Family::ipv4 ? "TCP4 " : "TCP6 ") + text_of(source) + ' ' +
           text_of(destination) + ' ' + std::to_string(source.port) + ' ' + std::to_string(destination.port) + "\r\n";
}

} // namespace ladle::http
