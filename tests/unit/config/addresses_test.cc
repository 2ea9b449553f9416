// SPDX-License-Identifier: Apache-2.0
//
// Addresses to listen on, servers, and names of sites. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;
using ladle::test::complaints;
using ladle::test::load_good;

TEST_CASE("config: a site listens on an IP address and a port")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = [
  "http://localhost:80",
  "http://127.0.0.1",
  "http://*:80",
  "127.0.0.1:80",
  "http://::1:80",
  "http://[::1:80",
  "http://127.0.0.1:0",
  "http://127.0.0.1:99999",
  "http://127.0.0.1:80/x",
]
)~",
               R"~(
x.toml:4:3: error: expected an IP address to listen on, got "localhost"
    4 |   "http://localhost:80",
      |   ^^^^^^^^^^^^^^^^^^^^^ write "127.0.0.1:80" or "[::1]:80"
x.toml:5:3: error: expected an address and a port such as "0.0.0.0:80", got "http://127.0.0.1"
    5 |   "http://127.0.0.1",
      |   ^^^^^^^^^^^^^^^^^^ write "http://127.0.0.1:80"
x.toml:6:3: error: expected an IP address to listen on, got "*"
    6 |   "http://*:80",
      |   ^^^^^^^^^^^^^ for every address write "0.0.0.0:80" and "[::]:80"
x.toml:7:3: error: expected a URL or the name of a [listen.NAME], got "127.0.0.1:80"
    7 |   "127.0.0.1:80",
      |   ^^^^^^^^^^^^^^ write "http://127.0.0.1:80"
x.toml:8:3: error: expected an address, got "::1:80"
    8 |   "http://::1:80",
      |   ^^^^^^^^^^^^^^^ an IPv6 address stands in brackets, as in "[::1]:8080"
x.toml:9:3: error: expected an address, got "[::1:80"
    9 |   "http://[::1:80",
      |   ^^^^^^^^^^^^^^^^ the "]" is missing
x.toml:10:3: error: a port is a number from 1 to 65535, got "0"
   10 |   "http://127.0.0.1:0",
      |   ^^^^^^^^^^^^^^^^^^^^
x.toml:11:3: error: a port is a number from 1 to 65535, got "99999"
   11 |   "http://127.0.0.1:99999",
      |   ^^^^^^^^^^^^^^^^^^^^^^^^
x.toml:12:3: error: the address to listen on has no path, got "/x"
   12 |   "http://127.0.0.1:80/x",
      |   ^^^^^^^^^^^^^^^^^^^^^^^ write "http://127.0.0.1:80"
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = ["gopher://0.0.0.0:70", "ftp://0.0.0.0:21", "http://unix:run/x.sock", "http://unix:"]
)~",
               R"~(
x.toml:3:11: error: unknown scheme "gopher://"
    3 | listen = ["gopher://0.0.0.0:70", "ftp://0.0.0.0:21", "http://unix:run/x.sock", "http://unix:"]
      |           ^^^^^^^^^^^^^^^^^^^^^ write "http://0.0.0.0:70"
x.toml:3:34: error: unknown scheme "ftp://"
    3 | listen = ["gopher://0.0.0.0:70", "ftp://0.0.0.0:21", "http://unix:run/x.sock", "http://unix:"]
      |                                  ^^^^^^^^^^^^^^^^^^ write "http://0.0.0.0:21"
x.toml:3:54: error: expected the absolute path of a socket after "unix:"
    3 | listen = ["gopher://0.0.0.0:70", "ftp://0.0.0.0:21", "http://unix:run/x.sock", "http://unix:"]
      |                                                      ^^^^^^^^^^^^^^^^^^^^^^^^ write "unix:/run/x.sock"
x.toml:3:80: error: expected the absolute path of a socket after "unix:"
    3 | listen = ["gopher://0.0.0.0:70", "ftp://0.0.0.0:21", "http://unix:run/x.sock", "http://unix:"]
      |                                                                                ^^^^^^^^^^^^^^
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = []
)~",
               R"~(
x.toml:3:10: error: expected at least one address to listen on
    3 | listen = []
      |          ^^
)~");
}

