// SPDX-License-Identifier: Apache-2.0
//
// Unknown keys: what was meant, or where it belongs. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;

TEST_CASE("config: an unknown key is shown with the key that was meant")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]

[site."www.example.com"]
upsteam  = "app"
)~",
               R"~(
x.toml:5:1: error: unknown key "upsteam" in [site."www.example.com"]
    5 | upsteam  = "app"
      | ^^^^^^^ did you mean "upstream"?
)~");
}

TEST_CASE("config: a key of another table says where it belongs")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
servers = ["127.0.0.1:80"]
)~",
               R"~(
x.toml:3:1: error: unknown key "servers" in [site."a.test"]
    3 | servers = ["127.0.0.1:80"]
      | ^^^^^^^ this key belongs in [upstream.*]
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
bind = "127.0.0.1:80"
)~",
               R"~(
x.toml:3:1: error: unknown key "bind" in [site."a.test"]
    3 | bind = "127.0.0.1:80"
      | ^^^^ this key belongs in [listen.*]
)~");
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
balanse = "first"
aliases = ["x"]
[site."a.test"]
upstream = "app"
)~",
               R"~(
x.toml:3:1: error: unknown key "balanse" in [upstream.app]
    3 | balanse = "first"
      | ^^^^^^^ did you mean "balance"?
x.toml:4:1: error: unknown key "aliases" in [upstream.app]
    4 | aliases = ["x"]
      | ^^^^^^^ this key belongs in [site.*]
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
forwarded_from = []
)~",
               R"~(
x.toml:3:1: error: unknown key "forwarded_from" in [site."a.test"]
    3 | forwarded_from = []
      | ^^^^^^^^^^^^^^ this key belongs in [trust]
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
path = "/x"
)~",
               R"~(
x.toml:3:1: error: unknown key "path" in [site."a.test"]
    3 | path = "/x"
      | ^^^^ this key belongs in [[site.*.route]]
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
log = "off"
)~",
               R"~(
x.toml:3:1: error: unknown key "log" in [site."a.test"]
    3 | log = "off"
      | ^^^ [log] stands at the top level of the file
)~");
}

TEST_CASE("config: a key that this version does not know is an error like any other")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
waf = "block"
)~",
               R"~(
x.toml:3:1: error: unknown key "waf" in [site."a.test"]
    3 | waf = "block"
      | ^^^ known here: aliases, listen, tls, upstream, body, timeouts, buffer, cache, mirror, headers, error_pages, route
)~");
    check_says(R"~(
[cash]
memory = "1GiB"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:2: error: unknown table [cash]
    1 | [cash]
      |  ^^^^ known here: include, server, listen, trust, timeouts, budget, cache, mirror, tls, defence, headers, upstream, )~"
               R"~(site, log
)~");
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
shards = true
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:3:1: error: unknown key "shards" in [upstream.app]
    3 | shards = true
      | ^^^^^^ known here: servers, tls, protocol, balance, sticky, proxy_protocol, weight, max_conn, adaptive, health, )~"
               R"~(agent, load_report, eject, breaker, retry, hedge, slow_start, panic, keepalive, queue
)~");
}

TEST_CASE("config: a misspelt table at the top is an error")
{
    check_says(R"~(
[timeuots]
idle = "1s"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:2: error: unknown table [timeuots]
    1 | [timeuots]
      |  ^^^^^^^^ did you mean "timeouts"?
)~");
}

TEST_CASE("config: a name with dots without its quotes")
{
    check_says(R"~(
[site.www.example.com]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:11: error: unknown key "example" in [site.www]
    1 | [site.www.example.com]
      |           ^^^^^^^ a name with dots stands in quotes: write [site."www.example.com"]
)~");
    check_says(R"~(
[site.example.com.timeouts]
connect = "1s"
)~",
               R"~(
x.toml:1:15: error: unknown key "com" in [site.example]
    1 | [site.example.com.timeouts]
      |               ^^^ a name with dots stands in quotes: write [site."example.com"]
)~");
}

TEST_CASE("config: a plain key at the top is an error")
{
    check_says(R"~(
workers = 4
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:1: error: unknown key "workers" at the top level
    1 | workers = 4
      | ^^^^^^^ this key belongs in [server]
)~");
    check_says(R"~(
upstream = "app"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:12: error: expected tables [upstream.NAME], got the string "app"
    1 | upstream = "app"
      |            ^^^^^ the upstream of a site stands in [site."NAME"]
)~");
}

TEST_CASE("config: a timeout that counts before the site is known stands at the top only")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
timeouts = { header = "5s" }
)~",
               R"~(
x.toml:3:14: error: "header" cannot be set in [site."a.test".timeouts]
    3 | timeouts = { header = "5s" }
      |              ^^^^^^ this key belongs in [timeouts]: it counts before the site is known
)~");
}

TEST_CASE("config: a misspelt key in a route, and in a table of it")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
path = "/x"
buffer = { respons = "spool" }
metod = "GET"
)~",
               R"~(
x.toml:5:12: error: unknown key "respons" in [site."a.test".route[0].buffer]
    5 | buffer = { respons = "spool" }
      |            ^^^^^^^ did you mean "response"?
x.toml:6:1: error: unknown key "metod" in [[site."a.test".route]]
    6 | metod = "GET"
      | ^^^^^ did you mean "method"?
)~");
}
