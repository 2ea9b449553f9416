// SPDX-License-Identifier: Apache-2.0
//
// Routes that can never match, and what a match may be. The texts are exactly what `ladle check` prints.
#include "tests/unit/config/loading.h"

#include <doctest/doctest.h>

using ladle::test::check_says_of_site;

TEST_CASE("config: a route that can never match shows the one that hides it")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/api/*"
[[site."a.test".route]]
path = "/api/v1/*"
)~",
                       R"~(
x.toml:5:1: error: the route "/api/v1/*" can never match
    5 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "/api/*" at x.toml:3:1 takes every request before it; put the narrower route first
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
name = "all"
[[site."a.test".route]]
name = "one"
path = "/x"
)~",
                       R"~(
x.toml:5:1: error: the route "one" can never match
    5 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "all" at x.toml:3:1 takes every request before it; put the narrower route first
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path_regex = "/u/[0-9]+"
[[site."a.test".route]]
path = "/u/12"
method = "GET"
[[site."a.test".route]]
path_regex = "/u/[0-9]+"
query = { a = "1" }
)~",
                       R"~(
x.toml:5:1: error: the route "/u/12" can never match
    5 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "/u/[0-9]+" at x.toml:3:1 takes every request before it; put the narrower route first
x.toml:8:1: error: the route "/u/[0-9]+#2" can never match
    8 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "/u/[0-9]+" at x.toml:3:1 takes every request before it; put the narrower route first
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
method = ["GET", "HEAD"]
header = { X-A = "a*" }
[[site."a.test".route]]
method = "GET"
header = { x-a = "ab*", X-B = "*" }
path = "/x"
)~",
                       R"~(
x.toml:6:1: error: the route "/x" can never match
    6 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "route-1" at x.toml:3:1 takes every request before it; put the narrower route first
)~");
    check_says_of_site(R"~(
aliases = ["b.test"]
[[site."a.test".route]]
host = ["a.test", "b.test"]
path = "/x*"
[[site."a.test".route]]
path = "/xy"
)~",
                       R"~(
x.toml:7:1: error: the route "/xy" can never match
    7 | [[site."a.test".route]]
      | ^^^^^^^^^^^^^^^^^^^^^^^ "/x*" at x.toml:4:1 takes every request before it; put the narrower route first
)~");
}

TEST_CASE("config: a route that no request reaches")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
host = "b.test"
)~",
                       R"~(
x.toml:4:8: error: this can never match: "b.test" is no name of this site
    4 | host = "b.test"
      |        ^^^^^^^^ add it to the site's aliases, or write a site for it
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/a/../b"
)~",
                       R"~(
x.toml:4:8: error: this can never match: a path is normalised before it is compared
    4 | path = "/a/../b"
      |        ^^^^^^^^^ write "/b"
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/%7Euser/*"
)~",
                       R"~(
x.toml:4:8: error: this can never match: a path is normalised before it is compared
    4 | path = "/%7Euser/*"
      |        ^^^^^^^^^^^^ write "/~user/*"
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/straße"
)~",
                       R"~(
x.toml:4:8: error: this can never match: a path is normalised before it is compared
    4 | path = "/straße"
      |        ^^^^^^^^^ write "/stra%C3%9Fe"
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "static/*"
)~",
                       R"~(
x.toml:4:8: error: a path begins with "/", got "static/*"
    4 | path = "static/*"
      |        ^^^^^^^^^^ write "/static/*"
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/x?y=1"
)~",
                       R"~(
x.toml:4:8: error: a path ends before the "?"
    4 | path = "/x?y=1"
      |        ^^^^^^^^ match arguments with query = { NAME = "VALUE" }
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/a b"
)~",
                       R"~(
x.toml:4:8: error: a path holds no blanks and no control characters
    4 | path = "/a b"
      |        ^^^^^^ write a blank as %20
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "/100%"
)~",
                       R"~(
x.toml:4:8: error: this can never match: a path is normalised before it is compared
    4 | path = "/100%"
      |        ^^^^^^^ write "/100%25"
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path = ""
)~",
                       R"~(
x.toml:4:8: error: a path begins with "/", got ""
    4 | path = ""
      |        ^^ write "/"
)~");
}

TEST_CASE("config: an expression that RE2 refuses")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
path_regex = "/a(b"
)~",
                       R"~(
x.toml:4:14: error: not a regular expression that RE2 takes: missing ): /a(b
    4 | path_regex = "/a(b"
      |              ^^^^^^
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path_regex = "/(?!x).*"
)~",
                       R"~(
x.toml:4:14: error: not a regular expression that RE2 takes: invalid perl operator: (?!
    4 | path_regex = "/(?!x).*"
      |              ^^^^^^^^^^ look-ahead, look-behind and back-references do not exist
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
path_regex = ""
)~",
                       R"~(
x.toml:4:14: error: an expression has from 1 to 4096 bytes
    4 | path_regex = ""
      |              ^^
)~");
}

TEST_CASE("config: methods and headers are tokens")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
method = ["get", "GE T", ""]
)~",
                       R"~(
x.toml:4:11: error: methods are written in capitals, got "get"
    4 | method = ["get", "GE T", ""]
      |           ^^^^^ write "GET"
x.toml:4:18: error: expected a method such as "GET", got "GE T"
    4 | method = ["get", "GE T", ""]
      |                  ^^^^^^
x.toml:4:26: error: expected a method such as "GET", got ""
    4 | method = ["get", "GE T", ""]
      |                          ^^
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
header = { "X A" = "1", X-B = "" }
query = { a = 1 }
)~",
                       R"~(
x.toml:4:12: error: "X A" is not the name of a header
    4 | header = { "X A" = "1", X-B = "" }
      |            ^^^^^
x.toml:4:31: error: expected a value to match, got an empty string
    4 | header = { "X A" = "1", X-B = "" }
      |                               ^^ "*" = it is there, with any value
x.toml:5:15: error: expected a string, got the integer 1
    5 | query = { a = 1 }
      |               ^ put it in quotes
)~");
}

TEST_CASE("config: a fixed answer")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
respond = { status = 204, body = "x" }
)~",
                       R"~(
x.toml:4:34: error: an answer with status 204 has no body
    4 | respond = { status = 204, body = "x" }
      |                                  ^^^
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
respond = { content_type = "a\nb" }
)~",
                       R"~(
x.toml:4:28: error: expected a type such as "text/plain; charset=utf-8"
    4 | respond = { content_type = "a\nb" }
      |                            ^^^^^^
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
respond = { status = 100 }
)~",
                       R"~(
x.toml:4:22: error: site."a.test".route[0].respond.status must be from 200 to 599, got 100
    4 | respond = { status = 100 }
      |                      ^^^ a final answer has no other
)~");
}

TEST_CASE("config: a route name is printable")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
name = "a\nb"
)~",
                       R"~(
x.toml:4:8: error: the name of a route has from 1 to 128 printable characters
    4 | name = "a\nb"
      |        ^^^^^^
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
name = ""
)~",
                       R"~(
x.toml:4:8: error: the name of a route has from 1 to 128 printable characters
    4 | name = ""
      |        ^^
)~");
}

TEST_CASE("config: what is wrong with a match is not taken for a match of everything")
{
    check_says_of_site(R"~(
[[site."a.test".route]]
path = "x"
[[site."a.test".route]]
path = "/y"
)~",
                       R"~(
x.toml:4:8: error: a path begins with "/", got "x"
    4 | path = "x"
      |        ^^^ write "/x"
)~");
    check_says_of_site(R"~(
[[site."a.test".route]]
pth = "/x"
[[site."a.test".route]]
path = "/y"
)~",
                       R"~(
x.toml:4:1: error: unknown key "pth" in [[site."a.test".route]]
    4 | pth = "/x"
      | ^^^ did you mean "path"?
)~");
}