TEST_CASE("config: a [listen.NAME] needs addresses")
{
    check_says(R"~(
[listen.a]
[listen.b]
bind = []
[listen.c]
bind = [":80", "eth0:80", "80"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = ["a", "b", "c"]
)~",
               R"~(
x.toml:1:9: error: [listen.a] has no address
    1 | [listen.a]
      |         ^ write bind = ["0.0.0.0:80", "[::]:80"]
x.toml:3:8: error: [listen.b] has no address
    3 | bind = []
      |        ^^ write bind = ["0.0.0.0:80", "[::]:80"]
x.toml:5:9: error: expected an IP address to listen on, got ""
    5 | bind = [":80", "eth0:80", "80"]
      |         ^^^^^ for every address write "0.0.0.0:80" and "[::]:80"
x.toml:5:16: error: expected an IP address to listen on, got "eth0"
    5 | bind = [":80", "eth0:80", "80"]
      |                ^^^^^^^^^
x.toml:5:27: error: expected an address and a port such as "0.0.0.0:80", got "80"
    5 | bind = [":80", "eth0:80", "80"]
      |                           ^^^^ write "0.0.0.0:80"
)~");
}

TEST_CASE("config: an upstream is a name or a URL")
{
    check_says(R"~(
[site."a.test"]
upstream = "127.0.0.1:3000"
)~",
               R"~(
x.toml:2:12: error: expected the name of an [upstream.NAME] or a URL, got "127.0.0.1:3000"
    2 | upstream = "127.0.0.1:3000"
      |            ^^^^^^^^^^^^^^^^ write "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[site."a.test"]
upstream = "https://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:12: error: cannot read /etc/ssl/certs/ca-certificates.crt: No such file or directory
    2 | upstream = "https://127.0.0.1:3000"
      |            ^^^^^^^^^^^^^^^^^^^^^^^^ install ca-certificates, or say in [upstream.NAME.tls] which ca is believed
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000/app"
)~",
               R"~(
x.toml:2:12: error: the address of a server has no path, got "/app"
    2 | upstream = "http://127.0.0.1:3000/app"
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^ write "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://me@127.0.0.1:3000"
)~",
               R"~(
x.toml:2:12: error: the address of a server has no user name
    2 | upstream = "http://me@127.0.0.1:3000"
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^ write "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[site."a.test"]
upstream = "h2c://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:12: error: unknown scheme "h2c://"
    2 | upstream = "h2c://127.0.0.1:3000"
      |            ^^^^^^^^^^^^^^^^^^^^^^ write "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://10.0.0.300:80"
)~",
               R"~(
x.toml:2:12: error: expected an IP address or a host name, got "10.0.0.300"
    2 | upstream = "http://10.0.0.300:80"
      |            ^^^^^^^^^^^^^^^^^^^^^^
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://exa mple:80"
)~",
               R"~(
x.toml:2:12: error: expected an IP address or a host name, got "exa mple"
    2 | upstream = "http://exa mple:80"
      |            ^^^^^^^^^^^^^^^^^^^^
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://[::g]:80"
)~",
               R"~(
x.toml:2:12: error: expected an IP address or a host name, got "::g"
    2 | upstream = "http://[::g]:80"
      |            ^^^^^^^^^^^^^^^^^
)~");
}

TEST_CASE("config: a server of an upstream has a port")
{
    check_says(R"~(
[upstream.app]
servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
[upstream.none]
[upstream.empty]
servers = []
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
path = "/a"
upstream = "app"
[[site."a.test".route]]
path = "/b"
upstream = "none"
[[site."a.test".route]]
path = "/c"
upstream = "empty"
)~",
               R"~(
x.toml:2:12: error: expected a server such as "10.0.0.1:8080", got "app.internal"
    2 | servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
      |            ^^^^^^^^^^^^^^ write "app.internal:80"
x.toml:2:28: error: there is no port after the ":"
    2 | servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
      |                            ^^^^^^^^^^^
x.toml:2:41: error: a port is a number from 1 to 65535, got "http"
    2 | servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
      |                                         ^^^^^^^^^^^^^^^
x.toml:2:58: error: expected the absolute path of a socket after "unix:"
    2 | servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
      |                                                          ^^^^^^^^ write "unix:/x"
x.toml:2:68: error: a server needs an "address"
    2 | servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
      |                                                                    ^^^^^^^^^^^^^^
x.toml:2:84: error: expected a server such as "10.0.0.1:8080", got the integer 5
    2 | servers = ["app.internal", "10.0.0.1:", "10.0.0.1:http", "unix:x", { weight = 3 }, 5]
      |                                                                                    ^ put it in quotes
x.toml:3:11: error: [upstream.none] has no servers
    3 | [upstream.none]
      |           ^^^^ write servers = ["10.0.0.1:8080"]
x.toml:5:11: error: [upstream.empty] has no servers
    5 | servers = []
      |           ^^ write servers = ["10.0.0.1:8080"]
)~");
}

