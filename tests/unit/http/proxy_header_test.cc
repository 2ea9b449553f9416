// SPDX-License-Identifier: Apache-2.0
#include "common/http/proxy_header.h"

#include <doctest/doctest.h>

#include <arpa/inet.h>

#include <string>

using namespace ladle::http;
using namespace std::string_literals;

namespace {

const std::string kBegin = "\r\n\r\n\0\r\nQUIT\n"s;

std::string shown(const Endpoint& end)
{
    if (end.family == Endpoint::Family::unknown) {
        return "?";
    }
    char text[INET6_ADDRSTRLEN] = "";
    ::inet_ntop(end.family == Endpoint::Family::ipv4 ? AF_INET : AF_INET6, end.address.data(), text, sizeof text);
    return std::string(text) + " " + std::to_string(end.port);
}

/// "SOURCE > DESTINATION + bytes left", "refused" or "incomplete".
std::string parsing(const std::string& bytes)
{
    ProxyHeader header;
    switch (parse_proxy_header(bytes, header)) {
    case Progress::incomplete:
        return "incomplete";
    case Progress::refused:
        CHECK(!header.problem.empty());
        return "refused";
    case Progress::complete:
        break;
    }
    return shown(header.source) + " > " + shown(header.destination) + " + " + std::to_string(bytes.size() - header.size);
}

std::string binary(unsigned command, unsigned family, const std::string& body)
{
    return kBegin + static_cast<char>(command) + static_cast<char>(family) + static_cast<char>(body.size() >> 8) +
           static_cast<char>(body.size()) + body;
}

const std::string kV4 = "\xc0\x00\x02\x07\xc6\x33\x64\x09\x15\x7c\x01\xbb"s; // 192.0.2.7:5500 to 198.51.100.9:443

} // namespace

TEST_CASE("PROXY protocol: lines of version 1")
{
    CHECK(parsing("PROXY TCP4 192.0.2.7 198.51.100.9 5500 443\r\nGET /") == "192.0.2.7 5500 > 198.51.100.9 443 + 5");
    CHECK(parsing("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n") == "2001:db8::7 0 > ::1 65535 + 0");
    CHECK(parsing("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n") == "::ffff:192.0.2.7 1 > ::1 2 + 0");
    CHECK(parsing("PROXY UNKNOWN\r\nx") == "? > ? + 1");
    CHECK(parsing("PROXY UNKNOWN ffff:f...f:ffff who knows 1\r\n") == "? > ? + 0");
}

TEST_CASE("PROXY protocol: what is no line of version 1")
{
    for (const char* bad : {
             "GET / HTTP/1.1\r\n",
             "proxy TCP4 192.0.2.7 198.51.100.9 1 2\r\n",
             "PROXY\tTCP4 192.0.2.7 198.51.100.9 1 2\r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 1 2\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 1 2\r\r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 1 2 \r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 1 2 3\r\n",
             "PROXY TCP4  192.0.2.7 198.51.100.9 1 2\r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 1\r\n",
             "PROXY TCP4 192.0.2.7 1 2\r\n",
             "PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
             "PROXY TCP6 192.0.2.7 198.51.100.9 1 2\r\n",
             "PROXY TCP4 192.0.2.256 198.51.100.9 1 2\r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 01 2\r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 1 65536\r\n",
             "PROXY TCP4 192.0.2.7 198.51.100.9 -1 2\r\n",
             "PROXY TCP5 192.0.2.7 198.51.100.9 1 2\r\n",
             "PROXY UNKNOWNS\r\n",
             "PROXY \r\n",
         }) {
        INFO(bad);
        CHECK(parsing(bad) == "refused");
    }
    CHECK(parsing("PROXY TCP4 192.0.2.7\0 198.51.100.9 1 2\r\n"s) == "refused");
    const std::string longest = "PROXY UNKNOWN " + std::string(kMostProxyLine - 16, 'x');
    CHECK(parsing(longest) == "incomplete");
    CHECK(parsing(longest + "\r") == "incomplete");
    CHECK(parsing(longest + "\r\n") == "? > ? + 0");
    CHECK(parsing(longest + "x\r\n") == "refused");
}

