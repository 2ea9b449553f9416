// SPDX-License-Identifier: Apache-2.0
//
// What is said without refusing the file. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;

TEST_CASE("config: a file without a site is valid")
{
    check_says(R"~(
)~",
               R"~(
x.toml: warning: there is no site: nothing would be served
      | write [site."example.com"] and upstream = "http://127.0.0.1:3000"
)~");
}

TEST_CASE("config: what no site uses")
{
    check_says(R"~(
[upstream.app]
servers = ["127.0.0.1:3000"]
[listen.inside]
bind = "127.0.0.1:80"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:1:11: warning: no site uses [upstream.app]
    1 | [upstream.app]
      |           ^^^
x.toml:3:9: warning: no site uses [listen.inside]
    3 | [listen.inside]
      |         ^^^^^^
)~");
}