TEST_CASE("config: a service is written srv:NAME, without a port")
{
    check_says(R"~(
[upstream.app]
servers = ["srv:_h._tcp.a.b:80", "srv:_http", "srv:_h._tcp", "srv:a b.c", "_h._tcp.a.b:80"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
path = "/a"
upstream = "srv://_http._tcp.app.internal"
[[site."a.test".route]]
path = "/b"
upstream = "srv:_http._tcp.app.internal"
[[site."a.test".route]]
path = "/c"
upstream = "app"
)~",
               R"~(
x.toml:2:12: error: SRV records bring the port, got ":80" as well
    2 | servers = ["srv:_h._tcp.a.b:80", "srv:_http", "srv:_h._tcp", "srv:a b.c", "_h._tcp.a.b:80"]
      |            ^^^^^^^^^^^^^^^^^^^^ write "srv:_h._tcp.a.b"
x.toml:2:34: error: expected the name of SRV records after "srv:", got "_http"
    2 | servers = ["srv:_h._tcp.a.b:80", "srv:_http", "srv:_h._tcp", "srv:a b.c", "_h._tcp.a.b:80"]
      |                                  ^^^^^^^^^^^ as in "srv:_http._tcp.app.internal"
x.toml:2:47: error: expected the name of SRV records after "srv:", got "_h._tcp"
    2 | servers = ["srv:_h._tcp.a.b:80", "srv:_http", "srv:_h._tcp", "srv:a b.c", "_h._tcp.a.b:80"]
      |                                               ^^^^^^^^^^^^^ as in "srv:_http._tcp.app.internal"
x.toml:2:62: error: expected the name of SRV records after "srv:", got "a b.c"
    2 | servers = ["srv:_h._tcp.a.b:80", "srv:_http", "srv:_h._tcp", "srv:a b.c", "_h._tcp.a.b:80"]
      |                                                              ^^^^^^^^^^^ as in "srv:_http._tcp.app.internal"
x.toml:2:75: error: "_h._tcp.a.b" has SRV records, not addresses
    2 | servers = ["srv:_h._tcp.a.b:80", "srv:_http", "srv:_h._tcp", "srv:a b.c", "_h._tcp.a.b:80"]
      |                                                                           ^^^^^^^^^^^^^^^^ write "srv:_h._tcp.a.b"
x.toml:7:12: error: unknown scheme "srv://"
    7 | upstream = "srv://_http._tcp.app.internal"
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ write "http://srv:_http._tcp.app.internal"
x.toml:10:12: error: expected the name of an [upstream.NAME] or a URL, got "srv:_http._tcp.app.internal"
   10 | upstream = "srv:_http._tcp.app.internal"
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ write "http://srv:_http._tcp.app.internal"
)~");
}

TEST_CASE("config: an address is no name of a service")
{
    check_says(R"~(
upstream.app.servers = ["srv:10.0.0.1"]
site."a.test".upstream = "app"
)~",
               R"~(
x.toml:1:25: error: an address has no SRV records, got "10.0.0.1"
    1 | upstream.app.servers = ["srv:10.0.0.1"]
      |                         ^^^^^^^^^^^^^^ write "10.0.0.1:80"
)~");
}

