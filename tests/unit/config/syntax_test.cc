// SPDX-License-Identifier: Apache-2.0
//
// TOML that is none, and where the caret stands. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says;

TEST_CASE("config: a syntax error shows its place")
{
    check_says(R"~(
[site."a.test"
upstream = "x"
)~",
               R"~(
x.toml:1:15: error: not valid TOML in this table header: expected ']', saw '\n'
    1 | [site."a.test"
      |               ^
)~");
    check_says(R"~(
[site."a.test"]
upstream = "http://127.0.0.1:3000"
body =
)~",
               R"~(
x.toml:3:7: error: not valid TOML in this key-value pair: expected value, saw '\n'
    3 | body =
      |       ^
)~");
    check_says(R"~(
x = "abc
)~",
               R"~(
x.toml:1:9: error: not valid TOML in this string: unescaped control characters other than TAB (U+0009) are explicitly prohibited
    1 | x = "abc
      |         ^ the closing quote is missing
)~");
    check_says(R"~(
[server]
workers = 01
)~",
               R"~(
x.toml:2:13: error: not valid TOML in this decimal integer: leading zeroes are prohibited
    2 | workers = 01
      |             ^
)~");
    check_says(R"~(
a = [1, 2
)~",
               R"~(
x.toml:1:11: error: not valid TOML in this array: encountered end-of-file
    1 | a = [1, 2
      |          ^
)~");
}

TEST_CASE("config: a string without its quotes, or with one only")
{
    check_says(R"~(
[server]
user = ladle # x
)~",
               R"~(
x.toml:2:8: error: not valid TOML in this value: could not determine value type
    2 | user = ladle # x
      |        ^ a string stands in quotes: write "ladle"
)~");
    check_says(R"~(
[timeouts]
idle = 10s
)~",
               R"~(
x.toml:2:10: error: not valid TOML in this decimal integer: expected digit, saw 's'
    2 | idle = 10s
      |          ^ a string stands in quotes: write "10s"
)~");
    check_says(R"~(
[site."a.test"]
upstream = http://127.0.0.1:3000
)~",
               R"~(
x.toml:2:12: error: not valid TOML in this value: could not determine value type
    2 | upstream = http://127.0.0.1:3000
      |            ^ a string stands in quotes: write "http://127.0.0.1:3000"
)~");
    check_says(R"~(
[server]
user = “me”
)~",
               R"~(
x.toml:2:8: error: not valid TOML in this value: could not determine value type
    2 | user = “me”
      |        ^ a string stands in quotes: write "me"
)~");
    check_says(R"~(
[server]
user = "me
)~",
               R"~(
x.toml:2:11: error: not valid TOML in this string: unescaped control characters other than TAB (U+0009) are explicitly prohibited
    2 | user = "me
      |           ^ the closing quote is missing
)~");
    check_says(R"~(
[server]
user = 'me
)~",
               R"~(
x.toml:2:11: error: not valid TOML in this literal string: control characters other than TAB (U+0009) are explicitly prohibited
    2 | user = 'me
      |           ^ the closing quote is missing
)~");
}

TEST_CASE("config: the caret stands under the place, with tabs and letters of two bytes")
{
    check_says(R"~(
[server]
	user =	5
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:9: error: expected a string, got the integer 5
    2 | 	user =	5
      | 	      	^ put it in quotes
)~");
    check_says(R"~(
[log.error]
to = "ää"
[site."a.test"]
upstream = "http://127.0.0.1:3000"
)~",
               R"~(
x.toml:2:6: error: expected the absolute path of a file, "stderr", "journal" or "off", got "ää"
    2 | to = "ää"
      |      ^^^^
)~");
}
