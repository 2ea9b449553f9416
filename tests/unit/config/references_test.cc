// SPDX-License-Identifier: Apache-2.0
//
// References that dangle, and what is defined twice. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;

TEST_CASE("config: a name that is not defined, with the one that was meant")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
[site."a.test"]
upstream = "ap"
)~",
               R"~(
x.toml:4:12: error: there is no [upstream.ap]
    4 | upstream = "ap"
      |            ^^^^ did you mean "app", defined at x.toml:1:11?
)~");
    check_says(R"~(
[site."a.test"]
upstream = "backend"
)~",
               R"~(
x.toml:2:12: error: there is no [upstream.backend]
    2 | upstream = "backend"
      |            ^^^^^^^^^ add [upstream.backend] with servers = ["10.0.0.1:8080"], or write a URL such as "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[listen.public]
bind = "127.0.0.1:80"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = "publik"
)~",
               R"~(
x.toml:5:10: error: there is no [listen.publik]
    5 | listen = "publik"
      |          ^^^^^^^^ did you mean "public", defined at x.toml:1:9?
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = "inside"
)~",
               R"~(
x.toml:3:10: error: there is no [listen.inside]
    3 | listen = "inside"
      |          ^^^^^^^^ add [listen.inside] with bind = ["0.0.0.0:80"], or write a URL such as "http://127.0.0.1:8080"
)~");
}

TEST_CASE("config: a host name belongs to one site")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
aliases = ["b.test", "B.test."]
[site."b.test"]
upstream = "http://127.0.0.1:3000"
[site."A.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:3:22: error: the host name "b.test" is used twice
    3 | aliases = ["b.test", "B.test."]
      |                      ^^^^^^^^^ first in [site."a.test"] at x.toml:3:12
x.toml:4:7: error: the host name "b.test" is used twice
    4 | [site."b.test"]
      |       ^^^^^^^^ first in [site."a.test"] at x.toml:3:12
x.toml:6:7: error: the host name "a.test" is used twice
    6 | [site."A.test"]
      |       ^^^^^^^^ first in [site."a.test"] at x.toml:1:7
)~");
}

TEST_CASE("config: an address belongs to one [listen.NAME]")
{
    check_says(R"~(
[listen.a]
bind = ["127.0.0.1:80", "[::1]:80"]
[listen.b]
bind = ["[0::1]:80"]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = ["a", "b"]
)~",
               R"~(
x.toml:4:9: error: the address [::1]:80 is bound twice
    4 | bind = ["[0::1]:80"]
      |         ^^^^^^^^^^^ first in [listen.a] at x.toml:2:25
)~");
    check_says(R"~(
[listen.a]
bind = "127.0.0.1:80"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
listen = ["a", "http://127.0.0.1:80"]
)~",
               R"~(
x.toml:5:16: error: the address 127.0.0.1:80 is bound by [listen.a]
    5 | listen = ["a", "http://127.0.0.1:80"]
      |                ^^^^^^^^^^^^^^^^^^^^^ write "a"; it is bound at x.toml:2:8
)~");
    check_says(R"~(
[listen.a]
bind = "0.0.0.0:80"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:3:7: error: without "listen" this site would use 0.0.0.0:80, which [listen.a] binds
    3 | [site."a.test"]
      |       ^^^^^^^^ write listen = "a"; [listen.a] is at x.toml:2:8
)~");
}

TEST_CASE("config: a server stands once in an upstream")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000", { address = "http://127.0.0.1:3000", weight = 2 }]
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
upstream = "app"
)~",
               R"~(
x.toml:2:42: error: the server 127.0.0.1:3000 stands twice in [upstream.app]
    2 | servers = ["127.0.0.1:3000", { address = "http://127.0.0.1:3000", weight = 2 }]
      |                                          ^^^^^^^^^^^^^^^^^^^^^^^ first at x.toml:2:12; for a larger share give it a weight
)~");
}

TEST_CASE("config: a route name is used once")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
name = "x"
path = "/a"
[[site."a.test".route]]
name = "x"
path = "/b"
)~",
               R"~(
x.toml:7:8: error: the route name "x" is used twice in [site."a.test"]
    7 | name = "x"
      |        ^^^ first at x.toml:4:8
)~");
}

TEST_CASE("config: a table or a key defined twice in a file shows the first")
{
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"

[site."b.test"]
upstream = "http://127.0.0.1:3000"

[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:7:1: error: [site."a.test"] is defined twice
    7 | [site."a.test"]
      | ^^^^^^^^^^^^^^^ first at x.toml:1:1
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
upstream = "http://127.0.0.1:3001"
)~",
               R"~(
x.toml:3:1: error: upstream is defined twice
    3 | upstream = "http://127.0.0.1:3001"
      | ^^^^^^^^ first at x.toml:2:1
)~");
    check_says(R"~(
[server]
workers = 1
workers = 2
)~",
               R"~(
x.toml:3:1: error: workers is defined twice
    3 | workers = 2
      | ^^^^^^^ first at x.toml:2:1
)~");
}

TEST_CASE("config: a site needs an upstream or routes")
{
    check_says(R"~(
[site."a.test"]
)~",
               R"~(
x.toml:1:7: error: [site."a.test"] has no upstream
    1 | [site."a.test"]
      |       ^^^^^^^^ write upstream = "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[site."a.test"]
route = []
)~",
               R"~(
x.toml:1:7: error: [site."a.test"] has no upstream
    1 | [site."a.test"]
      |       ^^^^^^^^ write upstream = "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[site."a.test"]
[[site."a.test".route]]
path = "/x"
)~",
               R"~(
x.toml:2:1: error: this route has no upstream
    2 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ write upstream = "http://127.0.0.1:3000", here or in the site, or respond = { status = 403 }
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
path = "/x"
upstream = "unset"
)~",
               R"~(
x.toml:3:1: error: this route has no upstream
    3 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ write upstream = "http://127.0.0.1:3000", here or in the site, or respond = { status = 403 }
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
[[site."a.test".route]]
path = "/x"
upstream = "http://127.0.0.1:3001"
respond = 403
)~",
               R"~(
x.toml:5:1: error: a route has an "upstream" or a "respond", not both
    5 | upstream = "http://127.0.0.1:3001"
      | ^^^^^^^^ respond is at x.toml:6:1
)~");
}