TEST_CASE("config: the name of an upstream")
{
    check_says(R"~(
[upstream."a:b"]
servers = ["127.0.0.1:3000"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:11: error: the name of an upstream has from 1 to 128 printable characters and no ":"
    1 | [upstream."a:b"]
      |           ^^^^^
)~");
}

TEST_CASE("config: the name of a site")
{
    check_says(R"~(
[site."example.com:8080"]
upstream = "http://127.0.0.1:3000"
[site."http://example.com"]
upstream = "http://127.0.0.1:3000"
[site."example.com/x"]
upstream = "http://127.0.0.1:3000"
[site."straße.test"]
upstream = "http://127.0.0.1:3000"
[site."www.*.test"]
upstream = "http://127.0.0.1:3000"
[site."::1"]
upstream = "http://127.0.0.1:3000"
[site."a..b"]
upstream = "http://127.0.0.1:3000"
[site.""]
upstream = "http://127.0.0.1:3000"
[site."a b"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:7: error: the name of a site has no port, got "example.com:8080"
    1 | [site."example.com:8080"]
      |       ^^^^^^^^^^^^^^^^^^ write "example.com", and listen = "http://0.0.0.0:8080" in the site
x.toml:3:7: error: the name of a site is a host name, got "http://example.com"
    3 | [site."http://example.com"]
      |       ^^^^^^^^^^^^^^^^^^^^ write "example.com" without "http://"
x.toml:5:7: error: the name of a site has no path, got "example.com/x"
    5 | [site."example.com/x"]
      |       ^^^^^^^^^^^^^^^ paths are for routes: [[site."NAME".route]] path = "/x/*"
x.toml:7:7: error: the name of a site is in ASCII, got "straße.test"
    7 | [site."straße.test"]
      |       ^^^^^^^^^^^^^ write its "xn--" form, which clients send
x.toml:9:7: error: "*" stands for whole labels at the front of a name, got "www.*.test"
    9 | [site."www.*.test"]
      |       ^^^^^^^^^^^^ write "*.example.com", or "*" for every host
x.toml:11:7: error: an IPv6 address stands in brackets, got "::1"
   11 | [site."::1"]
      |       ^^^^^ write "[::1]"
x.toml:13:7: error: expected a host name, got "a..b"
   13 | [site."a..b"]
      |       ^^^^^^
x.toml:15:7: error: expected a host name, got ""
   15 | [site.""]
      |       ^^
x.toml:17:7: error: expected a host name, got "a b"
   17 | [site."a b"]
      |       ^^^^^
)~");
}

TEST_CASE("config: DNS servers are IP addresses, with or without a port")
{
    const auto config = ladle::test::load_good(
        "[server]\nresolvers = [\"10.0.0.53\", \"127.0.0.1:5353\", \"::1\", \"[2001:DB8::1]:5353\", \"[::1]\"]\n"
        "[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\n");
    CHECK(config->server.resolvers ==
          std::vector<std::string>{"10.0.0.53:53", "127.0.0.1:5353", "[::1]:53", "[2001:db8::1]:5353", "[::1]:53"});
    const auto bare = ladle::test::load_good(
        "[server]\nresolvers = [\"192.0.2.1\", \"2001:db8::1\", \"[2001:db8::1]\", \"[2001:db8::1:53]\", \"[2001:db8::1:53]:53\", "
        "\"2001:db8::1:c0de\", "
        "\"2001:db8:1:2:3:4:5:53\", \"::ffff:192.0.2.1\"]\n[site.\"a.test\"]\nupstream = \"http://127.0.0.1:3000\"\n");
    CHECK(bare->server.resolvers == std::vector<std::string>{"192.0.2.1:53", "[2001:db8::1]:53", "[2001:db8::1]:53",
                                                             "[2001:db8::1:53]:53", "[2001:db8::1:53]:53", "[2001:db8::1:c0de]:53",
                                                             "[2001:db8:1:2:3:4:5:53]:53", "[::ffff:192.0.2.1]:53"});
    check_says(R"~(
[server]
resolvers = ["dns.test", "10.0.0.1:0", "[::1", "", "10.0.0.1:x"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:14: error: expected the IP address of a DNS server such as "192.0.2.1" or "[2001:db8::1]:53", got "dns.test"
    2 | resolvers = ["dns.test", "10.0.0.1:0", "[::1", "", "10.0.0.1:x"]
      |              ^^^^^^^^^^
x.toml:2:26: error: a port is a number from 1 to 65535, got "0"
    2 | resolvers = ["dns.test", "10.0.0.1:0", "[::1", "", "10.0.0.1:x"]
      |                          ^^^^^^^^^^^^
x.toml:2:40: error: expected an address, got "[::1"
    2 | resolvers = ["dns.test", "10.0.0.1:0", "[::1", "", "10.0.0.1:x"]
      |                                        ^^^^^^ the "]" is missing
x.toml:2:48: error: expected the IP address of a DNS server such as "192.0.2.1" or "[2001:db8::1]:53", got ""
    2 | resolvers = ["dns.test", "10.0.0.1:0", "[::1", "", "10.0.0.1:x"]
      |                                                ^^
x.toml:2:52: error: a port is a number from 1 to 65535, got "x"
    2 | resolvers = ["dns.test", "10.0.0.1:0", "[::1", "", "10.0.0.1:x"]
      |                                                    ^^^^^^^^^^^^
)~");
}

TEST_CASE("config: a DNS server that can be read in two ways, is none, or has a scheme is refused")
{
    check_says(R"~(
[server]
resolvers = ["::1:53", "2001:db8::1:5353", "http://192.0.2.1", "https://dns.test/dns-query"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:14: error: "::1:53" can be read as an address alone, or as "::1" and port 53
    2 | resolvers = ["::1:53", "2001:db8::1:5353", "http://192.0.2.1", "https://dns.test/dns-query"]
      |              ^^^^^^^^ write "[::1]:53" or "[::1:53]"
x.toml:2:24: error: "2001:db8::1:5353" can be read as an address alone, or as "2001:db8::1" and port 5353
    2 | resolvers = ["::1:53", "2001:db8::1:5353", "http://192.0.2.1", "https://dns.test/dns-query"]
      |                        ^^^^^^^^^^^^^^^^^^ write "[2001:db8::1]:5353" or "[2001:db8::1:5353]"
x.toml:2:44: error: DNS servers are asked over UDP and TCP: an address has no scheme, got "http://192.0.2.1"
    2 | resolvers = ["::1:53", "2001:db8::1:5353", "http://192.0.2.1", "https://dns.test/dns-query"]
      |                                            ^^^^^^^^^^^^^^^^^^ write "192.0.2.1"
x.toml:2:64: error: DNS servers are asked over UDP and TCP: an address has no scheme, got "https://dns.test/dns-query"
    2 | resolvers = ["::1:53", "2001:db8::1:5353", "http://192.0.2.1", "https://dns.test/dns-query"]
      |                                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
)~");
    check_says(R"~(
[server]
resolvers = ["0.0.0.0", "0.0.0.0:53", "::", "[::]:53", "2001:db8:1:2:3:4:5:6:53"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:14: error: "0.0.0.0" means any address: nobody can be asked there
    2 | resolvers = ["0.0.0.0", "0.0.0.0:53", "::", "[::]:53", "2001:db8:1:2:3:4:5:6:53"]
      |              ^^^^^^^^^ write "127.0.0.1" for this machine
x.toml:2:25: error: "0.0.0.0:53" means any address: nobody can be asked there
    2 | resolvers = ["0.0.0.0", "0.0.0.0:53", "::", "[::]:53", "2001:db8:1:2:3:4:5:6:53"]
      |                         ^^^^^^^^^^^^ write "127.0.0.1:53" for this machine
x.toml:2:39: error: "::" means any address: nobody can be asked there
    2 | resolvers = ["0.0.0.0", "0.0.0.0:53", "::", "[::]:53", "2001:db8:1:2:3:4:5:6:53"]
      |                                       ^^^^ write "::1" for this machine
x.toml:2:45: error: "[::]:53" means any address: nobody can be asked there
    2 | resolvers = ["0.0.0.0", "0.0.0.0:53", "::", "[::]:53", "2001:db8:1:2:3:4:5:6:53"]
      |                                             ^^^^^^^^^ write "[::1]:53" for this machine
x.toml:2:56: error: an IPv6 address with a port stands in brackets, got "2001:db8:1:2:3:4:5:6:53"
    2 | resolvers = ["0.0.0.0", "0.0.0.0:53", "::", "[::]:53", "2001:db8:1:2:3:4:5:6:53"]
      |                                                        ^^^^^^^^^^^^^^^^^^^^^^^^^ write "[2001:db8:1:2:3:4:5:6]:53"
)~");
}

TEST_CASE("config: proxy_protocol of a listener and of an upstream")
{
    const std::string rest = R"~(
[site."a.test"]
listen = "in"
upstream = "app"
[upstream.app]
servers = ["127.0.0.1:1"]
)~";
    const auto config = load_good(R"~(
[listen.in]
bind = ["127.0.0.1:80"]
proxy_protocol = { from = ["10.0.0.0/8", "unix:"] }
)~" + rest + "proxy_protocol = \"v2\"\n");
    CHECK(config->listens.at(0).proxy_from.size() == 1);
    CHECK(config->listens.at(0).proxy_from.at(0).prefix_bits == 104);
    CHECK(config->listens.at(0).proxy_from_unix);
    CHECK(config->upstreams.at(0).proxy_protocol == ladle::http::ProxyVersion::v2);
    const auto plain = load_good("[listen.in]\nbind = [\"127.0.0.1:80\"]\nproxy_protocol = \"::1\"\n" + rest);
    CHECK(plain->listens.at(0).proxy_from.at(0).prefix_bits == 128);
    CHECK_FALSE(plain->upstreams.at(0).proxy_protocol);
    const auto complaint = [&](const std::string& value) {
        return complaints("[listen.in]\nbind = [\"127.0.0.1:80\"]\nproxy_protocol = " + value + "\n" + rest);
    };
    CHECK(complaint("{ from = [\"10.0.0.1/8\"] }").find("write \"10.0.0.0/8\"") != std::string::npos);
    CHECK(complaint("{ from = [] }").find("whose PROXY headers are believed is not said") != std::string::npos);
    CHECK(complaints("[listen.in]\nbind = [\"127.0.0.1:80\"]\n" + rest + "protocol = \"h2\"\nproxy_protocol = \"v1\"\n")
              .find("an HTTP/2 connection serves many clients") != std::string::npos);
    CHECK(complaint("{}").find("whose PROXY headers are believed is not said") != std::string::npos);
}