TEST_CASE("PROXY protocol: version 2")
{
    CHECK(parsing(binary(0x21, 0x11, kV4) + "GET") == "192.0.2.7 5500 > 198.51.100.9 443 + 3");
    const std::string v6 = std::string(15, '\0') + "\x01" + std::string(15, '\0') + "\x02" + "\x00\x50\x01\xbb"s;
    CHECK(parsing(binary(0x21, 0x21, v6)) == "::1 80 > ::2 443 + 0");
    CHECK(parsing(binary(0x21, 0x11, kV4 + "\x04\x00\x02pp\xea\x00\x00"s)) == "192.0.2.7 5500 > 198.51.100.9 443 + 0");
    // Of these the connection's own ends count.
    CHECK(parsing(binary(0x20, 0x00, "")) == "? > ? + 0");
    CHECK(parsing(binary(0x20, 0x11, kV4)) == "? > ? + 0");
    CHECK(parsing(binary(0x20, 0x00, "whatever")) == "? > ? + 0");
    CHECK(parsing(binary(0x21, 0x00, "whatever")) == "? > ? + 0");
    CHECK(parsing(binary(0x21, 0x12, kV4)) == "? > ? + 0");
    CHECK(parsing(binary(0x21, 0x31, std::string(216, 'x'))) == "? > ? + 0");
    CHECK(parsing(binary(0x21, 0x11, kV4 + "\x04\x0f\xf1"s + std::string(4081 - 12 - 3, '.'))) == "refused"); // 4097 in all
    CHECK(parsing(binary(0x21, 0x11, kV4 + "\x04\x0f\xe1"s + std::string(0xfe1, '.'))) == "192.0.2.7 5500 > 198.51.100.9 443 + 0");
}

TEST_CASE("PROXY protocol: what is malformed in version 2")
{
    CHECK(parsing(binary(0x11, 0x11, kV4)) == "refused");
    CHECK(parsing(binary(0x22, 0x11, kV4)) == "refused");
    CHECK(parsing(binary(0x21, 0x41, kV4)) == "refused");
    CHECK(parsing(binary(0x21, 0x13, kV4)) == "refused");
    CHECK(parsing(binary(0x21, 0x11, kV4.substr(1))) == "refused");
    CHECK(parsing(binary(0x21, 0x21, kV4)) == "refused");
    CHECK(parsing(binary(0x21, 0x31, std::string(215, 'x'))) == "refused");
    CHECK(parsing(binary(0x21, 0x11, kV4 + "\x04")) == "refused");
    CHECK(parsing(binary(0x21, 0x11, kV4 + "\x04\x00\x03pp"s)) == "refused");
    CHECK(parsing("\r\n\r\n\0\r\nQUIT\r"s) == "refused");
}

TEST_CASE("PROXY protocol: the checksum of version 2 covers every byte")
{
    const std::string body = kV4 + "\x03\x00\x04"s;
    CHECK(parsing(binary(0x21, 0x11, body + "\x00\x00\x00\x00"s)) == "refused");
    const std::string right = binary(0x21, 0x11, body + "\x9d\xb7\xba\x35"s); // by another implementation
    CHECK(parsing(right) == "192.0.2.7 5500 > 198.51.100.9 443 + 0");
    for (std::size_t bit = 16 * 8; bit < 28 * 8; ++bit) {
        std::string changed = right;
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
        CHECK(parsing(changed) == "refused");
    }
    CHECK(parsing(binary(0x21, 0x11, kV4 + "\x03\x00\x03"s + "abc")) == "refused");
}

TEST_CASE("PROXY protocol: nothing is decided before its bytes are there")
{
    for (const std::string& whole : {"PROXY TCP4 192.0.2.7 198.51.100.9 5500 443\r\n"s, "PROXY UNKNOWN\r\n"s,
                                     binary(0x21, 0x11, kV4 + "\x04\x00\x02pp"s), binary(0x20, 0, "")}) {
        for (std::size_t size = 0; size < whole.size(); ++size) {
            CHECK(parsing(whole.substr(0, size)) == "incomplete");
        }
    }
}

TEST_CASE("PROXY protocol: what we write is what we read")
{
    const Endpoint v4{Endpoint::Family::ipv4, {192, 0, 2, 7}, 5500};
    const Endpoint other{Endpoint::Family::ipv4, {198, 51, 100, 9}, 443};
    const Endpoint v6{Endpoint::Family::ipv6, {0x20, 1, 0xd, 0xb8}, 80};
    CHECK(make_proxy_header(ProxyVersion::v1, v4, other) == "PROXY TCP4 192.0.2.7 198.51.100.9 5500 443\r\n");
    CHECK(make_proxy_header(ProxyVersion::v1, v4, v6) == "PROXY TCP6 ::ffff:192.0.2.7 2001:db8:: 5500 80\r\n");
    CHECK(make_proxy_header(ProxyVersion::v1, v4, {}) == "PROXY TCP4 192.0.2.7 0.0.0.0 5500 0\r\n");
    CHECK(make_proxy_header(ProxyVersion::v1, {}, v4) == "PROXY UNKNOWN\r\n");
    CHECK(make_proxy_header(ProxyVersion::v2, v4, other) == binary(0x21, 0x11, kV4));
    CHECK(parsing(make_proxy_header(ProxyVersion::v2, v6, other)) == "2001:db8:: 80 > ::ffff:198.51.100.9 443 + 0");
    CHECK(parsing(make_proxy_header(ProxyVersion::v2, {}, {})) == "? > ? + 0");
}
